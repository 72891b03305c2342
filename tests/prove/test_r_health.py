"""/health while fits run on both cores: what keeps a probe from restarting a pod that works."""

import os
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.r.conftest import r_library, r_status
from tests.r.rservice import RService

__all__ = ["r_library", "r_status"]  # fixtures of this module too

SCRIPT = Path(__file__).parents[1] / "r" / "line_service.R"
SECONDS = 60.0
PROBES_A_SECOND = 20


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_health_answers_within_50_ms_while_fits_run_on_every_core(
    r_library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each core has its fit, and clients poll it meanwhile, as ours do."""
    fits = os.cpu_count() or 1
    with RService(["Rscript", str(SCRIPT)], r_library, tmp_path / "log", WORKERS=fits) as service:
        jobs = [service.submit("/spin/fit", {"seconds": SECONDS + 10}) for _ in range(fits)]
        for job_id in jobs:
            service.wait(job_id, ("running",))
        time.sleep(3)  # the fits themselves, not the start of their processes
        milliseconds = []
        with httpx.Client(base_url=service.url, trust_env=False, timeout=30) as probe:
            began = time.perf_counter()
            while time.perf_counter() - began < SECONDS:
                sent = time.perf_counter()
                assert probe.get("/health").status_code == 200
                milliseconds.append(1000 * (time.perf_counter() - sent))
                service.job(jobs[len(milliseconds) % fits])
                time.sleep(1 / PROBES_A_SECOND)
        assert all(service.job(job_id)["state"] == "running" for job_id in jobs)
        for job_id in jobs:
            service.http.delete(f"/jobs/{job_id}")
    median, late, latest = np.quantile(milliseconds, [0.5, 0.99, 1.0])
    with capsys.disabled():
        print(f"\n/health, {len(milliseconds)} answers: median {median:.1f}, p99 {late:.1f}, longest {latest:.1f} ms")  # noqa: T201
    assert late < 50
