"""R services as the tests run them: real processes on free loopback ports."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from irt_analytics.demo.processes import HOST, free_port, tail

TOKEN = "a-token-of-the-tests-only"
#: The services that the day's branches ask.
PACKAGES = {"glmm": "irtglmm", "forecast": "irtforecast", "brms": "irtbrms"}
READY_SECONDS = 120.0
ENDED = ("succeeded", "failed", "cancelled")

Json = dict[str, Any]


class RService:
    """A running service; a context manager that ends it with all that it started."""

    def __init__(
        self, command: Sequence[str], library: Path, log: Path, port: int | None = None, **settings: object
    ) -> None:
        self.port = port or free_port()
        self.log = log
        environment = {key: value for key, value in os.environ.items() if not key.startswith("R_")}
        environment |= {"R_LIBS": str(library), "R_SERVICE_TOKEN": TOKEN, "PORT": str(self.port)}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment |= {key: str(value) for key, value in settings.items()}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.url = f"http://{HOST}:{self.port}"
        self.http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=300.0, trust_env=False
        )

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            everything = [*self.children(), psutil.Process(self.process.pid)]
            for process in everything:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with suppress(httpx.TransportError):
                if self.http.get("/ready").is_success:
                    return
            assert self.process.poll() is None, f"the service ended:\n{tail(self.log, 40)}"
            assert time.monotonic() < deadline, f"the service is not ready:\n{tail(self.log, 40)}"
            time.sleep(0.05)

    def children(self) -> list[psutil.Process]:
        """Everything that the service has started and that runs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def post(self, path: str, body: Json | str | bytes, **headers: str) -> httpx.Response:
        content = json.dumps(body) if isinstance(body, dict) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=content, headers={"Content-Type": "application/json"} | named)

    def submit(self, path: str, body: Json, **headers: str) -> str:
        """Id of the job of an accepted request."""
        answer = self.post(path, body, **headers)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["data"]["job_id"]
        assert answer.headers["Location"] == f"/jobs/{job_id}"
        return str(job_id)

    def job(self, job_id: str) -> Json:
        answer = self.http.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        data: Json = answer.json()["data"]
        return data

    def wait(self, job_id: str, states: Sequence[str] = ENDED, seconds: float = 120.0) -> Json:
        deadline = time.monotonic() + seconds
        while (job := self.job(job_id))["state"] not in states:
            assert time.monotonic() < deadline, f"{job} after {seconds} s:\n{tail(self.log, 40)}"
            time.sleep(0.1)
        return job

    def fit(self, path: str, body: Json, **headers: str) -> Json:
        """A job's end."""
        return self.wait(self.submit(path, body, **headers))

    def events(self) -> list[Json]:
        """The log: one JSON object a line."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def errors_of(answer: httpx.Response) -> Mapping[str, str]:
    """The errors of an envelope, detail by code, after a check of the envelope itself."""
    body = answer.json()
    assert set(body) == {"status", "data", "errors"}
    assert body["status"] == "failure"
    assert body["data"] is None
    assert body["errors"]
    return {error["code"]: error["detail"] for error in body["errors"]}


@contextmanager
def branch_services(library: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Run the services of the day's branches, with their logs in `folder`; gives the jobs' settings of them."""
    with ExitStack() as stack:
        found: dict[str, str] = {}
        for name, package in PACKAGES.items():
            command = ["Rscript", "-e", f"{package}::serve()"]
            log, models = folder / f"{name}.log", library.parent / "stan"
            running = stack.enter_context(RService(command, library, log, STAN_MODELS=models, WORKERS=1))
            found |= {f"r_{name}_url": running.url, f"r_{name}_token": TOKEN}
        yield found
