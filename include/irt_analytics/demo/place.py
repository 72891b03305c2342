"""Where the demo keeps what it makes: everything under .demo in the checkout, secrets readable by their owner only."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from irt_analytics.errors import ConfigurationError, TemporaryError

DAG_FILE = Path("dags/irt_analytics_daily.py")


@dataclass(frozen=True)
class Secrets:
    """Random secrets of this checkout's Airflow, made once and kept in .demo/secrets.json."""

    password: str
    api_secret_key: str
    jwt_secret: str
    fernet_key: str


class Place:
    """A checkout of the project and its .demo folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".demo"

    @classmethod
    def find(cls) -> "Place":
        """Return the checkout that this package runs from, its .demo folder made.

        Raises:
            ConfigurationError: the package is installed without its repository, or .demo is another user's.
        """
        root = Path(__file__).parents[3]
        if not (root / DAG_FILE).is_file():
            raise ConfigurationError(f"{root} has no {DAG_FILE}: the demo runs from a checkout of the repository")
        place = cls(root)
        place.folder.mkdir(exist_ok=True)
        if place.folder.stat().st_uid != os.getuid():
            raise ConfigurationError(f"{place.folder} belongs to another user: work as that user, or remove it first")
        for name in ("airflow", "logs", "reports"):
            (place.folder / name).mkdir(exist_ok=True)
        return place

    @property
    def postgres(self) -> Path:
        """Data folder of the embedded PostgreSQL."""
        return self.folder / "postgres"

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME of the embedded Airflow."""
        return self.folder / "airflow"

    @property
    def connections(self) -> Path:
        """Airflow's connections, read by LocalFilesystemBackend at every lookup."""
        return self.folder / "connections.json"

    @property
    def summary(self) -> Path:
        """What the last demo did, for programs."""
        return self.folder / "summary.json"

    def reports(self, database: str) -> Path:
        """Folder that receives the report files made from one database."""
        return self.folder / "reports" / database

    @cached_property
    def secrets(self) -> Secrets:
        """The checkout's secrets, made at first use."""
        path = self.folder / "secrets.json"
        if not path.exists():
            made = Secrets(
                password=secrets.token_urlsafe(12),
                api_secret_key=secrets.token_urlsafe(48),
                jwt_secret=secrets.token_urlsafe(64),
                fernet_key=_fernet_key(),
            )
            write_private(path, json.dumps(vars(made), indent=2))
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))

    def relative(self, path: Path) -> str:
        """Path as a person in the checkout would type it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """Let one command at a time change the demo's processes and databases.

        Raises:
            TemporaryError: another one is at it; names its process.
        """
        with (self.folder / "lock").open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise TemporaryError(
                    f"another demo command is at work in {self.root} (process {lock.read() or 'unknown'}); "
                    "wait for it, or stop it with Ctrl-C where it runs"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
