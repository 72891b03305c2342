"""A whole installation on whatever cluster KUBECONFIG names, to look at: `make k8s-up`."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from irt_analytics.deploy.cluster import (
    ClusterError,
    Json,
    await_rollout,
    ensure_secret,
    find,
    forwarded,
    kubectl,
    random_token,
    read_secret,
    write_secret,
)
from irt_analytics.deploy.releases import (
    AIRFLOW_NAMESPACE,
    JOBS_NAMESPACE,
    SERVICES,
    TRIAL_DATABASE,
    TRIAL_STORE,
    Release,
    helm,
    product,
)

ANSWERS = "seedtest"
METADATA = "airflow"
DRIVER = "postgresql+psycopg2"
AIRFLOW_DEPLOYMENTS = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor")
#: How long the kubelet may take to renew a mounted Secret.
CONNECTIONS_SECONDS = 240
#: The Secret that holds each R service's token under the key `token`.
TOKEN_SECRETS = {
    service: "calibrate-irt-credentials" if service == "irt" else f"r-{service}-credentials" for service in SERVICES
}


@dataclass(frozen=True)
class Trial:
    """What to install.

    Attributes:
        root: the repository.
        services: the R services; the jobs of the others end as recorded skips.
        executor: Airflow's.
        database_url: of the answers; empty for a database in the trial's PostgreSQL.
        report_store: Airflow connection of the store that receives reports; None for the trial's S3.
    """

    root: Path
    services: Sequence[str] = SERVICES
    executor: str = "LocalExecutor"
    database_url: str = ""
    report_store: Json | None = None

    def install(self, say: Callable[[str], None]) -> None:
        """Install what is missing and bring the rest to the values of the checkout; safe to repeat.

        Raises:
            ClusterError: the cluster refused something, or a part did not get ready.
            HelmError: a chart could not be had or installed.
        """
        releases = product("trial", executor=self.executor, services=self.services, root=self.root)
        kubectl("apply", "--server-side", "-f", str(self.root / "helm-values" / "namespaces.yaml"))
        say(f"namespaces {AIRFLOW_NAMESPACE} and {JOBS_NAMESPACE}, under Pod Security restricted")
        passwords = ensure_secret("irt-postgres", AIRFLOW_NAMESPACE, {"password": random_token})
        store = ensure_secret("irt-s3", AIRFLOW_NAMESPACE, {"access-key": random_token, "secret-key": random_token})
        for release in (TRIAL_DATABASE, TRIAL_STORE):
            self._upgrade(release, say)
        for release in (TRIAL_DATABASE, TRIAL_STORE):
            await_rollout("deployment", release.name, AIRFLOW_NAMESPACE)
        self._write_credentials(store)
        self._make_databases(passwords["password"])
        for release in releases:
            self._upgrade(release, say)
        for service in self.services:
            await_rollout("deployment", f"r-{service}-plumber", AIRFLOW_NAMESPACE)
        for name in AIRFLOW_DEPLOYMENTS:
            await_rollout("deployment", name, AIRFLOW_NAMESPACE)
        if self.executor == "LocalExecutor":  # else a task's own pod begins with the newest
            self._await_connections()

    def _await_connections(self) -> None:
        """Wait until tasks read what is in the Secret: the kubelet brings it to a running pod within about a minute."""
        wanted = (read_secret("airflow-connections", AIRFLOW_NAMESPACE) or {})["connections.json"]
        deadline = time.monotonic() + CONNECTIONS_SECONDS
        while True:
            try:
                problem = "it still reads those before" if connections_file() != wanted else ""
            except ClusterError as error:  # its pod is being replaced
                problem = str(error)
            if not problem:
                return
            if time.monotonic() > deadline:
                raise ClusterError(
                    "airflow-scheduler does not have the connections of the Secret airflow-connections after "
                    f"{CONNECTIONS_SECONDS} s: {problem}"
                )
            time.sleep(2)

    def _upgrade(self, release: Release, say: Callable[[str], None]) -> None:
        helm("upgrade", "--install", *release.arguments(self.root), "--timeout", "15m")
        say(f"release {release.name}")

    def _write_credentials(self, store: Mapping[str, str]) -> None:
        """Make what is missing of the Secrets that docs/kubernetes.md lists; those that External Secrets owns stay."""
        for service, name in TOKEN_SECRETS.items():
            if service != "irt":
                ensure_secret(name, AIRFLOW_NAMESPACE, {"token": random_token})
        answers = ensure_secret(
            TOKEN_SECRETS["irt"],
            AIRFLOW_NAMESPACE,
            {"token": random_token, "DATABASE_URL": lambda: _database_url(ANSWERS, random_token())},
        )
        if self.database_url:
            answers["DATABASE_URL"] = self.database_url
            write_secret(TOKEN_SECRETS["irt"], AIRFLOW_NAMESPACE, answers)
        ensure_secret(
            "airflow-secrets",
            AIRFLOW_NAMESPACE,
            {
                "connection": lambda: _database_url(METADATA, random_token()).replace("postgresql:", f"{DRIVER}:"),
                "fernet-key": _fernet_key,
                "api-secret-key": random_token,
                "jwt-secret": random_token,
                "admin-password": random_token,
                "task-logs": lambda: json.dumps(_s3_connection(store, "")),
            },
        )
        owned = find("secret", "airflow-connections", AIRFLOW_NAMESPACE)
        if owned is not None and owned["metadata"].get("ownerReferences"):
            return
        connections: dict[str, str | Json] = {
            "seedtest_db": answers["DATABASE_URL"],
            "report_store": self.report_store or _s3_connection(store, "s3://reports/weekly"),
            **{f"r_{service}": self._service(service) for service in SERVICES},
        }
        write_secret("airflow-connections", AIRFLOW_NAMESPACE, {"connections.json": json.dumps(connections, indent=2)})

    def _service(self, service: str) -> Json:
        if service not in self.services:
            return {"conn_type": "http", "extra": {"unavailable": f"r-{service}-plumber is not installed here"}}
        token = (read_secret(TOKEN_SECRETS[service], AIRFLOW_NAMESPACE) or {})["token"]
        host = f"r-{service}-plumber.{AIRFLOW_NAMESPACE}.svc.cluster.local"
        return {"conn_type": "http", "schema": "http", "host": host, "port": 8000, "password": token}

    def _make_databases(self, password: str) -> None:
        """Make Airflow's database and the answers', each with an owner of its own."""
        metadata = (read_secret("airflow-secrets", AIRFLOW_NAMESPACE) or {})["connection"]
        urls = [metadata.replace(f"{DRIVER}:", "postgresql:")]
        if not self.database_url:
            urls.append((read_secret(TOKEN_SECRETS["irt"], AIRFLOW_NAMESPACE) or {})["DATABASE_URL"])
        with (
            forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port,
            psycopg.connect(
                host="127.0.0.1", port=port, user="postgres", password=password, dbname="postgres", autocommit=True
            ) as server,
        ):
            for url in urls:
                wanted = psycopg.conninfo.conninfo_to_dict(url)
                role, secret, name = wanted["user"], wanted["password"], wanted["dbname"]
                known = server.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
                statement = "alter role {} login password {}" if known else "create role {} login password {}"
                server.execute(sql.SQL(statement).format(sql.Identifier(str(role)), sql.Literal(str(secret))))
                if not server.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                    server.execute(
                        sql.SQL("create database {} owner {}").format(
                            sql.Identifier(str(name)), sql.Identifier(str(role))
                        )
                    )


def uninstall() -> list[str]:
    """Remove the namespaces with all that is in them, and return their names."""
    names = [name for name in (JOBS_NAMESPACE, AIRFLOW_NAMESPACE) if find("namespace", name, "default")]
    for name in names:
        # it may be going already, by another's hand
        kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true", "--timeout=300s")
    return names


def _database_url(name: str, password: str) -> str:
    host = f"irt-postgres.{AIRFLOW_NAMESPACE}.svc.cluster.local"
    # The trial's PostgreSQL has no certificate; its password goes by SCRAM.
    return f"postgresql://{name}:{quote(password, safe='')}@{host}:5432/{name}?sslmode=disable"


def connections_file() -> str:
    """The file of connections as the scheduler's pod, which runs the tasks, has it."""
    command = ("exec", "-n", AIRFLOW_NAMESPACE, "deployment/airflow-scheduler", "-c", "scheduler", "--")
    return kubectl(*command, "cat", "/opt/airflow/connections/connections.json")


def given_report_store(environment: Mapping[str, str]) -> Json | None:
    """Return the connection of the store that REPORT_STORE_URL names, of an S3 with what AWS_* say; None without it."""
    url = environment.get("REPORT_STORE_URL", "")
    if not url:
        return None
    if urlsplit(url).scheme != "s3":
        return {"conn_type": "generic", "extra": {"url": url}}
    extra = {
        "url": url,
        "aws_session_token": environment.get("AWS_SESSION_TOKEN"),
        "region_name": environment.get("AWS_DEFAULT_REGION"),
        "endpoint_url": environment.get("AWS_ENDPOINT_URL"),
    }
    return {
        "conn_type": "aws",
        "login": environment.get("AWS_ACCESS_KEY_ID"),
        "password": environment.get("AWS_SECRET_ACCESS_KEY"),
        "extra": {name: value for name, value in extra.items() if value},
    }


def _s3_connection(keys: Mapping[str, str], url: str) -> Json:
    endpoint = f"http://irt-s3.{AIRFLOW_NAMESPACE}.svc.cluster.local:9000"
    extra = {"endpoint_url": endpoint, "region_name": "us-east-1"} | ({"url": url} if url else {})
    return {"conn_type": "aws", "login": keys["access-key"], "password": keys["secret-key"], "extra": extra}


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
