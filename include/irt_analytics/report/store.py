"""Where reports go: any fsspec URL, each file written whole or not at all."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from irt_analytics.errors import ConfigurationError, PipelineError, TemporaryError

EXAMPLE = "/srv/reports, s3://bucket/reports or gs://bucket/reports"

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def safe_name(text: str) -> str:
    """Return a name for a file or folder that no other text gets, on any file system.

    Short lower-case names of letters, digits, hyphen and underscore stay as they are. Others keep what they have of
    such characters and are told apart by a hash, also where case does not count.
    """
    if _PLAIN.fullmatch(text):
        return text
    readable = re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:40].strip("-")
    return f"{readable or 'id'}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Stored:
    """A file in the store."""

    url: str
    sha256: str
    size: int


class ReportStore:
    """A folder of an fsspec file system, named by REPORT_STORE_URL."""

    def __init__(self, url: str) -> None:
        """Open the store.

        Raises:
            ConfigurationError: the URL is empty, or its protocol is unknown or not installed.
        """
        if not url:
            raise ConfigurationError(
                f"REPORT_STORE_URL is not set: expected an fsspec URL of a folder, such as {EXAMPLE}"
            )
        self._url = url
        try:
            self._files, self._root = fsspec.url_to_fs(url, skip_instance_cache=True)
        except (ValueError, ImportError) as error:
            raise ConfigurationError(f"REPORT_STORE_URL={url!r}: {error}; expected a URL such as {EXAMPLE}") from None
        self._root = self._root.rstrip("/")

    def url(self, name: str) -> str:
        """Return the URL of a file by its path in the store."""
        if isinstance(self._files, LocalFileSystem):
            return Path(self._root, name).as_uri()
        return str(self._files.unstrip_protocol(f"{self._root}/{name}"))

    def put(self, folder: str, files: Sequence[tuple[Path, str]]) -> list[Stored]:
        """Write local files, each under its path in a folder of the store, and return them in that order.

        In a local store all files are written aside first and then renamed, so a full disk leaves what was there. An
        object store makes each object visible whole. One writer a folder at a time.

        Raises:
            ConfigurationError: the store refuses the write, or does not exist.
            TemporaryError: it is full or away.
        """
        stored = [_describe(self.url(f"{folder}/{name}"), path) for path, name in files]
        with self._explained():
            if isinstance(self._files, LocalFileSystem):
                _replace_all(files, Path(self._root, folder))
            else:
                for path, name in files:
                    self._files.put_file(str(path), f"{self._root}/{folder}/{name}")
        return stored

    def remove(self, urls: Sequence[str]) -> None:
        """Remove files of the store by URL; those that are not there are no matter."""
        with self._explained():
            for url in urls:
                path = self._path(url)
                if path.startswith(f"{self._root}/") and self._files.exists(path):
                    self._files.rm_file(path)

    def _path(self, url: str) -> str:
        if isinstance(self._files, LocalFileSystem):
            return unquote(urlsplit(url).path)
        return str(self._files._strip_protocol(url))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explain(error) from error
        except Exception as error:
            if _has_base(error, "NoCredentialsError", "PartialCredentialsError"):
                raise ConfigurationError(f"REPORT_STORE_URL={self._url}: {error}") from error
            if _has_base(error, "HTTPClientError", "ConnectionError", "ClientConnectionError"):
                raise TemporaryError(f"REPORT_STORE_URL={self._url}: the store cannot be reached: {error}") from error
            raise

    def _explain(self, error: OSError) -> PipelineError:
        where = f"REPORT_STORE_URL={self._url}"
        if error.errno in _FULL:
            return TemporaryError(
                f"{where}: no space left for the report ({error.strerror}); the report before is whole"
            )
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return ConfigurationError(f"{where}: the store does not allow writing: {error}")
        if isinstance(error, FileNotFoundError | NotADirectoryError | FileExistsError):
            return ConfigurationError(f"{where}: there is no such folder or bucket: {error}")
        return TemporaryError(f"{where}: the store cannot be written: {error}")


def _has_base(error: BaseException, *names: str) -> bool:
    """Whether an error is of a class of one of these names; the clients that define them may not be installed."""
    return bool({base.__name__ for base in type(error).__mro__} & set(names))


def _describe(url: str, path: Path) -> Stored:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Stored(url, digest, path.stat().st_size)


def _replace_all(files: Sequence[tuple[Path, str]], folder: Path) -> None:
    """Copy files aside, flushed to disk, and only then rename them all into place."""
    staging = folder / ".staging"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    try:
        for path, name in files:
            aside = staging / name
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, aside)
            _flush(aside)
        targets = [(staging / name, folder / name) for _, name in files]
        for parent in {target.parent for _, target in targets}:
            parent.mkdir(exist_ok=True)
        for aside, target in targets:
            aside.replace(target)
        for parent in {target.parent for _, target in targets}:
            _flush(parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
