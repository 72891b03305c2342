"""What every R service promises over HTTP, held against a running one: tests/r/line_service.R on irtcommon."""

import gzip
import json
import math
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from tests.r.rservice import TOKEN, Json, RService, errors_of

from irt_analytics.demo.processes import HOST

SCRIPT = Path(__file__).with_name("line_service.R")
LINE = {"x": [1.0, 2.0, 4.0], "y": [3.0, 5.0, 9.0]}
MILLION = 1_000_000

pytestmark = pytest.mark.timeout(900)  # the first test may install R

Start = Callable[..., AbstractContextManager[RService]]


@pytest.fixture(scope="module")
def start(r_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    def start(*, port: int | None = None, graceful: bool = False, **settings: object) -> RService:
        command = ["Rscript", str(SCRIPT)]
        if graceful:
            command.insert(0, str(r_library / "irtcommon" / "exec" / "graceful"))
        return RService(command, r_library, tmp_path_factory.mktemp("service") / "log", port, **settings)

    return start


@pytest.fixture(scope="module")
def service(start: Start) -> Iterator[RService]:
    settings = {"WORKERS": 2, "QUEUE_LENGTH": 60, "BODY_MB": 64, "UNPACKED_MB": 96, "ANSWER_SECONDS": 300}
    with start(**settings) as running:
        yield running


# Who may ask


@pytest.mark.parametrize("token", ["", "short"])
def test_a_service_without_a_proper_token_does_not_start(r_library: Path, token: str) -> None:
    """An operator who forgot the Secret must not get an open service."""
    ended = subprocess.run(
        ["Rscript", str(SCRIPT)],
        env={"R_LIBS": str(r_library), "PATH": "/usr/bin:/bin:/usr/local/bin", "R_SERVICE_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "R_SERVICE_TOKEN" in ended.stderr


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/line/fit"), ("GET", "/jobs/1"), ("GET", "/nowhere")])
def test_without_the_token_nothing_is_answered(
    service: RService, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = httpx.request(method, service.url + path, headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert "unauthorized" in errors_of(answer)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_in_the_query_counts_for_nothing_and_is_not_logged(service: RService) -> None:
    """Queries end in the logs of proxies: a client that sends its token there must notice."""
    for name in ("token", "access_token", "Authorization"):
        answer = httpx.get(f"{service.url}/jobs/1", params={name: TOKEN}, trust_env=False)
        assert answer.status_code == 401
    assert TOKEN not in service.log.read_text(encoding="utf-8")


def test_health_readiness_metrics_and_the_api_page_need_no_token(service: RService) -> None:
    """Probes and Prometheus hold no token."""
    for path in ("/health", "/ready", "/metrics", "/openapi.json"):
        assert httpx.get(service.url + path, trust_env=False).status_code == 200


def test_the_token_is_in_no_environment_of_a_job(service: RService) -> None:
    """What a model's code could read, a model's code could leak."""
    job = service.submit("/sleep/fit", {"seconds": 60})
    service.wait(job, ("running",))
    for process in service.children():
        assert TOKEN not in process.environ().values()
    service.http.delete(f"/jobs/{job}")


# What a request may say


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[1, 2",
        "{'x': 1}",
        '{"x": [1,], "y": [1]}',
        '{"x": [NaN], "y": [1]}',
        '{"x": [Infinity], "y": [1]}',
        '{"x": [-Infinity], "y": [1]}',
        '{"x": [01], "y": [1]}',
        '{"x": [1], "y": [1]} trailing',
        '{"x": [1] /* why */, "y": [1]}',
        b'{"x": [1], "y": [1], "z": "\xff"}',
        b'{"x": [1], "y": [1]}\0',
    ],
)
def test_what_is_not_json_is_400(service: RService, body: str | bytes) -> None:
    answer = service.post("/line/check", body)
    assert answer.status_code == 400
    assert "invalid_json" in errors_of(answer)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/line/check", "[1, 2]", "the body"),
        ("/line/check", '"text"', "the body"),
        ("/line/check", "3", "the body"),
        ("/line/check", "null", "the body"),
        ("/line/check", '{"x": [1]}', "y"),
        ("/line/check", '{"x": [], "y": [1]}', "x"),
        ("/line/check", '{"x": [1, 2], "y": [1]}', "y"),
        ("/line/check", '{"x": 1, "y": [1]}', "x"),
        ("/line/check", '{"x": null, "y": [1]}', "x"),
        ("/line/check", '{"x": [null], "y": [1]}', "x"),
        ("/line/check", '{"x": ["1"], "y": [1]}', "x"),
        ("/line/check", '{"x": [true], "y": [1]}', "x"),
        ("/line/check", '{"x": [[1]], "y": [1]}', "x"),
        ("/line/check", '{"x": [{"a": 1}], "y": [1]}', "x"),
        ("/line/check", '{"x": {"a": 1}, "y": [1]}', "x"),
        ("/line/check", '{"x": [1e999], "y": [1]}', "x"),
        ("/line/check", '{"x": [1], "y": [1], "z": [1]}', "z"),
        ("/line/check", '{"x": [1], "x": [2], "y": [1]}', "x"),
        ("/echo", '{"text": 1}', "text"),
        ("/echo", '{"text": ["a"]}', "text"),
        ("/echo", '{"text": null}', "text"),
        ("/echo", '{"text": "123456789012345678901"}', "text"),
        ("/echo", '{"whole": 1.5}', "whole"),
        ("/echo", '{"whole": "1"}', "whole"),
        ("/echo", '{"whole": 2147483648}', "whole"),
        ("/echo", '{"whole": true}', "whole"),
        ("/echo", '{"real": "NaN"}', "real"),
        ("/echo", '{"real": "NA"}', "real"),
        ("/echo", '{"real": -1e301}', "real"),
        ("/echo", '{"flag": 1}', "flag"),
        ("/echo", '{"flag": "true"}', "flag"),
        ("/echo", '{"choice": "three"}', "choice"),
        ("/echo", '{"texts": ["a", 1]}', "texts"),
        ("/echo", '{"texts": ["a", null]}', "texts"),
        ("/echo", '{"reals": [1, "NA"]}', "reals"),
    ],
)
def test_a_wrong_field_is_422_and_named(service: RService, path: str, body: str, field: str) -> None:
    """A value that R would have turned into another type or recycled is a wrong result without an error."""
    answer = service.post(path, body)
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert [error["code"] for error in errors] == ["invalid_field"]
    assert errors[0]["detail"].startswith(f"{field}: ")


def test_every_wrong_field_is_named_at_once(service: RService) -> None:
    answer = service.post("/echo", {"whole": 0.5, "flag": "no", "choice": "three", "unknown": 1})
    named = {error["detail"].partition(":")[0] for error in answer.json()["errors"]}
    assert named == {"whole", "flag", "choice", "unknown"}


def test_values_arrive_as_they_were_sent(service: RService) -> None:
    """Texts that R or a CSV reader would take for something else stay texts; nulls stay nulls."""
    sent: Json = {
        "text": 'é 한국어 "quoted" \\ \t',
        "whole": -7,
        "real": None,
        "flag": False,
        "choice": "two",
        "texts": ["NA", "NaN", "null", "TRUE", "1", "", "\u0001"],
        "reals": [None, 1.0, None],
    }
    answer = service.post("/echo", sent)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == sent | {"warnings": []}


@pytest.mark.parametrize("reals", [[], [1.5], [None]])
def test_columns_of_no_and_of_one_row_stay_columns(service: RService, reals: list[float | None]) -> None:
    assert service.post("/line/check", {"x": [2.0], "y": reals or [None]}).json()["data"]["x"] == [2.0]
    assert service.post("/echo", {"reals": reals}).json()["data"]["reals"] == reals


def test_a_double_comes_back_bit_for_bit(service: RService) -> None:
    """Anchors that a client fixes must come back the same to the last digit."""
    rng = np.random.default_rng(20260131)
    patterns = rng.integers(0, 2**64, 2000, dtype=np.uint64)
    doubles = [value for value in patterns.view(np.float64).tolist() if math.isfinite(value)]
    doubles += [0.1 + 0.2, 1 / 3, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2.0**53 + 2, 1e22]
    returned = service.post("/echo", {"reals": doubles}).json()["data"]["reals"]
    assert struct.pack(f"{len(doubles)}d", *returned) == struct.pack(f"{len(doubles)}d", *doubles)


def test_deep_nesting_costs_one_request_and_not_the_service(service: RService) -> None:
    answer = service.post("/line/check", "[" * 2_000_000)
    assert answer.status_code in (400, 413)
    assert service.post("/line/check", LINE).status_code == 200


def test_a_reader_killed_while_idle_is_replaced(start: Start) -> None:
    """The kernel ends it first where memory runs out; the next request must not end the service with all its jobs."""
    with start() as service:
        job_id = service.submit("/sleep/fit", {"seconds": 1})
        assert service.wait(job_id)["state"] == "succeeded"
        (reader,) = [process for process in service.children() if process.name() != "supervisor"]
        reader.kill()
        assert _all_gone([reader])
        assert service.post("/line/check", LINE).json()["data"] == LINE | {"warnings": []}
        assert service.job(job_id)["state"] == "succeeded"


def test_a_million_rows_are_read_while_the_service_answers_others(service: RService) -> None:
    """A large cohort's upload must not make the probes restart the pod. Sent plain and packed: both mean the same."""
    rng = np.random.default_rng(20260131)
    x = rng.normal(size=MILLION)
    y = np.round(2 * x + rng.normal(size=MILLION), 6)
    body = json.dumps({"x": x.tolist(), "y": y.tolist()}).encode()
    answers: list[int] = []
    posted = threading.Event()

    def probe() -> None:
        while not posted.is_set():
            answers.append(httpx.get(f"{service.url}/health", trust_env=False).status_code)
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        try:
            plain = service.post("/line/fit", body)
        finally:
            posted.set()
        probing.result()
    assert plain.status_code == 202, plain.text
    assert len(answers) >= 5
    assert set(answers) == {200}
    packed = service.post("/line/fit", gzip.compress(body, 1), Content_Encoding="gzip")
    slope, intercept = np.polyfit(x, y, 1)
    for answer in (plain, packed):
        result = service.wait(answer.json()["data"]["job_id"])["result"]
        assert result["n"] == MILLION
        assert result["slope"] == pytest.approx(slope, rel=1e-12)
        assert result["intercept"] == pytest.approx(intercept, abs=1e-12)


# Packed bodies and limits


def _gzip(body: Json) -> bytes:
    return gzip.compress(json.dumps(body).encode())


def _flipped(packed: bytes, index: int) -> bytes:
    damaged = bytearray(packed)
    damaged[index] ^= 0x01
    return bytes(damaged)


def test_a_packed_body_means_the_same_as_a_plain_one(service: RService) -> None:
    plain = service.post("/line/check", LINE)
    packed = service.post("/line/check", _gzip(LINE), Content_Encoding="gzip")
    assert packed.status_code == 200
    assert packed.json() == plain.json()


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-1],
        lambda packed: packed[:-8],
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:12],
        lambda packed: packed[:0],
        lambda packed: _flipped(packed, -1),
        lambda packed: _flipped(packed, -6),
        lambda packed: _flipped(packed, len(packed) // 2),
        lambda packed: packed + b"more",
        lambda packed: packed + packed,
        gzip.decompress,
        lambda packed: zlib.compress(gzip.decompress(packed)),
    ],
)
def test_damaged_gzip_is_refused(service: RService, damage: Callable[[bytes], bytes]) -> None:
    """Rows lost on the way would be a fit of other data."""
    x = np.random.default_rng(1).normal(size=500).tolist()
    answer = service.post("/line/check", damage(_gzip({"x": x, "y": x})), Content_Encoding="gzip")
    assert answer.status_code == 400
    assert "invalid_gzip" in errors_of(answer)


def test_a_gzip_bomb_is_refused(service: RService) -> None:
    """1 GB in 1 MB: what it unpacks to is never held."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * 2**24
    bomb = b"".join([packer.compress(block) for _ in range(2**6)]) + packer.flush()
    assert len(bomb) < 2**21
    answer = service.post("/line/check", bomb, Content_Encoding="gzip")
    assert answer.status_code == 413
    assert "body_too_large" in errors_of(answer)
    assert service.post("/line/check", LINE).status_code == 200


def _answer_to_headers(service: RService, *headers: str) -> str:
    """Status line of what comes back when no byte of a body has been sent."""
    request = ["POST /line/fit HTTP/1.1", f"Host: {HOST}", f"Authorization: Bearer {TOKEN}", *headers, "", ""]
    with socket.create_connection((HOST, service.port), timeout=30) as connection:
        connection.sendall("\r\n".join(request).encode())
        return connection.makefile("rb").readline().decode().strip()


def test_a_body_that_will_not_be_read_is_refused_before_it_is_sent(service: RService) -> None:
    """A client learns in milliseconds, and the service holds nothing of an upload it will not take."""
    json_type = "Content-Type: application/json"
    assert " 413 " in _answer_to_headers(service, json_type, f"Content-Length: {64 * 2**20 + 1}")
    assert " 411 " in _answer_to_headers(service, json_type, "Transfer-Encoding: chunked")
    assert " 415 " in _answer_to_headers(service, "Content-Type: text/csv", "Content-Length: 1000")
    assert " 415 " in _answer_to_headers(service, json_type, "Content-Encoding: br", "Content-Length: 1000")
    assert " 400 " in _answer_to_headers(service, json_type, f"Idempotency-Key: {'k' * 201}", "Content-Length: 1000")


def test_unknown_paths_and_methods(service: RService) -> None:
    assert "not_found" in errors_of(service.post("/nowhere", LINE))
    assert "not_found" in errors_of(service.http.get("/jobs/0123456789abcdef0123456789abcdef"))
    answer = service.http.get("/line/fit")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert "method_not_allowed" in errors_of(answer)


# Jobs


def test_a_fit_returns_its_numbers_and_carries_its_warnings(service: RService) -> None:
    job = service.fit("/line/fit", {"x": [1, 2, 4, 5], "y": [3, 5, 9, None]})
    assert job["state"] == "succeeded"
    assert job["error"] is None
    assert job["progress"]["fraction"] == 1
    assert job["seconds"] > 0
    result = job["result"]
    assert result["warnings"] == ["1 points without y were left out"]
    assert result["n"] == 3
    assert result["slope"] == pytest.approx(2, abs=1e-12)
    assert result["intercept"] == pytest.approx(1, abs=1e-12)


def test_a_model_says_that_its_data_is_not_enough(service: RService) -> None:
    job = service.fit("/line/fit", {"x": [1.0], "y": [1.0]})
    assert job["state"] == "failed"
    assert job["error"] == {"code": "not_enough_data", "detail": "1 points; a line needs 2"}
    assert job["result"] is None


@pytest.mark.parametrize(("how", "said"), [("error", "a defect of this model"), ("infinite", "result$value[1] is Inf")])
def test_a_defect_is_no_result_and_its_trace_is_in_the_log(service: RService, how: str, said: str) -> None:
    job_id = service.submit("/break/fit", {"how": how})
    job = service.wait(job_id)
    assert job["state"] == "failed"
    assert job["error"]["code"] == "defect"
    assert said in job["error"]["detail"]
    logged = next(event for event in service.events() if event.get("job_id") == job_id and event["event"] == "job")
    assert logged["outcome"] == "defect"
    if how == "error":
        assert "solve_nothing" in logged["printed"]


def test_progress_is_seen_while_a_job_runs(service: RService) -> None:
    job_id = service.submit("/sleep/fit", {"seconds": 30})
    deadline = time.monotonic() + 60
    seen: list[float] = []
    while len(set(seen)) < 3:
        assert time.monotonic() < deadline
        answer = service.http.get("/sleep/fit_progress", params={"job_id": job_id})
        data = answer.json()["data"]
        assert set(data) == {"job_id", "state", "progress"}
        if data["progress"]["fraction"] is not None:
            assert data["progress"]["note"] == "asleep"
            seen.append(data["progress"]["fraction"])
    assert seen == sorted(seen)
    assert service.http.delete(f"/jobs/{job_id}").json()["data"]["state"] == "cancelled"


def test_the_same_key_gets_the_same_job(service: RService) -> None:
    """A task's retry finds its fit instead of paying for it again."""
    first = service.submit("/line/fit", LINE, Idempotency_Key="the-same")
    assert service.submit("/line/fit", LINE, Idempotency_Key="the-same") == first
    service.wait(first)
    assert service.submit("/line/fit", LINE, Idempotency_Key="the-same") == first
    packed = service.post("/line/fit", _gzip(LINE), Content_Encoding="gzip", Idempotency_Key="the-same")
    assert packed.json()["data"]["job_id"] == first
    other = service.post("/line/fit", LINE | {"x": [1, 2, 3]}, Idempotency_Key="the-same")
    assert "idempotency_conflict" in errors_of(other)
    assert service.submit("/line/fit", LINE) != first


def test_a_key_whose_job_failed_gets_a_new_job(service: RService) -> None:
    """Otherwise no retry could ever succeed."""
    failed = service.submit("/die/fit", {}, Idempotency_Key="dies")
    assert service.wait(failed)["state"] == "failed"
    assert service.submit("/die/fit", {}, Idempotency_Key="dies") != failed


def test_fifty_clients_at_once_each_get_their_own_answer(service: RService) -> None:
    def ask(slope: int) -> float:
        with httpx.Client(base_url=service.url, headers=service.http.headers, timeout=300, trust_env=False) as client:
            body = {"x": [0.0, 1.0, 2.0], "y": [0.0, slope * 1.0, slope * 2.0]}
            checked = client.post("/line/check", json=body)
            assert checked.json()["data"]["y"] == body["y"]
            accepted = client.post("/line/fit", json=body, headers={"Idempotency-Key": f"client-{slope}"})
            assert accepted.status_code == 202, accepted.text
            while True:
                job = client.get(accepted.headers["Location"]).json()["data"]
                if job["state"] not in ("queued", "running"):
                    return float(job["result"]["slope"])
                time.sleep(0.5)

    with ThreadPoolExecutor(50) as pool:
        slopes = list(pool.map(ask, range(50)))
    assert slopes == pytest.approx(range(50), abs=1e-9)


def test_a_full_queue_says_so_and_loses_nothing(start: Start) -> None:
    with start(WORKERS=1, QUEUE_LENGTH=2) as service:
        blocking = service.submit("/sleep/fit", {"seconds": 600})
        service.wait(blocking, ("running",))
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda i: service.post("/line/fit", LINE, Idempotency_Key=f"k{i}"), range(12)))
        accepted = [answer for answer in answers if answer.status_code == 202]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert (len(accepted), len(refused)) == (2, 10)
        for answer in refused:
            assert "queue_full" in errors_of(answer)
            assert int(answer.headers["Retry-After"]) > 0
        key = accepted[0].request.headers["Idempotency-Key"]
        repeated = service.post("/line/fit", LINE, Idempotency_Key=key)
        assert repeated.json()["data"]["job_id"] == accepted[0].json()["data"]["job_id"]
        service.http.delete(f"/jobs/{blocking}")
        for answer in accepted:
            assert service.wait(answer.json()["data"]["job_id"])["state"] == "succeeded"
        assert service.fit("/line/fit", LINE)["state"] == "succeeded"


def test_a_killed_job_is_said_to_be_killed(service: RService) -> None:
    job = service.fit("/die/fit", {})
    assert job["state"] == "failed"
    assert job["error"]["code"] == "killed"
    assert "-9" in job["error"]["detail"]


def _running(service: RService, body: Json, path: str = "/sleep/fit") -> tuple[str, list[psutil.Process]]:
    """A job that runs, and the processes it consists of."""
    before = set(service.children())
    job_id = service.submit(path, body)
    deadline = time.monotonic() + 60
    while True:
        # One supervisor, started with the first job, watches over the jobs of all.
        processes = [one for one in service.children() if one not in before and one.name() != "supervisor"]
        if any(process.name() == "sleep" for process in processes):
            return job_id, processes
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=15)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_cancelling_ends_a_job_with_all_that_it_started(service: RService) -> None:
    job_id, processes = _running(service, {"seconds": 600})
    answer = service.http.delete(f"/jobs/{job_id}").json()["data"]
    assert answer["state"] == "cancelled"
    assert answer["error"]["code"] == "cancelled"
    assert _all_gone(processes)
    assert service.job(job_id)["state"] == "cancelled"
    assert service.http.delete(f"/jobs/{job_id}").json()["data"]["state"] == "cancelled"


def test_a_job_over_its_time_is_ended_with_all_that_it_started(start: Start) -> None:
    with start(JOB_SECONDS=5) as service:
        late, processes = _running(service, {"seconds": 600})
        assert service.wait(late)["error"]["code"] == "timed_out"
        assert _all_gone(processes)


def test_a_job_over_its_memory_is_ended_and_the_service_goes_on(start: Start) -> None:
    """Beside it, so many ended jobs are kept: a new one takes the place of the one that ended first."""
    with start(JOB_MEMORY_MB=400, RESULT_COUNT=2) as service:
        hungry = service.submit("/memory/fit", {})
        assert service.wait(hungry)["error"]["code"] == "out_of_memory"
        kept = [service.submit("/line/fit", LINE) for _ in range(2)]
        assert [service.wait(job_id)["state"] for job_id in kept] == ["succeeded", "succeeded"]
        assert service.http.get(f"/jobs/{hungry}").status_code == 404


def test_results_are_forgotten_in_time(start: Start) -> None:
    with start(RESULT_SECONDS=1) as service:
        job_id = service.submit("/line/fit", LINE)
        deadline = time.monotonic() + 200
        while service.http.get(f"/jobs/{job_id}").status_code != 404:
            assert time.monotonic() < deadline
            time.sleep(0.2)


# Ends


def test_a_service_that_is_killed_takes_its_jobs_along_and_a_retry_succeeds(start: Start) -> None:
    """After an OOM kill or a lost node nothing computes on; a client that polled asks again and gets its fit."""
    with start() as service:
        port = service.port
        job_id, processes = _running(service, {"seconds": 600})
        service.signal(signal.SIGKILL)
        service.process.wait()
        helpers = [process for process in processes if process.is_running() and process.name() == "sleep"]
        assert _all_gone([process for process in processes if process not in helpers])
        for helper in helpers:  # in a pod it would be gone with the container
            helper.kill()
        with pytest.raises(httpx.TransportError):
            service.http.get(f"/jobs/{job_id}")
    with start(port=port) as service:
        assert "not_found" in errors_of(service.http.get(f"/jobs/{job_id}"))
        assert service.fit("/line/fit", LINE)["state"] == "succeeded"


def test_sigterm_lets_accepted_jobs_end_and_be_fetched(start: Start) -> None:
    """A rolling update loses no fit."""
    with start(graceful=True, WORKERS=1, DRAIN_SECONDS=120) as service:
        jobs = [service.submit("/sleep/fit", {"seconds": 2}) for _ in range(2)]
        service.wait(jobs[0], ("running",))
        service.signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while service.http.get("/ready").status_code != 503:
            assert time.monotonic() < deadline
        assert service.http.get("/health").status_code == 200
        assert "draining" in errors_of(service.post("/line/fit", LINE))
        for job_id in jobs:
            assert service.wait(job_id)["result"]["slept"] == 2
        assert service.process.wait(timeout=30) == 0


def test_sigterm_ends_in_time_whatever_runs(start: Start) -> None:
    with start(graceful=True, DRAIN_SECONDS=1) as service:
        _, processes = _running(service, {"seconds": 600})
        service.signal(signal.SIGTERM)
        assert service.process.wait(timeout=30) == 0
        assert _all_gone(processes)


# What operators see


def test_metrics_count_requests_and_jobs(start: Start) -> None:
    with start() as service:
        service.fit("/line/fit", LINE)
        service.fit("/die/fit", {})
        httpx.get(f"{service.url}/made-up-by-a-client", trust_env=False)
        lines = httpx.get(f"{service.url}/metrics", trust_env=False).text.splitlines()
        samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert samples['r_service_requests_total{method="POST",path="/line/fit",status="202"}'] == "1"
        assert samples['r_service_requests_total{method="GET",path="other",status="401"}'] == "1"
        assert samples['r_service_jobs_total{path="/line/fit",outcome="succeeded"}'] == "1"
        assert samples['r_service_jobs_total{path="/die/fit",outcome="killed"}'] == "1"
        assert float(samples['r_service_job_seconds_total{path="/line/fit"}']) > 0
        assert samples["r_service_jobs_queued"] == "0"
        assert samples["r_service_jobs_running"] == "0"
        described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
        assert {name.partition("{")[0] for name in samples} <= described


def test_a_request_can_be_followed_through_the_log(service: RService) -> None:
    answer = service.post("/line/fit", LINE, X_Request_Id="task-17.try-1")
    assert answer.headers["X-Request-Id"] == "task-17.try-1"
    job_id = answer.json()["data"]["job_id"]
    service.wait(job_id)
    events = service.events()
    accepted = next(event for event in events if event["event"] == "accepted" and event["job_id"] == job_id)
    assert accepted["request_id"] == "task-17.try-1"
    assert any(event["event"] == "job" and event["job_id"] == job_id for event in events)
    forged = service.post("/line/check", LINE, X_Request_Id='x" injected')
    assert forged.headers["X-Request-Id"] != 'x" injected'


def test_the_api_page_says_what_the_service_checks(service: RService) -> None:
    """The page and the checks come from one table; a request made from the page is accepted, and less is not."""
    page = httpx.get(f"{service.url}/openapi.json", trust_env=False).json()
    assert page["openapi"].startswith("3.0")
    assert page["security"] == [{"token": []}]
    schema = page["paths"]["/line/check"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["x", "y"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["y"]["items"] == {"type": "number", "nullable": True}
    assert schema["properties"]["x"]["minItems"] == 1
    choice = page["paths"]["/echo"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert choice["choice"]["enum"] == ["one", "two"]
    assert choice["text"]["maxLength"] == 20
    assert "202" in page["paths"]["/line/fit"]["post"]["responses"]
    assert {"get", "delete"} <= set(page["paths"]["/jobs/{job_id}"])
    assert "get" in page["paths"]["/line/fit_progress"]
    assert page["paths"]["/health"]["get"]["security"] == []
