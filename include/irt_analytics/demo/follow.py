"""Follows a run of the Dag: a line a task with its seconds, and for a failed one its last words."""

import json
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from irt_analytics.demo.airflow import Airflow, AirflowError, Client, Json

POLL_SECONDS = 0.3
LOG_LINES = 20
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
STATE_WORDS = {
    "success": "",
    "upstream_failed": "not run: a task before it failed",
    "up_for_retry": "will be tried again",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: seconds a task, in the order of their ends."""

    run_id: str
    seconds: dict[str, float]


def follow(airflow: Airflow, client: Client, run_id: str) -> Outcome:
    """Show the tasks of a run as they end, and return when the run has.

    Raises:
        AirflowError: the run failed; shows the last log lines of each failed task and where its log is.
    """
    console = Console(stderr=True)
    told = Told(lambda text: print(f"  {text}", flush=True))  # noqa: T201
    with console.status("waiting for the scheduler") if console.is_terminal else nullcontext() as status:
        while True:
            state, tasks = told.look(client, run_id)
            if status is not None:
                running = [task["task_id"] for task in tasks if task["state"] == "running"]
                status.update(", ".join(running) or "waiting for the scheduler")
            if state in ("success", "failed"):
                break
            if "scheduler" not in airflow.running():
                raise AirflowError("Airflow's scheduler ended during the run; its logs are in .demo/logs")
            time.sleep(POLL_SECONDS)
    failed = [task for task in tasks if task["state"] == "failed"]
    if state == "failed":
        raise AirflowError(
            "\n".join([_last_words(airflow, run_id, task) for task in failed] or [f"run {run_id} failed"])
        )
    return Outcome(run_id, seconds_of(tasks))


def seconds_of(tasks: Iterable[Json]) -> dict[str, float]:
    """Return the seconds of each task that has ended, in the order of their ends."""
    ended = sorted((task for task in tasks if task["duration"] is not None), key=lambda task: task["end_date"])
    return {name_of(task): round(task["duration"], 1) for task in ended}


def name_of(task: Json) -> str:
    """A task's id and, where it is one of several of its name, its number."""
    return str(task["task_id"]) if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"


@dataclass(frozen=True)
class Told:
    """What a person was told of a run so far, a line for each try that has ended."""

    say: Callable[[str], None]
    states: dict[tuple[str, int], str] = field(default_factory=dict)

    def look(self, client: Client, run_id: str) -> tuple[str, list[Json]]:
        """Tell of what has ended since the last look; returns the run's state and its tasks."""
        state, tasks = client.run_state(run_id), client.tasks(run_id)
        for task in sorted(tasks, key=lambda task: (task["end_date"] or "9", task["task_id"])):
            self._tell(task)
        return state, tasks

    def _tell(self, task: Json) -> None:
        state = task["state"]
        key = (name_of(task), task["try_number"])
        if state not in ENDED | {"up_for_retry"} or self.states.get(key) == state:
            return
        self.states[key] = state
        seconds = "" if task["duration"] is None else f"{task['duration']:6.1f} s"
        self.say(f"{name_of(task):<24}{seconds:>8}  {STATE_WORDS.get(state, state)}".rstrip())


def _last_words(airflow: Airflow, run_id: str, task: Json) -> str:
    log = airflow.task_log(run_id, task["task_id"], task["try_number"], task["map_index"])
    lines = _events(log)[-LOG_LINES:] if log.exists() else ["(it wrote no log)"]
    return "\n".join(
        [
            f"task {name_of(task)} failed. The end of its log:",
            *(f"    {line}" for line in lines),
            f"The whole log is {airflow.place.relative(log)}",
        ]
    )


def _events(log: Path) -> list[str]:
    """Lines of a task log, which is one JSON object a line, as a person would read them."""
    lines: list[str] = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            lines.append(line)
            continue
        text = str(event.get("event", ""))
        if text.startswith("::"):
            continue  # marks of the UI's folding
        lines.extend(text.splitlines())
        for error in event.get("error_detail") or ():
            lines.extend(str(error.get("exc_value", "")).splitlines()[:1])
    return lines
