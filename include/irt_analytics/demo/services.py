"""The four R services of a checkout: processes on free loopback ports, each with a random token of its own."""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from irt_analytics.demo.place import Place, write_private
from irt_analytics.demo.processes import HOST, Started, end, free_port, spawn, tail
from irt_analytics.errors import PipelineError

#: Their R packages.
PACKAGES = {"irt": "irtmirt", "glmm": "irtglmm", "forecast": "irtforecast", "brms": "irtbrms"}
START_SECONDS = 240.0

Json = dict[str, Any]


class SetupError(PipelineError):
    """tools/setup-r failed in a way that it does not record; the message is what it printed last."""

    exit_code = 1


@dataclass(frozen=True)
class Service(Started):
    """A running R service."""

    token: str = field(repr=False)
    installed: str

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"


class Services:
    """The R services of one checkout; those that can run here outlive this process until `stop`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.unavailable: dict[str, str] = {}
        self._home = place.folder / "r"
        self._running = {service.name: service for service in self._recorded() if service.process() is not None}

    @classmethod
    def start(cls, place: Place) -> Self:
        """Install what is missing, start what does not run, and wait until every service is ready.

        A service that cannot run here is in `unavailable` with its reason.

        Raises:
            SetupError: tools/setup-r failed.
        """
        services = cls(place)
        services._install()
        for name in PACKAGES:
            services._ensure(name)
        deadline = time.monotonic() + START_SECONDS
        for name in list(services._running):
            services._wait(name, deadline)
        return services

    @property
    def running(self) -> Mapping[str, Service]:
        """The services that run, by name."""
        return self._running

    @property
    def state(self) -> Path:
        """The file that holds ports and tokens; readable by its owner only."""
        return self._home / "services.json"

    def connections(self) -> dict[str, Json]:
        """Airflow's connections to them: r_irt, r_glmm, r_forecast, r_brms."""
        return {f"r_{name}": self._connection(name) for name in PACKAGES}

    def stop(self) -> list[str]:
        """Stop the services and return the names of those that ran."""
        names = [f"r-{name}-plumber" for name in self._running]
        end(self._running.values())
        self._running.clear()
        self.state.unlink(missing_ok=True)
        return names

    def _connection(self, name: str) -> Json:
        if name in self.unavailable:
            return {"conn_type": "http", "extra": {"unavailable": self.unavailable[name]}}
        service = self._running[name]
        return {"conn_type": "http", "host": HOST, "schema": "http", "port": service.port, "password": service.token}

    def _recorded(self) -> list[Service]:
        if not self.state.exists():
            return []
        return [Service(**entry) for entry in json.loads(self.state.read_text(encoding="utf-8"))]

    def _remember(self) -> None:
        write_private(self.state, json.dumps([asdict(service) for service in self._running.values()]))

    def _install(self) -> None:
        script = self.place.root / "tools" / "setup-r"
        ended = subprocess.run([str(script)], stdin=subprocess.DEVNULL, check=False)
        if ended.returncode:
            raise SetupError("tools/setup-r failed; what it printed is above")
        status: dict[str, Json] = json.loads((self._home / "status.json").read_text(encoding="utf-8"))
        self.unavailable = {name: entry["reason"] for name, entry in status.items() if not entry["ok"]}

    def _ensure(self, name: str) -> None:
        """Start a service that can run, again where it runs what has been replaced since."""
        running = self._running.get(name)
        installed = "" if name in self.unavailable else self._installed(name)
        if running is not None and running.installed != installed:
            end([running])
            del self._running[name]
        if name not in self.unavailable and name not in self._running:
            self._running[name] = self._spawn(name, installed)
        self._remember()

    def _installed(self, name: str) -> str:
        return (self._home / f"package-{name}").read_text(encoding="utf-8").strip()

    def _spawn(self, name: str, installed: str) -> Service:
        token, port = secrets.token_urlsafe(32), free_port()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("R_")} | {
            "R_LIBS": str(self._home / "library"),
            "R_SERVICE_TOKEN": token,
            "HOST": HOST,
            "PORT": str(port),
            "STAN_MODELS": str(self._home / "stan"),
            "DRAIN_SECONDS": "1",  # nobody's work is under way when a person stops them
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        graceful = self._home / "library" / "irtcommon" / "exec" / "graceful"
        command = [str(graceful), "Rscript", "-e", f"{PACKAGES[name]}::serve()"]
        pid, created = spawn(command, environment=environment, folder=self.place.root, log=self._log(name))
        return Service(name, pid, created, port, token, installed)

    def _wait(self, name: str, deadline: float) -> None:
        """Wait until a service is ready; one that does not get so is stopped and becomes unavailable."""
        service = self._running[name]
        while time.monotonic() < deadline and service.process() is not None:
            if _is_ready(service):
                return
            time.sleep(0.1)
        end([service])
        log = self._log(name)
        why = f"r-{name}-plumber did not start; its log, {self.place.relative(log)}, ends: {tail(log, 3)}"
        self.unavailable[name] = why
        del self._running[name]
        self._remember()

    def _log(self, name: str) -> Path:
        return self.place.folder / "logs" / f"r-{name}.log"


def _is_ready(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/ready", timeout=5.0, trust_env=False).is_success
    except httpx.TransportError:
        return False  # not listening yet
