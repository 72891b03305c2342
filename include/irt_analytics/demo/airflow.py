"""The embedded Airflow: its configuration, its processes, and what the demo asks of its REST API."""

import configparser
import importlib.metadata
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from irt_analytics.demo.place import Place, write_private
from irt_analytics.demo.postgres import Postgres
from irt_analytics.demo.processes import HOST, Started, end, free_port, spawn, tail
from irt_analytics.errors import ConfigurationError, PipelineError

DAG_ID = "irt_analytics_daily"
USER = "admin"
DATABASE = "airflow"
#: What runs a Dag; the web UI is one of the API server's pages.
SERVICES = ("api-server", "scheduler", "dag-processor")
#: Nothing here defers, but without it the UI's front page shows a part of Airflow as sick.
UI_SERVICES = (*SERVICES, "triggerer")
START_SECONDS = 120.0

Json = dict[str, Any]


class AirflowError(PipelineError):
    """Airflow, or a run in it, failed; the message says where to look."""

    exit_code = 1


class UnreachableError(AirflowError):
    """Airflow's API server does not answer."""


@dataclass(frozen=True)
class Service(Started):
    """A process of Airflow."""

    scheduled: bool


class Airflow:
    """The Airflow of one checkout.

    Its services are processes of their own session that outlive this one until `stop`. `scheduled` tells whether its
    scheduler makes runs by the Dag's timetable: for a log that ended long ago it must not, or unpausing the Dag would
    run yesterday at once.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.home = place.airflow_home
        self._state = place.folder / "services.json"

    @property
    def version(self) -> str:
        """Airflow's version."""
        return importlib.metadata.version("apache-airflow")

    # Processes

    def running(self) -> dict[str, Service]:
        """The services that run, by name."""
        if not self._state.exists():
            return {}
        known = [Service(**entry) for entry in json.loads(self._state.read_text(encoding="utf-8"))]
        return {service.name: service for service in known if service.process() is not None}

    def require_port(self, port: int) -> None:
        """Make sure that the web UI can have this port.

        Raises:
            ConfigurationError: the port is taken; names who may hold it.
        """
        if port not in {service.port for service in self.running().values()}:
            _require_free(port)

    def start(
        self, postgres: Postgres, *, port: int | None, scheduled: bool, names: tuple[str, ...] = SERVICES
    ) -> None:
        """Start the services that do not run; return before they are ready (`wait`).

        Args:
            postgres: the server that holds Airflow's metadata, in a database of its own.
            port: of the web UI and API; None keeps the one in use, or takes any free one.
            scheduled: whether the scheduler makes runs by the Dag's timetable; it is restarted where that changes.
            names: the services.
        """
        running = self.running()
        if "api-server" in running:
            kept = running["api-server"].port
            if port not in (None, kept):
                self.stop()
                running = {}
            else:
                port = kept
        if port is None:
            port = free_port()
        stale = [
            service for service in running.values() if service.name == "scheduler" and service.scheduled != scheduled
        ]
        end(stale)
        self._configure(postgres, port)
        self._migrate(postgres)
        services = [service for service in running.values() if service not in stale]
        kept_names = {service.name for service in services}
        for name in names:
            if name not in kept_names:
                services.append(self._spawn(name, port, scheduled))
                self._remember(services)

    def stop(self) -> list[str]:
        """Stop the services and return the names of those that ran."""
        running = self.running()
        end(list(running.values()))
        self._state.unlink(missing_ok=True)
        return list(running)

    def _spawn(self, name: str, port: int, scheduled: bool) -> Service:
        command = [sys.executable, "-m", "airflow", name]
        if name in ("scheduler", "triggerer"):
            command.append("--skip-serve-logs")  # the API server reads the files; nothing need listen for them
        environment = self._environment() | {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(scheduled)}
        pid, created = spawn(command, environment=environment, folder=self.place.root, log=self._service_log(name))
        return Service(name, pid, created, port, scheduled)

    def _remember(self, services: list[Service]) -> None:
        write_private(self._state, json.dumps([asdict(service) for service in services]))

    def _service_log(self, name: str) -> Path:
        return self.place.folder / "logs" / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        """The environment of Airflow's processes: this one's, without another Airflow's settings."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        return inherited | {
            "AIRFLOW_HOME": str(self.home),
            "IRT_RUNTIME": "process",
            "ATTEMPT_SOURCE": "flat",
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), HOST])),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def _configure(self, postgres: Postgres, port: int) -> None:
        """Write airflow.cfg, the user's password, and nothing that another user of the machine could read."""
        secrets = self.place.secrets
        passwords = self.home / "passwords.json"
        url = postgres.url(DATABASE).replace("postgresql://", "postgresql+psycopg2://")
        sections: dict[str, dict[str, str]] = {
            "core": {
                "dags_folder": str(self.place.root / "dags"),
                "plugins_folder": str(self.place.root / "plugins"),
                "executor": "LocalExecutor",
                # The branches mostly wait for R: all five at once, whatever the cores.
                "parallelism": str(max(5, os.cpu_count() or 1)),
                "load_examples": "False",
                "fernet_key": secrets.fernet_key,
                "execution_api_server_url": f"http://{HOST}:{port}/execution/",
                "simple_auth_manager_users": f"{USER}:admin",
                "simple_auth_manager_passwords_file": str(passwords),
            },
            "database": {"sql_alchemy_conn": url},
            "api": {
                "host": HOST,
                "port": str(port),
                "base_url": f"http://{HOST}:{port}",
                "workers": "1",
                "secret_key": secrets.api_secret_key,
                "instance_name": "IRT Analytics",
            },
            "api_auth": {"jwt_secret": secrets.jwt_secret},
            "logging": {"base_log_folder": str(self.home / "logs")},
            "scheduler": {"scheduler_idle_sleep_time": "0.3"},
            "secrets": {
                "backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
                "backend_kwargs": json.dumps({"connections_file_path": str(self.place.connections)}),
            },
            "usage_data_collection": {"enabled": "False"},
        }
        config = configparser.RawConfigParser()
        config.read_dict(sections)
        text = io.StringIO()
        config.write(text)
        write_private(self.home / "airflow.cfg", text.getvalue().replace("%", "%%"))
        write_private(passwords, json.dumps({USER: secrets.password}))

    def _migrate(self, postgres: Postgres) -> None:
        """Bring Airflow's metadata database to its version's schema; it takes seconds, so only where it is needed."""
        done = {"airflow": self.version}
        if postgres.describe(DATABASE) == done:
            return
        postgres.create(DATABASE)
        log = self._service_log("db-migrate")
        with log.open("wb") as output:
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            ended = subprocess.run(
                command, env=self._environment(), stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if ended.returncode:
            raise AirflowError(f"airflow db migrate failed:\n{tail(log)}\nIts log is {self.place.relative(log)}")
        postgres.label(DATABASE, done)

    def write_connections(self, connections: Mapping[str, Json]) -> None:
        """Give Airflow these connections; every lookup from now on sees them."""
        write_private(self.place.connections, json.dumps(connections, indent=2))

    # What the API is asked

    @property
    def url(self) -> str:
        """Address of the web UI."""
        return f"http://{HOST}:{self.running()['api-server'].port}"

    def wait(self, since: datetime | None) -> "Client":
        """Wait until Airflow answers, its services are healthy, and the Dag was parsed after `since` (None: ever).

        Raises:
            AirflowError: a service ended, the Dag has an import error, or the time is up; shows the last log lines.
        """
        deadline = time.monotonic() + START_SECONDS
        client: Client | None = None
        while True:
            running = self.running()
            for name in SERVICES:
                if name not in running:
                    log = self._service_log(name)
                    raise AirflowError(f"airflow {name} ended:\n{tail(log)}\nIts log is {self.place.relative(log)}")
            try:
                client = client or self._connect()
                if client.ready(since):
                    return client
            except UnreachableError:
                pass  # not listening yet
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"Airflow was not ready within {START_SECONDS:.0f} s; its logs are in "
                    f"{self.place.relative(self.place.folder / 'logs')}"
                )
            time.sleep(0.2)

    def _connect(self) -> "Client":
        # The first call of a task's API builds its routes for seconds: now, while the other services start.
        client = Client(self.url)
        client.request("GET", "/execution/health", timeout=START_SECONDS)
        client.log_in(self.place.secrets.password)
        return client

    def task_log(self, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> Path:
        """The log file of a try of a task."""
        folder = self.home / "logs" / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={task_id}"
        return (folder if map_index < 0 else folder / f"map_index={map_index}") / f"attempt={try_number}.log"


class Client:
    """Airflow's REST API as the demo's user."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30.0, trust_env=False)

    def log_in(self, password: str) -> None:
        """Become the demo's user."""
        token = self.request("POST", "/auth/token", json={"username": USER, "password": password})
        self._http.headers["Authorization"] = f"Bearer {token['access_token']}"

    def request(self, method: str, path: str, **arguments: Any) -> Json:
        """Send a request and return what was answered.

        Raises:
            UnreachableError: there is no answer.
            AirflowError: the answer is a refusal; shows it.
        """
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"Airflow does not answer {method} {path} ({type(error).__name__}); see .demo/logs/api-server.log"
            ) from None
        if answer.is_error:
            raise AirflowError(f"Airflow refused {method} {path} ({answer.status_code}): {answer.text}")
        found: Json = answer.json()
        return found

    def _call(self, method: str, path: str, **arguments: Any) -> Json:
        return self.request(method, f"/api/v2{path}", **arguments)

    def ready(self, since: datetime | None) -> bool:
        """Say whether the services are healthy and the Dag was parsed after `since` (None: ever)."""
        health = self._call("GET", "/monitor/health")
        if any(health[part]["status"] != "healthy" for part in ("metadatabase", "scheduler", "dag_processor")):
            return False
        for error in self._call("GET", "/importErrors")["import_errors"]:
            if since is None or datetime.fromisoformat(error["timestamp"]) >= since:
                raise AirflowError(f"{error['filename']} cannot be imported:\n{error['stack_trace']}")
        known = self._call("GET", "/dags", params={"dag_id_pattern": DAG_ID, "exclude_stale": False})["dags"]
        parsed = next((dag["last_parsed_time"] for dag in known if dag["dag_id"] == DAG_ID), None)
        return parsed is not None and (since is None or datetime.fromisoformat(parsed) >= since)

    def pause(self, paused: bool) -> None:
        """Pause or unpause the Dag."""
        self._call("PATCH", f"/dags/{DAG_ID}", json={"is_paused": paused})

    def trigger(self, conf: Mapping[str, Any]) -> str:
        """Start a run with these params and return its id."""
        run = self._call("POST", f"/dags/{DAG_ID}/dagRuns", json={"logical_date": None, "conf": dict(conf)})
        return str(run["dag_run_id"])

    def unfinished_runs(self) -> list[str]:
        """Ids of the runs that have not ended."""
        found = self._call("GET", f"/dags/{DAG_ID}/dagRuns", params={"state": ["queued", "running"], "limit": 100})
        return [str(run["dag_run_id"]) for run in found["dag_runs"]]

    def run_state(self, run_id: str) -> str:
        """State of a run."""
        return str(self._call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}")["state"])

    def fail_run(self, run_id: str) -> None:
        """Mark a run as failed, which also ends its tasks."""
        self._call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", json={"state": "failed"})

    def tasks(self, run_id: str) -> list[Json]:
        """The task instances of a run."""
        found = self._call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")
        tasks: list[Json] = found["task_instances"]
        return tasks


def _require_free(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    except OSError:
        raise ConfigurationError(
            f"port {port} is taken{_holder(port)}; stop it, or choose another: make up PORT={port + 1}"
        ) from None


def _holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f" by process {connection.pid} ({command[:80]})"
    return " (by a process of another user, or a container: `ss -ltnp` as root names it)"
