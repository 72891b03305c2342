"""What the clients of the R services do when a service is away, refuses, fails, or is no longer waited for."""

import asyncio
import logging
import math
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import SecretStr, ValidationError
from tests.r.flaky import ACCEPTED, DROP, RUNNING, Answer, FlakyServer, failed, flaky, succeeded

from irt_analytics import clients
from irt_analytics.clients.base import MARGIN, Clock, ServiceName
from irt_analytics.errors import ConfigurationError, RefusedError, Skip, TemporaryError
from irt_analytics.settings import Settings

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-that-no-log-may-show"
BUSY = Answer(429, errors=(("queue_full", "16 jobs wait already"),), headers={"Retry-After": "5"})
DRAINING = Answer(503, errors=(("draining", "the service is stopping"),))
PROXY = Answer(502, text="<html>Bad Gateway</html>")


class Ask(clients.Request):
    x: list[float]
    label: str | None = None


class Mean(clients.Result):
    mean: float


class Probe(clients.RServiceClient):
    """A client of one fit and one direct endpoint."""

    name: ClassVar[ServiceName] = "glmm"

    async def fit(self, request: Ask) -> Mean:
        return await self._fit("/glmm/fit", request, Mean)

    async def predict(self, request: Ask) -> Mean:
        return await self._call("/glmm/predict", request, Mean)


class VirtualClock:
    """Time that passes by sleeping only, and at once."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, sleep=self.sleep)


def place(server: FlakyServer, **changes: object) -> clients.ServiceAddress:
    return replace(clients.ServiceAddress("glmm", server.url, SecretStr(TOKEN)), **changes)  # type: ignore[arg-type]


def predict(server: FlakyServer, time: VirtualClock | None = None) -> Mean:
    async def work() -> Mean:
        async with Probe(place(server), clock=(time or VirtualClock()).clock()) as client:
            return await client.predict(Ask(x=[1.0]))

    return clients.run(work)


def fit(server: FlakyServer, time: VirtualClock | None = None, request: Ask | None = None, **changes: object) -> Mean:
    async def work() -> Mean:
        async with Probe(place(server, **changes), clock=(time or VirtualClock()).clock()) as client:
            return await client.fit(request or Ask(x=[1.0]))

    return clients.run(work)


@pytest.mark.parametrize(
    "away", [DROP, BUSY, PROXY, DRAINING, Answer(504, text="")], ids=["hangs up", "429", "502", "503", "504"]
)
def test_service_that_is_away_is_asked_again_after_5_10_and_15_s(away: Answer) -> None:
    """A restart or a full queue of half a minute must not cost a try of the task."""
    time = VirtualClock()
    with flaky(away, away, away, Answer(data={"mean": 2.5})) as server:
        assert predict(server, time).mean == 2.5
    assert time.slept == [5.0, 10.0, 15.0]
    assert server.methods() == ["POST"] * 4


def test_service_that_stays_away_ends_the_try_and_says_why() -> None:
    time = VirtualClock()
    with flaky(DRAINING) as server, pytest.raises(TemporaryError, match=r"r-glmm-plumber.*draining") as caught:
        predict(server, time)
    assert time.slept == [5.0, 10.0, 15.0]
    assert len(server.received) == 4
    assert isinstance(caught.value.__cause__, clients.ServiceError)
    assert (caught.value.__cause__.code, caught.value.__cause__.detail) == ("draining", "the service is stopping")


def test_nobody_listening_is_temporary() -> None:
    time = VirtualClock()
    with flaky(DROP) as server:
        pass
    with pytest.raises(TemporaryError, match="ConnectError"):
        predict(server, time)
    assert time.slept == [5.0, 10.0, 15.0]


@pytest.mark.parametrize("status", [400, 404, 405, 411, 415, 422])
def test_refused_request_is_a_defect_and_is_not_sent_again(status: int) -> None:
    """A retry would be refused again: 30 s and two tries of the task later, with nothing learnt."""
    time = VirtualClock()
    refused = Answer(status, errors=(("invalid_field", "x: expected numbers"), ("invalid_field", "y: is missing")))
    with flaky(refused) as server, pytest.raises(clients.ServiceError) as caught:
        predict(server, time)
    assert (caught.value.service, caught.value.code) == ("r-glmm-plumber", "invalid_field")
    assert caught.value.detail == "x: expected numbers; y: is missing"
    assert (time.slept, len(server.received)) == ([], 1)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (
            Answer(401, errors=(("unauthorized", "expected a token"),)),
            ConfigurationError,
            r"R_GLMM_TOKEN \(connection r_glmm\): http://\S+ refuses it: .*unauthorized: expected a tok",
        ),
        (Answer(403, text="nginx"), ConfigurationError, r"\(connection r_glmm\).*HTTP 403: Forbidden"),
        (Answer(413, errors=(("body_too_large", "70 MB; expected 64"),)), ConfigurationError, "70 MB; expected 64"),
        (Answer(302, headers={"Location": "https://login"}), ConfigurationError, "sends to 'https://login'"),
        (Answer(500, errors=(("defect", "object 'x' not found"),)), TemporaryError, "defect: object 'x' not found"),
        (Answer(200, text="<html>hello</html>"), clients.ServiceError, "unexpected_answer"),
        (Answer(200, data={"median": 2.5}), clients.ServiceError, "unexpected_answer: Mean: mean: Field required"),
    ],
)
def test_other_answers_end_at_once_as_what_they_are(answer: Answer, error: type[Exception], said: str) -> None:
    time = VirtualClock()
    with flaky(answer) as server, pytest.raises(error, match=said):
        predict(server, time)
    assert (time.slept, len(server.received)) == ([], 1)


def test_fit_is_followed_to_its_end() -> None:
    with flaky(ACCEPTED, RUNNING, RUNNING, succeeded(mean=0.1)) as server:
        assert fit(server).mean == 0.1
    assert [(request.method, request.path) for request in server.received] == [
        ("POST", "/glmm/fit"),
        *[("GET", "/jobs/j1")] * 3,
    ]


def test_poll_that_finds_the_service_away_is_repeated_by_the_same_schedule() -> None:
    time = VirtualClock()
    with flaky(ACCEPTED, RUNNING, DROP, DRAINING, succeeded(mean=0.1)) as server:
        assert fit(server, time).mean == 0.1
    assert [seconds for seconds in time.slept if seconds >= 5.0] == [5.0, 10.0]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("timed_out", TemporaryError),
        ("out_of_memory", TemporaryError),
        ("killed", TemporaryError),
        ("cancelled", TemporaryError),
        ("not_enough_data", Skip),
        ("model_failed", RefusedError),
        ("defect", clients.ServiceError),
    ],
)
def test_failed_fit_ends_the_job_by_its_code(code: str, error: type[Exception]) -> None:
    """A model without data must skip, a killed child be tried again, a defect stop: not all three alike."""
    script = (ACCEPTED, RUNNING, failed(code, "what the service says"))
    with flaky(*script) as server, pytest.raises(error, match="what the service says") as caught:
        fit(server)
    assert "DELETE" not in server.methods()
    cause = caught.value if error is clients.ServiceError else caught.value.__cause__
    assert isinstance(cause, clients.ServiceError)
    assert cause.code == code


def test_fit_that_a_restart_lost_is_tried_again() -> None:
    lost = Answer(404, errors=(("not_found", "no such job"),))
    with flaky(ACCEPTED, RUNNING, lost) as server, pytest.raises(TemporaryError, match="lost the fit j1"):
        fit(server)


def test_fit_that_outlasts_its_task_is_cancelled_and_named() -> None:
    """The task would be killed without a word, and the service would go on for nobody."""
    deadline = datetime.now(UTC) + MARGIN + timedelta(seconds=30)
    time = VirtualClock()
    with flaky(ACCEPTED, RUNNING) as server, pytest.raises(TemporaryError, match=r"/glmm/fit did not end within 30 s"):
        fit(server, time, deadline=deadline)
    assert server.methods()[-1] == "DELETE"
    assert server.received[-1].path == "/jobs/j1"
    assert 30.0 < time.time < 34.0


def test_same_request_finds_its_fit_again_and_another_does_not() -> None:
    """A retry of the task must not start a second fit beside the first; another day's data must not get the first's."""
    with flaky(ACCEPTED, succeeded(mean=1.0), ACCEPTED, succeeded(mean=1.0), ACCEPTED, succeeded(mean=2.0)) as server:
        for values in ([1.0], [1.0], [2.0]):
            fit(server, request=Ask(x=values))
    keys = [request.headers["idempotency-key"] for request in server.received if request.method == "POST"]
    assert keys[0] == keys[1] != keys[2]


def test_doubles_arrive_bit_for_bit_in_a_compressed_body() -> None:
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 123456789.123456789] * 100
    with flaky(ACCEPTED, succeeded(mean=1.0)) as server:
        fit(server, request=Ask(x=values))
    posted = server.received[0]
    assert posted.headers["content-encoding"] == "gzip"
    assert len(posted.body) == int(posted.headers["content-length"]) < 1000
    assert [struct.pack("d", value) for value in posted.json()["x"]] == [struct.pack("d", value) for value in values]
    assert "label" not in posted.json(), "what is not set is not sent"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_cannot_say_are_refused_before_they_travel(value: float) -> None:
    """Sent as null, they would be missing data that nobody left out."""
    with pytest.raises(ValidationError, match="finite number"):
        Ask(x=[1.0, value])


def test_token_travels_in_its_header_and_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    refused = Answer(401, errors=(("unauthorized", "expected a token"),))
    for script in ([DROP], [refused], [ACCEPTED, failed("defect", "no")]):
        with flaky(*script) as server, pytest.raises(Exception, match="r-glmm-plumber") as caught:
            fit(server)
        assert server.received[0].headers["authorization"] == f"Bearer {TOKEN}"
        said += [str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(place(server))]
        said.append(repr(Probe(place(server))))
    text = "\n".join([*said, caplog.text, *(repr(record.args) for record in caplog.records)])
    assert "POST /glmm/fit" in text
    assert TOKEN not in text


def settings(**fields: object) -> Settings:
    return Settings.model_validate({"database_url": "postgresql:///x", **fields})


def test_address_is_what_the_settings_say() -> None:
    deadline = datetime(2026, 1, 31, 4, tzinfo=UTC)
    given = settings(r_brms_url="http://r-brms-plumber:8000/", r_brms_token=TOKEN, IRT_DEADLINE=deadline)
    assert clients.address(given, "brms") == clients.ServiceAddress(
        "brms", "http://r-brms-plumber:8000", SecretStr(TOKEN), deadline
    )


def test_service_that_cannot_be_had_is_a_skip_with_its_reason() -> None:
    with pytest.raises(Skip, match="no r-irt-plumber here: R is not installed"):
        clients.address(settings(r_irt_unavailable="R is not installed"), "irt")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, r"R_GLMM_URL is not set: expected the address of r-glmm-plumber"),
        ({"r_glmm_url": "http://x"}, r"R_GLMM_TOKEN is not set"),
        ({"r_glmm_url": "r-glmm-plumber:8000", "r_glmm_token": TOKEN}, r"R_GLMM_URL: expected http or https, a host"),
        ({"r_glmm_url": f"http://u:{TOKEN}@x", "r_glmm_token": TOKEN}, r"R_GLMM_URL: expected http or https, a host"),
        ({"r_glmm_url": "http://x", "r_glmm_token": f"{TOKEN}\n"}, r"R_GLMM_TOKEN holds a space or a character"),
    ],
)
def test_wrong_settings_are_named_and_the_token_is_not(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        clients.address(settings(**fields), "glmm")
    assert TOKEN not in str(caught.value)


def test_client_does_not_speak_to_another_service() -> None:
    with pytest.raises(ValueError, match="RIrtClient speaks to r-irt-plumber, not to r-glmm-plumber"):
        clients.RIrtClient(clients.ServiceAddress("glmm", "http://x", SecretStr(TOKEN)))


JOB = """
import sys
from irt_analytics import clients
from irt_analytics.errors import Terminated
from irt_analytics.runner import _terminable, configure_logging
from pydantic import SecretStr
from tests.r.test_clients import Ask, Probe

configure_logging()

async def work():
    async with Probe(clients.ServiceAddress("glmm", sys.argv[1], SecretStr("t"))) as client:
        print("working", flush=True)
        return await client.fit(Ask(x=[1.0]))

try:
    with _terminable():
        clients.run(work)
except Terminated:
    print("rolled back", flush=True)
    sys.exit(Terminated.exit_code)
"""


def start_job(server: FlakyServer) -> "subprocess.Popen[str]":
    path = os.pathsep.join(map(str, (ROOT, ROOT / "include")))
    return subprocess.Popen(
        [sys.executable, "-c", JOB, server.url],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def between_polls(server: FlakyServer) -> None:
    server.wait_for("GET", times=2)
    time.sleep(0.1)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(lambda server: server.wait_for("GET", times=3), id="while it polls"),
        pytest.param(lambda server: server.wait_for("POST"), id="while the service accepts"),
        pytest.param(between_polls, id="between polls"),
    ],
)
def test_killed_job_takes_its_fit_with_it(moment: Callable[[FlakyServer], object]) -> None:
    """Left running, fits of killed tasks would fill the service's queue; and the job must still end as terminated."""
    with flaky(ACCEPTED, RUNNING) as server:
        job = start_job(server)
        try:
            moment(server)
            job.send_signal(signal.SIGTERM)
            job.send_signal(signal.SIGTERM)  # an impatient second one must not break off the cancellation
            output, log = job.communicate(timeout=30)
        finally:
            job.kill()
            job.wait()
    assert [request.path for request in server.received if request.method == "DELETE"] == ["/jobs/j1"], log
    assert (job.returncode, output.splitlines()[-1]) == (143, "rolled back"), log
    assert "/glmm/fit cancelled (j1)" in log
    assert "Traceback" not in log
