"""`python -m tests.bench.jobs --answers 100000`: what each job of a day needs; prints a table, writes .bench/jobs.json.

Each job is a process, as in a pod, on a simulated log in an embedded PostgreSQL; what R does is asked of the services
of .demo/r (`make r-services` or `make demo` installs them), and without them those jobs end as skips. The first day
reconstructs the weeks before it, the second is what a night costs. For large logs, choose jobs and days:

    --answers 50000000 --items 5000 --jobs mirt_calibrate --days 1 --window-days 200 --without-r
    --answers 10000000 --jobs mirt_calibrate,features_backfill,compute_daily_kpis --without-r
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click
import psutil
import psycopg
from tests.r.rservice import TOKEN, RService

from irt_analytics.cli import JOBS
from irt_analytics.demo.postgres import get_server
from irt_analytics.demo.services import PACKAGES

ROOT = Path(__file__).parents[2]
LAST_DAY = date(2026, 1, 31)
#: A tenant of few learners: how many answers a learner gives, and to compile the kernels, as an image has them.
PILOT, PILOT_LEARNERS = "pilot", 200
COMPILING = ("mirt_calibrate", "features_backfill", "compute_daily_kpis")
MEBI = 2**20


@dataclass(frozen=True)
class Cost:
    """What one job took: seconds by the clock, processor seconds, and most memory in MiB, by who needed it."""

    day: str
    job: str
    ended: str
    seconds: float
    own_cpu: float
    database_cpu: float
    r_cpu: float
    own_memory: float
    database_memory: float
    r_memory: float


@click.command()
@click.option("--answers", default=100_000, show_default=True, help="Answers of the simulated log, about.")
@click.option("--items", default=300, show_default=True, help="Items that they are drawn from.")
@click.option("--jobs", default=",".join(JOBS), help="Jobs to run and to measure, in this order.  [default: all]")
@click.option(
    "--days", default=2, show_default=True, type=click.IntRange(1, 2), help="The first day, or the second, too."
)
@click.option("--window-days", default=30, show_default=True, help="Days of first attempts that a calibration reads.")
@click.option("--with-r/--without-r", default=True, help="Ask the R services, or let their jobs skip.")
@click.option("--folder", default=ROOT / ".bench", type=click.Path(path_type=Path), show_default=".bench")
def main(answers: int, items: int, jobs: str, days: int, window_days: int, with_r: bool, folder: Path) -> None:
    """Run days of jobs on a simulated log and say what each job needed."""
    chosen = jobs.split(",")
    unknown = sorted(set(chosen) - set(JOBS))
    if unknown:
        raise click.UsageError(f"unknown job {', '.join(unknown)}; expected some of {', '.join(JOBS)}")
    folder.mkdir(parents=True, exist_ok=True)
    with _database() as (url, postmaster), _services(folder, with_r) as (settings, services):
        environment = {**os.environ, **settings, "DATABASE_URL": url, "REPORT_STORE_URL": (folder / "reports").as_uri()}
        dates = [LAST_DAY - timedelta(days=1), LAST_DAY][:days]
        _run(_job("prepare_schema", dates[0]), environment)
        began = time.perf_counter()
        learners = _simulate(answers, items, url, environment)
        click.echo(f"simulated in {time.perf_counter() - began:.0f} s", err=True)
        costs = []
        for day in dates:
            for job in chosen:
                window = () if job == "prepare_schema" else ("--irt-window-days", str(window_days))
                costs.append(measure(job, day, environment, postmaster, services, window))
                click.echo(_row(costs[-1]), err=True)
        with psycopg.connect(url) as connection:
            (stored,) = _one(connection, "select count(*) from attempt_log where tenant_id = 'default'")
            (size,) = _one(connection, "select pg_database_size(current_database())")
            (log_size,) = _one(connection, "select pg_total_relation_size('attempt_log')")
            (calibrated,) = _one(
                connection, "select coalesce(max(n_responses), 0) from mirt_fit_meta where tenant_id = 'default'"
            )
    result = {
        "answers": stored,
        "learners": learners,
        "items": items,
        "calibrated": calibrated,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "database_mb": round(size / MEBI),
        "log_mb": round(log_size / MEBI),
        "jobs": [asdict(cost) for cost in costs],
    }
    (folder / "jobs.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    click.echo(
        f"{stored:,} answers of {learners:,} learners to {items:,} items, at most {calibrated:,} of them calibrated "
        f"a day, {result['machine']}; database {result['database_mb']:,} MiB, "
        f"{result['log_mb']:,} of them the log\n"
    )
    click.echo(
        "| day | job | s | processor s: job, database, R | MiB: job, database, R | ended |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    click.echo("\n".join(map(_row, costs)))


def _row(cost: Cost) -> str:
    cpu = f"{cost.own_cpu:.1f}, {cost.database_cpu:.1f}, {cost.r_cpu:.1f}"
    memory = f"{cost.own_memory:.0f}, {cost.database_memory:.0f}, {cost.r_memory:.0f}"
    return f"| {cost.day} | `{cost.job}` | {cost.seconds:.1f} | {cpu} | {memory} | {cost.ended} |"


@contextmanager
def _database() -> Iterator[tuple[str, psutil.Process]]:
    """A server with its defaults and a database of its own; gives its URL and the server's process."""
    folder = Path(tempfile.mkdtemp(prefix="irt-bench-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        process = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().splitlines()[0]))
        yield server.get_uri(), process
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _services(folder: Path, with_r: bool) -> Iterator[tuple[dict[str, str], list[psutil.Process]]]:
    """The R services that are installed and wanted; gives settings of all four for jobs, and the processes."""
    home = ROOT / ".demo" / "r"
    status = json.loads((home / "status.json").read_text()) if (home / "status.json").exists() else {}
    settings: dict[str, str] = {}
    processes = []
    with ExitStack() as stack:
        for name, package in PACKAGES.items():
            if not (with_r and status.get(name, {}).get("ok")):
                settings[f"R_{name.upper()}_UNAVAILABLE"] = "not installed here" if with_r else "not asked"
                continue
            command = ["Rscript", "-e", f"{package}::serve()"]
            log = folder / f"r-{name}.log"
            running = stack.enter_context(
                RService(command, home / "library", log, STAN_MODELS=home / "stan", WORKERS=1)
            )
            settings |= {f"R_{name.upper()}_URL": running.url, f"R_{name.upper()}_TOKEN": TOKEN}
            processes.append(psutil.Process(running.process.pid))
        yield settings, processes


def _simulate(answers: int, items: int, url: str, environment: Mapping[str, str]) -> int:
    """Write a log of about so many answers and return the number of its learners."""
    simulate = [sys.executable, "-m", "irt_analytics", "simulate", "--as-of", LAST_DAY.isoformat()]
    _run([*simulate, "--learners", str(PILOT_LEARNERS), "--tenant", PILOT], environment)
    with psycopg.connect(url) as connection:
        (pilot,) = _one(connection, "select count(*) from attempt_log")
    for job in COMPILING:
        _run([*_job(job, LAST_DAY), "--tenant", PILOT], environment)
    learners = round(answers * PILOT_LEARNERS / int(pilot))
    _run([*simulate, "--learners", str(learners), "--items", str(items)], environment)
    return learners


def _job(job: str, day: date) -> list[str]:
    return [sys.executable, "-m", "irt_analytics", job, "--as-of", day.isoformat()]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, stdout=sys.stderr)


def measure(
    job: str,
    day: date,
    environment: Mapping[str, str],
    postmaster: psutil.Process,
    services: Sequence[psutil.Process],
    arguments: Sequence[str] = (),
) -> Cost:
    """Run a job of a day to its end and return what it needed.

    Args:
        job: its name on the command line.
        day: the day.
        environment: its settings.
        postmaster: the database server's first process, whose children's time counts once they have ended.
        services: the R services; their fits are children.
        arguments: more of its command line.
    """
    database, r = _spent([postmaster]), _spent(services)
    began = time.perf_counter()
    child = subprocess.Popen([*_job(job, day), *arguments], env=environment, stdout=sys.stderr)
    r_memory = database_memory = 0
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        r_memory = max(r_memory, _largest(services))
        database_memory = max(database_memory, _together(postmaster))
        time.sleep(0.1)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        (ended,) = _one(connection, "select status from job_run order by job_run_id desc limit 1")
    return Cost(
        day=day.isoformat(),
        job=job,
        ended=ended if child.returncode == 0 else f"exit code {child.returncode}",
        seconds=seconds,
        own_cpu=usage.ru_utime + usage.ru_stime,
        database_cpu=_spent([postmaster]) - database,
        r_cpu=_spent(services) - r,
        own_memory=usage.ru_maxrss / 1024,
        database_memory=database_memory / MEBI,
        r_memory=r_memory / MEBI,
    )


def _spent(processes: Sequence[psutil.Process]) -> float:
    """Processor seconds of processes and of their children that have ended."""
    return sum(sum(process.cpu_times()[:4]) for process in processes)


def _largest(processes: Sequence[psutil.Process]) -> int:
    """Bytes of memory of the largest process that these have started: a fit."""
    sizes = [0]
    for process in processes:
        for one in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                sizes.append(one.memory_info().rss)
    return max(sizes)


def _together(process: psutil.Process) -> int:
    """Bytes of memory of a process and its children, what they share counted once."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += one.memory_full_info().pss
    return total


def _one(connection: psycopg.Connection[Any], statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row


if __name__ == "__main__":
    main()
