"""Forecasts of weekly series: from weekly theta and I_t through r-forecast-plumber to the tables."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pydantic import SecretStr
from tests.integration.logs import last_run, query, rows_of, run
from tests.prove import prophet
from tests.r.rservice import TOKEN, RService

from irt_analytics import clients, db
from irt_analytics.clients.forecast import ProphetFitRequest, ProphetFitResult
from irt_analytics.settings import Settings

SUNDAY = date(2026, 3, 1)
MONDAY = date(2026, 2, 23)
TABLES = ("prophet_fit_meta", "prophet_forecast", "prophet_anomalies")
LEARNERS = [f"u{number:03}" for number in range(60)]
#: Days before each of the 26 weeks, on which learners were clustered.
EVES = [MONDAY - timedelta(weeks=back, days=1) for back in range(26)]
#: Week that stands out, and by how much theta does.
ODD_WEEK, ODD_BY = MONDAY - timedelta(weeks=4), -1.5


@pytest.fixture(scope="module")
def forecast_service(require_r: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    library = require_r("forecast")
    log = tmp_path_factory.mktemp("r") / "forecast.log"
    with RService(["Rscript", "-e", "irtforecast::serve()"], library, log) as service:
        yield service


@pytest.fixture
def with_service(settings: Settings, forecast_service: RService) -> Settings:
    """Settings of a job that reaches the service."""
    return settings.model_copy(update={"r_forecast_url": forecast_service.url, "r_forecast_token": SecretStr(TOKEN)})


def fit_with(settings: Settings) -> Callable[[ProphetFitRequest], ProphetFitResult]:
    service = clients.address(settings, "forecast")

    def fit(request: ProphetFitRequest) -> ProphetFitResult:
        async def ask() -> ProphetFitResult:
            async with clients.RForecastClient(service) as client:
                return await client.fit_prophet(request)

        return clients.run(ask)

    return fit


def theta_rows(weeks: int, *, learners: list[str] = LEARNERS, last: date = MONDAY, seed: int = 1) -> pd.DataFrame:
    """Rows of student_week_theta as the runs of each Sunday left them: a rising cohort, one week far below."""
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 0.8, len(learners))
    parts = []
    for number in range(weeks):
        week = last - timedelta(weeks=weeks - 1 - number)
        v = rng.uniform(0.1, 0.5, len(learners))
        y = own + 0.02 * number + rng.normal(0, 0.1) + (ODD_BY if week == ODD_WEEK else 0) + rng.normal(0, np.sqrt(v))
        s = np.sqrt(1 / (1 / v + 1))
        parts.append(
            pd.DataFrame(
                {
                    "user_id": learners,
                    "week_start": week,
                    "as_of": week + timedelta(days=6),
                    "m": y * s**2 / v,
                    "s": s,
                    "v": v,
                    "y": y,
                    "mu0": 0.0,
                    "sd0": 1.0,
                    "n": rng.integers(4, 12, len(learners)),
                    "run_id": "by hand",
                    "reconstructed": False,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def kpi_rows(theta: pd.DataFrame, seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    raw = rng.normal(0.05, 0.3, len(theta))
    rows = theta[["user_id", "week_start", "as_of", "reconstructed"]].assign(
        i_t=0.5 * raw, i_t_source="theta", i_t_raw=raw, i_t_se=rng.uniform(0.2, 0.4, len(theta))
    )
    return rows.assign(a_t_reason="not asked", e_t_reason="not asked", r_t_reason="not asked")


def write(settings: Settings, table: str, rows: pd.DataFrame, tenant: str = "default") -> None:
    with db.connect(settings) as connection:
        db.ensure_partitions(connection, rows["as_of"].drop_duplicates())
        db.copy_frame(connection, table, rows.assign(tenant_id=tenant))


def write_segments(settings: Settings, days: list[date], labels: dict[str, list[str]]) -> None:
    rows = [
        {"user_id": user, "label": label, "cluster": number, "membership": 0.9, "distance": 1.0}
        | {"as_of": day, "week_start": day - timedelta(days=day.weekday())}
        for day in days
        for number, (label, users) in enumerate(labels.items())
        for user in users
    ]
    write(settings, "user_segments", pd.DataFrame(rows).assign(run_id="by hand"))


def outcome(settings: Settings, tenant: str = "default") -> dict[str, pd.DataFrame]:
    return {table: rows_of(settings, table, tenant) for table in TABLES}


def random_effects(y: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and its standard error by DerSimonian and Laird (1986), by way of Cochran's Q."""
    w = 1 / v
    q = np.sum(w * (y - np.average(y, weights=w)) ** 2)
    tau2 = max(0.0, (q - (len(y) - 1)) / (w.sum() - (w**2).sum() / w.sum()))
    star = 1 / (v + tau2)
    return float(np.average(y, weights=star)), float(star.sum() ** -0.5)


def test_planted_anomalies_are_found_and_weeks_to_come_held(with_service: Settings) -> None:
    """A band that is too narrow cries wolf, one too wide says nothing; `make prove` has the full size."""
    counts = prophet.table(fit_with(with_service), ("line", "bend"), 26, 6, seed=3)
    found = prophet.rates(counts)
    # Limits three binomial errors from the rates of the full size; z half or twice as large breaks them.
    assert counts["planted"].sum() >= 8
    assert found["recall"] >= 0.55
    assert found["false"] <= 0.055
    assert 0.6 <= found["coverage"] <= 0.97


def test_a_day_writes_forecasts_and_verdicts(with_service: Settings) -> None:
    """What the report shows must be what the weeks say: the odd week marked, the next four forecast."""
    theta = theta_rows(26)
    write(with_service, "student_week_theta", theta)
    write(with_service, "weekly_kpi", kpi_rows(theta))
    write_segments(with_service, EVES, {"improving": LEARNERS[:30], "long_rare": LEARNERS[30:39]})
    write_segments(with_service, [SUNDAY], {"of_today": LEARNERS})
    assert run(with_service, "forecast_prophet", SUNDAY) == 0
    written = outcome(with_service)
    (meta,) = written["prophet_fit_meta"].to_dict("records")
    assert (meta["status"], meta["n_series"]) == ("success", 4)
    described = {(series["name"], series["metric"]): series for series in meta["series"]}
    assert set(described) == {(name, metric) for name in ("cohort", "improving") for metric in ("theta", "i_t")}
    for series in described.values():
        assert (series["n_weeks"], series["n_origins"]) == (26, 22)
        assert [width["n"] for width in series["calibration"]] <= [22, 21, 20, 19]
        assert 0.5 <= series["coverage"] <= 1
    assert set(meta["engine_versions"]) == {"R", "prophet"}
    forecast = written["prophet_forecast"]
    assert len(forecast) == 16
    cohort = forecast[(forecast["series"] == "cohort") & (forecast["metric"] == "theta")]
    assert cohort["week_start"].tolist() == [MONDAY + timedelta(weeks=ahead) for ahead in range(1, 5)]
    assert cohort["forecast"].is_monotonic_increasing
    judged = written["prophet_anomalies"]
    odd = judged[judged["anomaly"] & (judged["metric"] == "theta")]
    assert set(zip(odd["series"], odd["week_start"], strict=True)) >= {("cohort", ODD_WEEK), ("improving", ODD_WEEK)}
    assert (judged["z"].abs() >= 2.5).equals(judged["anomaly"])
    np.testing.assert_allclose(judged["z"], (judged["observed"] - judged["expected"]) / judged["sd"], rtol=1e-12)


def test_a_week_is_the_random_effects_mean_of_its_learners(with_service: Settings) -> None:
    """Shrunk or unweighted means would move with the number of answers instead of with ability."""
    theta = theta_rows(16)
    write(with_service, "student_week_theta", theta)
    write(with_service, "weekly_kpi", kpi_rows(theta))
    with db.connect(with_service) as connection:
        weeks = db.read_frame(
            connection,
            "forecast/weeks",
            tenant_id="default",
            as_of=SUNDAY,
            first_week=MONDAY - timedelta(weeks=15),
            last_week=MONDAY,
            min_answers=5,
            min_learners=10,
        )
    found = {(row["metric"], row["week_start"]): row for row in weeks.to_dict("records")}
    for week, rows in theta[theta["n"] >= 5].groupby("week_start"):
        mean, se = random_effects(rows["y"].to_numpy(), rows["v"].to_numpy())
        row = found["theta", week]
        assert row["n_learners"] == len(rows)
        assert (row["value"], row["se"]) == pytest.approx((mean, se), rel=1e-10)
    for week, rows in kpi_rows(theta).groupby("week_start"):
        _, se = random_effects(rows["i_t_raw"].to_numpy(), rows["i_t_se"].to_numpy() ** 2)
        row = found["i_t", week]
        assert (row["value"], row["se"]) == pytest.approx((rows["i_t"].mean(), se), rel=1e-10)


def test_reruns_and_later_days_change_nothing(with_service: Settings) -> None:
    """A forecast that moves on a rerun, or knows a later day, cannot be held against what came."""
    theta = theta_rows(20)
    write(with_service, "student_week_theta", theta)
    assert run(with_service, "forecast_prophet", SUNDAY) == 0
    first = outcome(with_service)
    reconstructed = theta.assign(y=5.0, m=5.0, as_of=SUNDAY, reconstructed=theta["week_start"] < MONDAY)
    write(with_service, "student_week_theta", reconstructed[reconstructed["reconstructed"]])
    later = theta_rows(2, last=MONDAY + timedelta(weeks=2), seed=9)
    write(with_service, "student_week_theta", later)
    write(with_service, "student_week_theta", theta_rows(20), tenant="other")
    assert run(with_service, "forecast_prophet", SUNDAY) == 0
    for table, rows in outcome(with_service).items():
        pd.testing.assert_frame_equal(rows, first[table], check_exact=True)
    wednesday = SUNDAY + timedelta(days=3)
    assert run(with_service, "forecast_prophet", wednesday) == 0
    again = query(with_service, "select * from prophet_forecast where as_of = %s order by week_start", wednesday)
    same = first["prophet_forecast"]
    assert again["week_start"].tolist() == same["week_start"].tolist()
    assert again["forecast"].tolist() == same["forecast"].tolist()


def test_a_short_past_is_a_recorded_skip(with_service: Settings) -> None:
    """A forecast from seven weeks would be made up; the numbers say how far the log is from one."""
    write(with_service, "student_week_theta", theta_rows(20))
    assert run(with_service, "forecast_prophet", SUNDAY) == 0
    with db.connect(with_service) as connection:
        connection.execute("delete from student_week_theta where week_start < %s", (MONDAY - timedelta(weeks=6),))
        connection.commit()
    assert run(with_service, "forecast_prophet", SUNDAY) == 0
    said = (
        "of the weeks from 2025-09-01 to 2026-02-23, 7 have a mean theta and 0 a mean I_t of at least 10 learners; "
        "a forecast needs 16 up to the last 4"
    )
    job = last_run(with_service)
    assert (job["status"], job["reason"]) == ("skipped", said)
    written = outcome(with_service)
    assert (written["prophet_fit_meta"]["status"][0], written["prophet_fit_meta"]["reason"][0]) == ("skipped", said)
    assert written["prophet_forecast"].empty
    assert written["prophet_anomalies"].empty


def test_without_a_service_the_reason_is_recorded(settings: Settings) -> None:
    """A missing service must show in the report, not as an old forecast."""
    write(settings, "student_week_theta", theta_rows(20))
    without = settings.model_copy(update={"r_forecast_unavailable": "no R on this machine"})
    assert run(without, "forecast_prophet", SUNDAY) == 0
    reason = outcome(settings)["prophet_fit_meta"]["reason"][0]
    assert reason == "there is no r-forecast-plumber here: no R on this machine"


def test_holidays_and_stale_series(with_service: Settings) -> None:
    """Weeks without answers are gaps, not zeros; a series that ended months ago is not carried on."""
    theta = theta_rows(26)
    holiday = theta["week_start"].isin([MONDAY - timedelta(weeks=back) for back in (0, 9, 10)])
    write(with_service, "student_week_theta", theta[~holiday])
    gone = [user for user in LEARNERS if user < "u020"]
    stale = theta["user_id"].isin(gone) & (theta["week_start"] > MONDAY - timedelta(weeks=6))
    with db.connect(with_service) as connection:
        for user, week in theta.loc[stale, ["user_id", "week_start"]].itertuples(index=False):
            connection.execute("delete from student_week_theta where user_id = %s and week_start = %s", (user, week))
        connection.commit()
    write_segments(with_service, EVES, {"gone": gone})
    assert run(with_service, "forecast_prophet", SUNDAY) == 0
    written = outcome(with_service)
    series: dict[str, Any] = {each["name"]: each for each in written["prophet_fit_meta"]["series"][0]}
    assert series["cohort"]["n_weeks"] == 23
    assert "no value since the week of" in series["gone"]["reason"]
    assert written["prophet_forecast"]["week_start"].min() == MONDAY + timedelta(weeks=1)
    assert set(written["prophet_forecast"]["series"]) == {"cohort"}
