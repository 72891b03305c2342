"""Kernels of an image: a pod that compiles one itself spends seconds of every night on it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1200)

DAY = date(2026, 1, 31)


def test_two_days_compile_nothing_that_the_image_does_not_hold(database_url: str, tmp_path: Path) -> None:
    """Some learners with answers enough that their posteriors are narrow, some with few; strata and a link at last."""
    cache = tmp_path / "numba"
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache),
        "DATABASE_URL": database_url,
        "REPORT_STORE_URL": (tmp_path / "reports").as_uri(),
    }
    run(environment, "irt_analytics.irt.precompile")
    compiled = kernels(cache)
    assert compiled
    log = ("--learners=400", "--items=400", "--topics=6", "--weeks=26")
    run(environment, "irt_analytics", "simulate", f"--as-of={DAY}", *log)
    for days_ago in (1, 0):
        day = f"--as-of={DAY - timedelta(days_ago)}"
        for job in ("mirt_calibrate", "features_backfill", "compute_daily_kpis"):
            window = () if days_ago else ("--irt-window-days=200",)
            run(environment, "irt_analytics", job, day, *window)
            assert kernels(cache) == compiled, f"{job} compiled kernels"


def kernels(cache: Path) -> set[str]:
    """Names of the compiled kernels, one for each types of arguments."""
    return {path.name for path in cache.rglob("*.nbc")}


def run(environment: Mapping[str, str], module: str, *arguments: str) -> None:
    """Run a module in a process of its own, as a pod does."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
