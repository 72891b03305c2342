"""The commands behind `make demo`, `make up`, `make down`, `make trigger` and `make psql`."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from irt_analytics.cli import parse_day
from irt_analytics.demo.airflow import DAG_ID, SERVICES, UI_SERVICES, USER, Airflow, Client, UnreachableError
from irt_analytics.demo.dataset import TENANT, Dataset, Span, own_log, provide, simulated
from irt_analytics.demo.follow import Outcome, follow
from irt_analytics.demo.place import Place, write_private
from irt_analytics.demo.postgres import Postgres
from irt_analytics.demo.services import PACKAGES, Services
from irt_analytics.demo.summary import Summary, summarise
from irt_analytics.errors import ConfigurationError, TemporaryError, Terminated

HELP = {"help_option_names": ["-h", "--help"]}
PORT = 8080
#: On the terminal; all of them are in the summary.
NUMBERS_SHOWN = 5


@click.group("demo", context_settings=HELP)
def command() -> None:
    """Run the whole daily Dag on this machine; the Makefile's commands."""


@command.command("run", context_settings=HELP)
@click.option(
    "--data", envvar="IRT_DEMO_DATA", type=click.Path(path_type=Path), help="an answer log; default: a simulated cohort"
)
@click.option("--as-of", envvar="IRT_DEMO_AS_OF", metavar="YYYY-MM-DD", help="day to run; default: the log's last day")
@click.option(
    "--columns", envvar="IRT_DEMO_COLUMNS", default="", help='names in the log: "correct=is_right,student_id=pupil"'
)
def run(data: Path | None, as_of: str | None, columns: str) -> None:
    """Load a log, run the whole Dag on it through Airflow, and show what came of it."""
    day = _day(as_of)
    if data is None and columns:
        raise ConfigurationError(f"COLUMNS={columns!r} names the columns of a log, but there is no DATA=...")
    if data is None:
        day = day or _yesterday()
        dataset = simulated(day)
    else:
        dataset = own_log(data, columns)
    place = Place.find()
    with place.only_one(), _terminable():
        _run_day(place, dataset, day)


@command.command("trigger", context_settings=HELP)
@click.option("--as-of", envvar="IRT_DEMO_AS_OF", metavar="YYYY-MM-DD", help="day to run; default: the log's last day")
def trigger(as_of: str | None) -> None:
    """Run the Dag for a day of the log that the last demo ran on."""
    day = _day(as_of)
    place = Place.find()
    with place.only_one(), _terminable():
        dataset, _ = _current(place)
        _run_day(place, dataset, day)


@command.command("up", context_settings=HELP)
@click.option("--port", envvar="IRT_DEMO_PORT", type=click.IntRange(1, 65535), help=f"of the web UI; default: {PORT}")
def up(port: int | None) -> None:
    """Serve Airflow's web UI over the log that the last demo ran on."""
    place = Place.find()
    with place.only_one(), _terminable():
        airflow = Airflow(place)
        if port is None and "api-server" not in airflow.running():
            port = PORT
        if port is not None:
            airflow.require_port(port)  # before anything is started
        dataset, as_of = _current(place) if _record(place).exists() else (simulated(_yesterday()), _yesterday())
        postgres = Postgres.start(place.postgres)
        days, said = provide(dataset, postgres, place)
        _echo(said)
        _choose(place, postgres, dataset, as_of, Services.start(place))
        _serve(airflow, postgres, days, as_of, port)


@command.command("services", context_settings=HELP)
def services() -> None:
    """Start the R services, and say where they listen and where their tokens are."""
    place = Place.find()
    with place.only_one(), _terminable():
        started = Services.start(place)
    for name in PACKAGES:
        running = started.running.get(name)
        _echo(f"  r-{name + '-plumber':<18}{running.url if running else f'unavailable: {started.unavailable[name]}'}")
    _echo(f"Their tokens are in {place.relative(started.state)}.  make down stops them.")


@command.command("down", context_settings=HELP)
def down() -> None:
    """Stop the processes that `up` and `run` left running."""
    place = Place.find()
    with place.only_one():
        stopped = [
            *Airflow(place).stop(),
            *Services(place).stop(),
            *(["postgres"] if Postgres.stop(place.postgres) else []),
        ]
    click.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@command.command("psql", context_settings={**HELP, "ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open the database of the last demo; further arguments are psql's."""
    place = Place.find()
    dataset, _ = _current(place)
    postgres = Postgres.start(place.postgres)
    os.execv(postgres.psql, ["psql", *arguments, postgres.url(dataset.database)])  # noqa: S606


def _run_day(place: Place, dataset: Dataset, day: date | None) -> None:
    started = time.monotonic()
    postgres = Postgres.start(place.postgres)
    days, said = provide(dataset, postgres, place)
    _echo(said)
    as_of = _check_day(day, days)
    airflow = Airflow(place)
    was_up = "api-server" in airflow.running()
    had_services = bool(Services(place).running)
    try:
        _choose(place, postgres, dataset, as_of, Services.start(place))
        client = _start(airflow, postgres, port=None, scheduled=False)
        _clear_the_way(client, was_up=was_up)
        outcome = _run_once(airflow, client, as_of)
    finally:
        if not was_up:
            airflow.stop()
            if not had_services:
                Services(place).stop()
    summary = summarise(postgres, dataset, as_of, outcome, time.monotonic() - started)
    write_private(place.summary, json.dumps(summary.document(), indent=2, ensure_ascii=False))
    _show(place, summary)
    if was_up:
        _serve(airflow, postgres, days, as_of, None)


def _run_once(airflow: Airflow, client: Client, as_of: date) -> Outcome:
    """Run the Dag for a day, its own schedule at rest, and follow it to its end."""
    _echo(f"running {DAG_ID} for {as_of}")
    client.pause(False)
    run_id = client.trigger({"as_of": as_of.isoformat(), "tenant": TENANT})
    try:
        return follow(airflow, client, run_id)
    except BaseException:
        with suppress(UnreachableError):  # then the next start finds the run unfinished, and ends it
            if client.run_state(run_id) not in ("success", "failed"):
                client.fail_run(run_id)  # ends its tasks, too: nothing of an interrupted demo runs on
        raise


def _start(
    airflow: Airflow, postgres: Postgres, *, port: int | None, scheduled: bool, names: tuple[str, ...] = SERVICES
) -> Client:
    """Start what is missing of these services of Airflow and wait until it has read the Dag."""
    since = None if "dag-processor" in airflow.running() else datetime.now(UTC)
    if since is not None:
        _echo(f"Airflow {airflow.version} is starting; its files are in {airflow.place.relative(airflow.home)}")
    airflow.start(postgres, port=port, scheduled=scheduled, names=names)
    return airflow.wait(since)


def _serve(airflow: Airflow, postgres: Postgres, days: Span, as_of: date, port: int | None) -> None:
    """Start what is missing of Airflow, decide whether its Dag keeps its schedule, and say how to get in."""
    current = days.last >= _yesterday()
    client = _start(airflow, postgres, port=port, scheduled=current, names=UI_SERVICES)
    client.pause(not current)
    _echo(f"Airflow   {airflow.url}   user {USER}, password {airflow.place.secrets.password}")
    if current:
        _echo(f"{DAG_ID} keeps its schedule, every day at 03:00 UTC; today's run starts at once if it has not been.")
    else:
        _echo(
            f"{DAG_ID} stays paused: its schedule asks for yesterday, and the log ends on {days.last}.\n"
            "Run a day of it:\n"
            f"    make trigger AS_OF={as_of}\n"
            f"or press Trigger in the UI, with {as_of} as the day and the Dag unpaused."
        )
    _echo("make down stops it.")


def _clear_the_way(client: Client, *, was_up: bool) -> None:
    """End what an interrupted demo left unfinished: the Dag runs one day at a time.

    Raises:
        TemporaryError: Airflow was up, and somebody's run is under way in it.
    """
    for run_id in client.unfinished_runs():
        if was_up:
            raise TemporaryError(f"run {run_id} is under way in Airflow; wait for it, or mark it as failed there")
        client.fail_run(run_id)


def _choose(place: Place, postgres: Postgres, dataset: Dataset, as_of: date, services: Services) -> None:
    """Make this dataset the one that Airflow's connections lead to, and that `up` and `psql` open."""
    reports = place.reports(dataset.database)
    reports.mkdir(parents=True, exist_ok=True)
    Airflow(place).write_connections(
        {
            "seedtest_db": {
                "conn_type": "postgres",
                "host": str(postgres.socket_folder),
                "login": "postgres",
                "schema": dataset.database,
            },
            "report_store": {"conn_type": "generic", "extra": {"url": reports.as_uri()}},
            **services.connections(),
        }
    )
    chosen = {"as_of": as_of.isoformat(), "dataset": asdict(dataset)}
    write_private(_record(place), json.dumps(chosen, ensure_ascii=False))


def _record(place: Place) -> Path:
    return place.folder / "current.json"


def _current(place: Place) -> tuple[Dataset, date]:
    """The dataset chosen last, and its day.

    Raises:
        ConfigurationError: there was no demo yet.
    """
    path = _record(place)
    if not path.exists():
        raise ConfigurationError("there is no data yet: run `make demo` first")
    chosen = json.loads(path.read_text(encoding="utf-8"))
    return Dataset(**chosen["dataset"]), parse_day(chosen["as_of"])


def _day(text: str | None) -> date | None:
    if not text:
        return None
    try:
        day = parse_day(text)
    except ConfigurationError:
        raise ConfigurationError(f"AS_OF={text!r}: expected a day such as 2026-01-31") from None
    if day > _yesterday():
        raise ConfigurationError(f"AS_OF={text} is not over yet (UTC); expected a day up to {_yesterday()}")
    return day


def _check_day(day: date | None, days: Span) -> date:
    """The day to run: the one asked for, else the log's last that is over.

    Raises:
        ConfigurationError: the log has no answer up to it.
    """
    last = min(days.last, _yesterday())
    taken = day or last
    if taken < days.first:
        expected = f"a day from {days.first} to {last}" if days.first <= last else "a log that began before today (UTC)"
        raise ConfigurationError(f"AS_OF={taken} is before the log's first answer; expected {expected}")
    if day is None:
        _echo(
            f"AS_OF is not given: taking {taken}, the log's last day" + (" that is over" if taken < days.last else "")
        )
    return taken


def _yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


def _echo(text: str) -> None:
    click.echo(text)


def _show(place: Place, summary: Summary) -> None:
    reports = [place.relative(path) for path in summary.reports]
    _echo(f"\ndone in {summary.total_seconds:.0f} s")
    for number in summary.numbers[:NUMBERS_SHOWN]:
        _echo(f"  {number.name:<22}{number.text}")
    for report in reports:
        _echo(f"  {'report':<22}{report}")
    none = [number.name for number in summary.numbers[NUMBERS_SHOWN:] if number.value is None]
    without = f" (none for {', '.join(none)}; it says why)" if none else ""
    _echo(f"  {'more numbers':<22}{place.relative(place.summary)}{without}")
    _echo(
        "\nnext: open the report;  make up  for Airflow's UI with this run;  make psql  for the tables;\n"
        "      make demo DATA=log.csv  for a log of your own.  PostgreSQL runs on until  make down."
    )


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, and a terminal that closes, unwind like Ctrl-C, so that no process is left behind."""

    def terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
        raise Terminated

    previous = {number: signal.signal(number, terminate) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
