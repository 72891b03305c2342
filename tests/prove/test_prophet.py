"""Forecasts of weekly series at full size; prints the tables that docs/models.md cites."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr
from tests.prove import prophet
from tests.r.conftest import r_status, require_r
from tests.r.rservice import TOKEN, RService

from irt_analytics import clients
from irt_analytics.clients.base import ServiceAddress
from irt_analytics.clients.forecast import ProphetFitRequest, ProphetFitResult

__all__ = ["r_status", "require_r"]  # fixtures of this module too

KINDS = ("line", "bend", "autocorrelated", "wandering", "cycle")


@pytest.fixture(scope="module")
def fit(
    require_r: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[ProphetFitRequest], ProphetFitResult]]:
    library = require_r("forecast")
    log = tmp_path_factory.mktemp("forecast") / "log"
    with RService(["Rscript", "-e", "irtforecast::serve()"], library, log, JOB_SECONDS=3600) as service:
        address = ServiceAddress("forecast", service.url, SecretStr(TOKEN))

        def ask(request: ProphetFitRequest) -> ProphetFitResult:
            async def fitted() -> ProphetFitResult:
                async with clients.RForecastClient(address) as client:
                    return await client.fit_prophet(request)

            return clients.run(fitted)

        yield ask


def shown(counts: pd.DataFrame, by: str) -> str:
    return pd.DataFrame({key: prophet.rates(rows) for key, rows in counts.groupby(by)}).T.round(3).to_string()


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_anomalies_are_found_and_intervals_hold(
    fit: Callable[[ProphetFitRequest], ProphetFitResult], capsys: pytest.CaptureFixture[str]
) -> None:
    """Missed anomalies hide a broken course; false ones, and intervals that do not hold, cost the reader's trust."""
    counts = prophet.table(fit, KINDS, (26,), replications=10)
    with capsys.disabled():
        print(f"\n{shown(counts, 'kind')}\n{shown(counts, 'weeks')}\n{prophet.rates(counts)}")  # noqa: T201
    found = prophet.rates(counts)
    assert counts["planted"].sum() >= 50
    assert found["recall"] >= 0.85
    assert found["false"] <= 0.02
    assert 0.74 <= found["coverage"] <= 0.86


@pytest.mark.prove
def test_a_week_of_few_answers_is_not_a_fall(capsys: pytest.CaptureFixture[str]) -> None:
    """A mean that shrinks with the number of answers would forecast, and flag, how much learners answered."""
    means = {answers: prophet.weekly_means(0.6, answers) for answers in (6, 12, 25)}
    with capsys.disabled():
        print(f"\n{pd.DataFrame(means).T.round(3).to_string()}")  # noqa: T201
    moved = means[6] - means[25]
    assert abs(float(moved["random_effects"])) < 0.05
    assert float(moved["eap"]) < -0.1
