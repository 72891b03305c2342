"""The clients against real R services: what a restart, a kill and a retry do to a fit that is under way."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from pydantic import SecretStr
from tests.r.rservice import TOKEN, RService

from irt_analytics import clients
from irt_analytics.clients.base import Clock, ServiceName, idempotency_key
from irt_analytics.clients.forecast import ProphetFitRequest, ProphetFitResult
from irt_analytics.errors import ConfigurationError, Skip, TemporaryError

ROOT = Path(__file__).parents[2]


class Points(clients.Request):
    x: list[float]
    y: list[float | None]


class Line(clients.Result):
    intercept: float
    slope: float
    n: int
    warnings: list[str]


class Nap(clients.Request):
    seconds: float


class Slept(clients.Result):
    slept: float


class LineClient(clients.RServiceClient):
    """A client of the tests' own service (line_service.R)."""

    name: ClassVar[ServiceName] = "glmm"

    async def fit_line(self, points: Points) -> Line:
        return await self._fit("/line/fit", points, Line)

    async def sleep(self, seconds: float) -> Slept:
        return await self._fit("/sleep/fit", Nap(seconds=seconds), Slept)


def start(library: Path, log: Path, port: int | None = None) -> RService:
    return RService(["Rscript", str(ROOT / "tests" / "r" / "line_service.R")], library, log, port, WORKERS=1)


@pytest.fixture
def service(r_library: Path, tmp_path: Path) -> Iterator[RService]:
    with start(r_library, tmp_path / "service.log") as running:
        yield running


def at(url: str) -> clients.ServiceAddress:
    return clients.ServiceAddress("glmm", url, SecretStr(TOKEN))


def fit_line(url: str, points: Points) -> Line:
    async def work() -> Line:
        async with LineClient(at(url)) as client:
            return await client.fit_line(points)

    return clients.run(work)


def sleep(url: str, seconds: float, clock: Clock | None = None) -> Slept:
    async def work() -> Slept:
        async with LineClient(at(url), clock=clock) as client:
            return await client.sleep(seconds)

    return clients.run(work)


def wait_until(reached: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_fit_comes_back_whole_with_its_warnings(service: RService) -> None:
    x = [float(number) for number in range(2000)]
    found = fit_line(service.url, Points(x=x, y=[None, *(1 / 3 + 0.1 * value for value in x[1:])]))
    assert (found.intercept, found.slope) == pytest.approx((1 / 3, 0.1), rel=1e-12)
    assert found.n == 1999
    assert found.warnings == ["1 points without y were left out"]


def test_too_little_data_is_a_skip_in_the_service_s_words(service: RService) -> None:
    with pytest.raises(Skip, match="1 points; a line needs 2"):
        fit_line(service.url, Points(x=[1.0, 2.0], y=[1.0, None]))


def test_refused_field_is_named(service: RService) -> None:
    with pytest.raises(clients.ServiceError, match=r"invalid_field.*seconds") as caught:
        sleep(service.url, -1.0)
    assert caught.value.code == "invalid_field"


def test_wrong_token_is_a_matter_of_configuration(service: RService) -> None:
    async def work() -> Slept:
        async with LineClient(clients.ServiceAddress("glmm", service.url, SecretStr("not-the-token-at-all"))) as client:
            return await client.sleep(1.0)

    with pytest.raises(ConfigurationError, match=r"\(connection r_glmm\).*unauthorized") as refused:
        clients.run(work)
    assert "not-the-token-at-all" not in str(refused.value)


def test_retry_of_a_killed_try_joins_its_fit_and_does_not_start_another(service: RService) -> None:
    """SIGKILL leaves no time to cancel: the next try must find what is under way, not queue behind it."""
    body = Nap(seconds=3.0).body()
    killed = service.post("/sleep/fit", body, Idempotency_Key=idempotency_key("glmm", "/sleep/fit", body))
    first = killed.json()["data"]["job_id"]
    assert sleep(service.url, 3.0).slept == 3.0
    assert service.job(first)["state"] == "succeeded"
    jobs = {event["job_id"] for event in service.events() if event["event"] == "job"}
    assert jobs == {first}


def test_restart_under_a_poll_is_temporary_and_the_retry_succeeds(r_library: Path, tmp_path: Path) -> None:
    """A rolled-out service must cost one try of one task, not a night."""
    log = tmp_path / "service.log"
    ended: list[BaseException] = []
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(min(seconds, 2.0))

    def first_try() -> None:
        try:
            sleep(first.url, 60.0, Clock(sleep=pause))
        except BaseException as error:
            ended.append(error)

    with start(r_library, log) as first:
        thread = threading.Thread(target=first_try)
        thread.start()
        wait_until(lambda: is_asleep(first), "the fit has not begun")
        port = first.port
    with start(r_library, log, port) as second:
        thread.join(timeout=60)
        assert [type(error) for error in ended] == [TemporaryError]
        assert "lost the fit" in str(ended[0])
        assert 5.0 in pauses, "it was away, and was asked again"
        assert sleep(second.url, 0.5).slept == 0.5


def test_sigterm_to_the_job_ends_the_fit_and_all_that_it_started(service: RService) -> None:
    """A fit that nobody waits for would keep a core for up to an hour."""
    program = f"from tests.r.test_clients_with_services import sleep; sleep({service.url!r}, 300.0)"
    path = os.pathsep.join(map(str, (ROOT, ROOT / "include")))
    job = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: is_asleep(service), "the fit has not begun")
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == -signal.SIGTERM
    finally:
        job.kill()
        job.wait()
    wait_until(lambda: not is_asleep(service), "the fit runs on")
    wait_until(lambda: any(event["event"] == "job" for event in service.events()), "no job has ended")
    assert [event["outcome"] for event in service.events() if event["event"] == "job"] == ["cancelled"]


def test_a_series_of_every_second_week_is_forecast(require_r: Callable[[str], Path], tmp_path: Path) -> None:
    """A cohort that learns every other week has no forecast one week ahead to judge: that is null, and no defect."""
    weeks = [date(2025, 1, 6) + timedelta(weeks=2 * n) for n in range(20)]
    values = [0.1, 0.3, 0.2, 0.25, 0.15] * 4
    request = ProphetFitRequest(
        series=["cohort"] * 20, week=weeks, value=values, se=[0.1] * 20, last_week=weeks[-1], horizon=4, level=0.8,
        threshold=2.5,
    )  # fmt: skip

    async def fit(address: clients.ServiceAddress) -> ProphetFitResult:
        async with clients.RForecastClient(address) as client:
            return await client.fit_prophet(request)

    command = ["Rscript", "-e", "irtforecast::serve()"]
    with RService(command, require_r("forecast"), tmp_path / "forecast.log") as service:
        address = clients.ServiceAddress("forecast", service.url, SecretStr(TOKEN))
        found = clients.run(lambda: fit(address))
    assert found.series.mae == [None]
    assert [coverage is None for coverage in found.calibration.coverage] == [True, False, True, False]
    assert [week - weeks[-1] for week in found.forecast.week] == [timedelta(weeks=n) for n in range(1, 5)]


def is_asleep(service: RService) -> bool:
    """Say whether a sleep/fit is under way: it has a process of that name."""
    with suppress(psutil.NoSuchProcess):
        return any(child.name() == "sleep" for child in service.children())
    return False
