"""A real HTTP server that answers by a script: what a service that is away, busy, broken or restarted says."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer: an envelope with data or with errors, or any other text; `drops` hangs up without one."""

    status: int = 200
    data: dict[str, Any] | None = None
    errors: tuple[tuple[str, str], ...] = ()
    text: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drops: bool = False

    def body(self) -> bytes:
        if self.text is not None:
            return self.text.encode()
        envelope = {
            "status": "failure" if self.errors else "success",
            "data": self.data,
            "errors": [{"code": code, "detail": detail} for code, detail in self.errors],
        }
        return json.dumps(envelope).encode()


DROP = Answer(drops=True)
ACCEPTED = Answer(202, {"job_id": "j1", "state": "queued"})
RUNNING = Answer(data={"job_id": "j1", "state": "running", "progress": {"fraction": 0.25, "note": "fitting"}})
CANCELLED = Answer(
    data={"job_id": "j1", "state": "cancelled", "error": {"code": "cancelled", "detail": "by the client"}}
)


def succeeded(**result: Any) -> Answer:
    return Answer(data={"job_id": "j1", "state": "succeeded", "result": result, "seconds": 0.5})


def failed(code: str, detail: str) -> Answer:
    return Answer(data={"job_id": "j1", "state": "failed", "error": {"code": code, "detail": detail}})


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body)


class FlakyServer(ThreadingHTTPServer):
    """Gives the answers of its script in turn, and the last one from then on; DELETE is always answered."""

    def __init__(self, script: list[Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.received: list[Received] = []
        self.changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def methods(self) -> list[str]:
        return [request.method for request in self.received]

    def wait_for(self, method: str, *, times: int = 1) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.methods().count(method) >= times, timeout=30), self.methods()


@contextmanager
def flaky(*script: Answer) -> Iterator[FlakyServer]:
    server = FlakyServer(list(script))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        script = self.server.script
        with self.server.changed:
            self.server.received.append(Received(self.command, self.path, headers, body))
            following = script.pop(0) if len(script) > 1 and self.command != "DELETE" else script[0]
            answer = CANCELLED if self.command == "DELETE" else following
            self.server.changed.notify_all()
        if answer.drops:
            self.close_connection = True
            return
        content = answer.body()
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the standard library's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """Stay silent: what came is in `received`."""
