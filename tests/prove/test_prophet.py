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

KINDS = ("line", "bend", "autocorrelated", "wandering", "cycle", "overlapping")


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


def shown(counts: dict[str, pd.DataFrame]) -> str:
    return pd.DataFrame({name: prophet.rates(rows) for name, rows in counts.items()}).T.round(3).to_string()


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_anomalies_are_found_and_intervals_hold(
    fit: Callable[[ProphetFitRequest], ProphetFitResult], capsys: pytest.CaptureFixture[str]
) -> None:
    """Missed anomalies hide a broken course; false ones, and intervals that do not hold, cost the reader's trust."""
    # So many series because the rates lie near their limits: 480 know them to 0.018 and 0.0016.
    counts = prophet.table(fit, KINDS, 26, replications=80, seed=77)
    with capsys.disabled():
        print(f"\n{shown({kind: counts.loc[[kind]] for kind in KINDS} | {'all': counts})}")  # noqa: T201
    found = prophet.rates(counts)
    assert found["recall"] >= 0.85
    assert found["false"] <= 0.02
    assert 0.74 <= found["coverage"] <= 0.86


@pytest.mark.prove
@pytest.mark.timeout(7200)
def test_fewer_weeks_and_smaller_anomalies_cost_recall(
    fit: Callable[[ProphetFitRequest], ProphetFitResult], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who waits for half a year of weeks, or does not, wants to know what for."""
    counts = {
        "16 weeks": prophet.table(fit, KINDS, 16, replications=20),
        "52 weeks": prophet.table(fit, KINDS, 52, replications=20),
        "26 weeks, sds of the noise": prophet.table(fit, KINDS, 26, replications=20, size="noise"),
    }
    with capsys.disabled():
        print(f"\n{shown(counts)}")  # noqa: T201
    found = {name: prophet.rates(rows) for name, rows in counts.items()}
    assert found["16 weeks"]["recall"] < found["52 weeks"]["recall"]
    assert found["52 weeks"]["false"] <= 0.02 < found["16 weeks"]["false"]
    assert found["26 weeks, sds of the noise"]["recall"] < 0.85
    assert all(0.74 <= each["coverage"] <= 0.86 for each in found.values())


@pytest.mark.prove
def test_a_week_of_few_answers_is_not_a_fall(capsys: pytest.CaptureFixture[str]) -> None:
    """A mean that shrinks with the number of answers would forecast, and flag, how much learners answered."""
    means = {answers: prophet.weekly_means(0.6, answers) for answers in (6, 12, 25)}
    with capsys.disabled():
        print(f"\n{pd.DataFrame(means).T.round(3).to_string()}")  # noqa: T201
    moved = means[6] - means[25]
    assert abs(float(moved["random_effects"])) < 0.05
    assert float(moved["eap"]) < -0.1
