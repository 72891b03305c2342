"""A release rolled back: the code before the newest migration does a day on the newest schema, the new one the next."""

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from tests.databases import settings_of
from tests.integration.chain import CHAIN, NEXT_DAY, WITHOUT_R, load_cohort, offences

from irt_analytics.db.migrations import MIGRATIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The code of the commit before the newest migration came; a release has no history, and skips."""
    newest = max(MIGRATIONS.glob("*.sql")).relative_to(ROOT)
    log = ["git", "log", "--diff-filter=A", "-1", "--format=%H", "--", str(newest)]
    found = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=False)
    commit = found.stdout.strip()
    if not commit:
        pytest.skip(f"no commit that added {newest.name}: {found.stderr.strip() or 'it is not committed'}")
    archive = subprocess.run(
        ["git", "archive", f"{commit}^", "include"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive, check=True)
    assert not (tmp_path / newest).exists()
    return tmp_path


def run_day(include: Path, url: str, day: date) -> None:
    """Every job of a day, each a process of the code in a folder."""
    settings = {name.upper(): value for name, value in WITHOUT_R.items()}
    environment = (
        os.environ
        | settings
        | {
            "DATABASE_URL": url,
            "PYTHONPATH": str(include),
            "REPORT_STORE_URL": (include.parent / "reports").as_uri()
            if include != ROOT / "include"
            else "memory://reports",
        }
    )
    for job in CHAIN:
        command = [sys.executable, "-m", "irt_analytics", job, "--as-of", day.isoformat(), "--learner-pages", "none"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=include)
        assert ended.returncode == 0, f"{include} {job} of {day}:\n{ended.stderr[-3000:]}"


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_the_code_of_before_does_its_days_on_the_newest_schema(before: Path, database_url: str) -> None:
    """`helm rollback` leaves the schema where it is; the next night must come out well, and the one after it, too."""
    settings = settings_of(database_url)
    load_cohort(settings)
    for days, include in ((-2, ROOT / "include"), (-1, before / "include"), (0, ROOT / "include")):
        day = NEXT_DAY + timedelta(days=days)
        run_day(include, database_url, day)
        assert offences(settings, day) == [], f"{include} of {day}"
