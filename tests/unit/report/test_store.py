"""The store: a report is there whole or not at all, and an error says what to do."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.report.cohort import HOSTILE_IDS

from irt_analytics.errors import ConfigurationError, TemporaryError
from irt_analytics.report.store import ReportStore, safe_name


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_bytes(b"<p>new</p>" * 1000)
    return path


def test_files_are_written_and_described(tmp_path: Path, page: Path) -> None:
    """The hash in report_artifacts would not be that of the file."""
    store = ReportStore(f"file://{tmp_path}/store")
    (stored,) = store.put("default/2026-01-31", [(page, "learners/a.html")])
    target = tmp_path / "store/default/2026-01-31/learners/a.html"
    assert target.read_bytes() == page.read_bytes()
    assert stored.url == target.as_uri()
    assert stored.size == 10_000
    assert stored.sha256 == subprocess.run(["sha256sum", page], capture_output=True, text=True, check=True).stdout[:64]
    assert sorted(path.name for path in target.parent.parent.iterdir()) == ["learners"]  # nothing left beside it


def test_stale_files_go_by_url_and_nothing_outside_the_store(tmp_path: Path, page: Path) -> None:
    """Yesterday's page of a learner who left would stay; or a wrong row could delete a stranger's file."""
    store = ReportStore(str(tmp_path / "a store"))
    (stored,) = store.put("day", [(page, "old page.html")])
    store.remove([stored.url, page.as_uri(), (tmp_path / "a store/day/never was.html").as_uri()])
    assert page.exists()
    assert not (tmp_path / "a store/day/old page.html").exists()


@pytest.fixture
def small_files() -> Iterator[None]:
    """The kernel refuses to write files over 4 KiB: what a full disk looks like to a process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def _put_old_report(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.html").write_text("old a")
    (folder / "b.html").write_text("old b")


@pytest.mark.usefixtures("page")
def test_a_write_that_fails_half_way_leaves_the_old_report(tmp_path: Path, page: Path, small_files: None) -> None:  # noqa: ARG001
    """A reader would find the new first page beside the old second, or half a page."""
    small = tmp_path / "small.html"
    small.write_text("new a")
    _put_old_report(tmp_path / "store/day")
    with pytest.raises(
        TemporaryError, match=r"REPORT_STORE_URL=.*no space left for the report.*report before is whole"
    ):
        ReportStore(str(tmp_path / "store")).put("day", [(small, "a.html"), (page, "b.html")])
    left = {path.name: path.read_text() for path in (tmp_path / "store/day").iterdir()}
    assert left == {"a.html": "old a", "b.html": "old b"}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_the_old_report(tmp_path: Path) -> None:
    """The same on a file system that is really full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mount: {mounted.stderr.decode()}")
    try:
        _put_old_report(disk / "day")
        new = tmp_path / "new.html"
        new.write_bytes(os.urandom(40_000))
        with pytest.raises(TemporaryError, match="No space left on device"):
            ReportStore(str(disk)).put("day", [(new, "a.html"), (new, "b.html")])
        assert {path.name: path.read_text() for path in (disk / "day").iterdir()} == {
            "a.html": "old a",
            "b.html": "old b",
        }
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_folder_without_permission_is_a_setting_to_mend(tmp_path: Path, page: Path) -> None:
    """A retry every hour would not help; the message must name the setting."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    script = f"""
        import os, sys
        from pathlib import Path
        from irt_analytics.errors import ConfigurationError
        from irt_analytics.report.store import ReportStore
        store = ReportStore({str(locked)!r})
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            store.put("day", [(Path({str(page)!r}), "a.html")])
        except ConfigurationError as error:
            print(error)
    """
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "REPORT_STORE_URL=" in result.stdout, result.stderr
    assert "does not allow writing" in result.stdout


@pytest.mark.parametrize("url", ["", "nosuch://bucket/reports"])
def test_a_missing_or_unknown_url_names_the_setting_and_an_example(url: str) -> None:
    """The first thing a new user meets."""
    with pytest.raises(ConfigurationError, match=r"REPORT_STORE_URL.*s3://bucket/reports"):
        ReportStore(url)


@given(st.lists(st.one_of(st.text(max_size=100), st.sampled_from(HOSTILE_IDS)), unique=True))
def test_file_names_are_safe_and_never_collide(ids: list[str]) -> None:
    """One learner's page would overwrite another's, or land outside its folder."""
    names = [safe_name(name) for name in ids]
    assert len({name.lower() for name in names}) == len(ids)
    for name in names:
        assert name.isascii()
        assert 0 < len(name) <= 100
        assert not set(name) & set("/\\:*?\"<>|%#& '\n.")


def test_names_differ_where_only_case_does() -> None:
    """On a file system that ignores case Ann's page would be ann's."""
    assert safe_name("ann") == "ann"
    assert safe_name("Ann").lower() != "ann"
