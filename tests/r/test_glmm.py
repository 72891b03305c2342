"""The mixed model as R fits it, against lme4 called directly and planted truth, and the job on top of it."""

import functools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr
from tests.integration.kpi_reference import BankItem
from tests.integration.test_compute_daily_kpis import at, publish, write_answers
from tests.prove.glmm import Truth, body, estimates, simulate
from tests.r.rservice import TOKEN, Json, RService, errors_of

from irt_analytics import clients, db, progress
from irt_analytics.clients.glmm import GlmmPredictRequest, GlmmPredictResult
from irt_analytics.jobs import fit_glmm
from irt_analytics.jobs._glmm_sample import draw_sample
from irt_analytics.params import RunParams
from irt_analytics.runner import run_job
from irt_analytics.settings import Settings

SIZE = {"learners": 80, "weeks": 8, "a_week": 4, "items": 60, "topics": 12}
DAY = date(2026, 3, 4)

pytestmark = pytest.mark.timeout(600)

#: lme4 on its own: read the table, fit on weeks in tens by another of its optimisers, which ends within about 1e-6 of
#: the maximum, take a Newton step from there by lme4's own derivatives, write every number in full, for single weeks.
LME4 = """
suppressMessages(library(lme4))
given <- jsonlite::fromJSON(file("stdin"))
rows <- as.data.frame(given$rows)
rows$week <- rows$week / 10
for (name in intersect(c("learner", "topic", "item"), names(rows))) {
  rows[[name]] <- factor(rows[[name]], sort(unique(rows[[name]]), method = "radix"))
}
fit_by <- function(optimizer, start = NULL) suppressMessages(glmer(as.formula(given$formula), rows, binomial,
  start = start, control = glmerControl(optimizer, nAGQ0initStep = FALSE, tolPwrss = 1e-13)
))
fit <- fit_by("bobyqa")
step <- -solve(fit@optinfo$derivs$Hessian, fit@optinfo$derivs$gradient)
stay <- function(fn, par, lower, upper, control, ...) list(par = par, fval = fn(par), feval = 1, conv = 0)
theta <- unname(getME(fit, "theta"))
random <- seq_along(theta)
fit <- fit_by(stay, list(theta = theta + step[random], fixef = fixef(fit) + step[-random]))
spread <- as.data.frame(VarCorr(fit))
topics <- ranef(fit, condVar = TRUE)$topic
cat(jsonlite::toJSON(list(
  fixed = fixef(fit) / c(1, 10), se = sqrt(diag(as.matrix(vcov(fit)))) / c(1, 10),
  sd = (spread$sdcor / ifelse(spread$var1 == "week", 10, 1))[is.na(spread$var2)],
  group = spread$grp[is.na(spread$var2)], correlation = spread$sdcor[!is.na(spread$var2)],
  topic = rownames(topics), effect = topics[[1]], effect_se = sqrt(as.vector(attr(topics, "postVar"))),
  log_likelihood = as.numeric(logLik(fit)), fitted = unname(predict(fit)), singular = isSingular(fit)
), auto_unbox = TRUE, digits = NA))
"""


@pytest.fixture(scope="module")
def library(require_r: Callable[[str], Path]) -> Path:
    return require_r("glmm")


@pytest.fixture(scope="module")
def service(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    with RService(["Rscript", "-e", "irtglmm::serve()"], library, tmp_path_factory.mktemp("glmm") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    """One in which lme4's own deviance is exact to 1e-7: its rule to end iterations leaves up to 1e-5 in others."""
    return simulate(Truth(), np.random.default_rng(9), **SIZE)


def lme4(rows: Json, formula: str) -> Json:
    given = json.dumps({"rows": rows, "formula": f"cbind(correct, answers - correct) ~ {formula}"})
    ended = subprocess.run(["Rscript", "-e", LME4], input=given, capture_output=True, text=True, check=True)
    found: Json = json.loads(ended.stdout)
    return found


def fit(service: RService, asked: Json) -> Json:
    job = service.wait(service.submit("/glmm/fit", asked), seconds=500)
    assert job["state"] == "succeeded", job["error"]
    result: Json = job["result"]
    return result


RANDOM = "week + (week | learner) + (1 | topic) + (1 | item)"
OFFSET = "week + (week | learner) + (1 | topic) + offset(offset)"


def test_every_process_fits_the_same_numbers(service: RService, cohort: pd.DataFrame) -> None:
    """A rerun of a day would change its history where lme4 factored by another ordering, as half of processes do."""
    asked = body(cohort, "offset")
    first, *others = [fit(service, asked) for _ in range(6)]
    assert first["optimizer"]["ordering"] == "AMD"
    assert all(other == first for other in others)


@pytest.mark.parametrize(("formula", "without"), [(RANDOM, "offset"), (OFFSET, "item")], ids=["random", "offset"])
def test_the_service_equals_lme4_called_directly(
    service: RService, cohort: pd.DataFrame, formula: str, without: str
) -> None:
    """A service that returned other numbers than the package it names could not be checked by anybody."""
    asked = body(cohort, without)
    result, direct = fit(service, asked), lme4(asked, formula)
    assert result["formula"].endswith(formula)
    assert result["fixed"]["estimate"] == pytest.approx(direct["fixed"], abs=1e-6)
    # lme4 has them from second differences of the deviance, which leave four digits.
    assert result["fixed"]["se"] == pytest.approx(direct["se"], rel=2e-4)
    assert result["random"]["group"] == direct["group"]
    assert result["random"]["sd"] == pytest.approx(direct["sd"], abs=1e-6)
    correlations = [value for value in result["random"]["correlation"] if value is not None]
    assert correlations == pytest.approx(list(np.atleast_1d(direct["correlation"])), abs=1e-6)
    assert result["topics"]["topic"] == direct["topic"]
    assert result["topics"]["effect"] == pytest.approx(direct["effect"], abs=1e-6)
    assert result["topics"]["se"] == pytest.approx(direct["effect_se"], abs=1e-6)
    assert result["log_likelihood"] == pytest.approx(direct["log_likelihood"], abs=1e-6)
    assert result["singular"] == direct["singular"]
    half = 1.959963984540054 * np.array(result["fixed"]["se"])
    assert result["fixed"]["lower"] == pytest.approx(np.array(direct["fixed"]) - half, abs=1e-6)
    # Scoring the fit's own rows gives lme4's own predictions.
    scored = predict(service, result["coefficients"], asked, asked)
    assert scored.log_odds == pytest.approx(direct["fitted"], abs=1e-6)


def predict(service: RService, coefficients: Json, at_rows: Json, answers: Json | None) -> GlmmPredictResult:
    names = ("learner", "week", "topic", "item", "offset")
    asked = coefficients | {f"at_{name}": at_rows[name] for name in names if name in at_rows} | (answers or {})

    async def call() -> GlmmPredictResult:
        async with clients.RGlmmClient(clients.ServiceAddress("glmm", service.url, SecretStr(TOKEN))) as client:
            return await client.predict(GlmmPredictRequest.model_validate(asked))

    return clients.run(call)


def test_coefficients_score_new_learners_and_later_weeks(service: RService, cohort: pd.DataFrame) -> None:
    """A kept fit that could only repeat itself would be refitted for every question."""
    coefficients = fit(service, body(cohort, "item"))["coefficients"]
    first = coefficients["topics"][0]
    rows = {"learner": ["new"] * 3, "week": [0.0, 4.0, 0.0], "topic": [first, first, "unheard"], "offset": [0.5] * 3}
    scored = predict(service, coefficients, rows, None)
    mean = coefficients["intercept"] + 0.5
    expected = [mean + coefficients["topic_effects"][0], 0.0, mean]
    expected[1] = expected[0] + 4 * coefficients["slope"]
    assert scored.log_odds == pytest.approx(expected, abs=1e-12)
    assert scored.se[0] == pytest.approx(coefficients["intercept_variance"] ** 0.5, abs=1e-9), (
        "nothing known: the prior"
    )
    assert scored.unknown_topics == ["unheard"]
    assert scored.probability == pytest.approx(1 / (1 + np.exp(-np.array(expected))), abs=1e-12)

    # All right, or all wrong, moves the new learner up or down, and the error falls.
    answers = {"learner": ["new"] * 8, "topic": [first] * 8, "week": [0.0] * 8, "answers": [1] * 8, "offset": [0.5] * 8}
    up, down = (predict(service, coefficients, rows, answers | {"correct": [right] * 8}) for right in (1, 0))
    assert up.log_odds[0] > scored.log_odds[0] > down.log_odds[0]
    assert max(up.se[0], down.se[0]) < scored.se[0]
    assert up.learners.n_answers == [8]


def test_no_growth_is_found_where_items_only_get_harder(service: RService) -> None:
    """Falling shares of right answers are no loss of ability where the platform hands out harder items."""
    truth = Truth(slope=0.0, sd_slope=0.02, sd_item=0.1, sd_topic=0.1, hardening=3.0)
    rows = simulate(truth, np.random.default_rng(5), learners=200, weeks=8, a_week=4, items=80, topics=12)
    by_week = rows.groupby("week")["correct"].mean()
    assert by_week.iloc[0] - by_week.iloc[-1] > 0.2, "the shares fall"
    naive = fit(service, body(rows, "item", "offset"))["fixed"]
    assert naive["estimate"][1] < -10 * naive["se"][1], "without items the model takes that for forgetting"
    found = fit(service, body(rows, "item"))["fixed"]
    assert abs(found["estimate"][1]) < 2 * found["se"][1]
    assert found["se"][1] < 0.02, "and it would have found growth of 0.06 a week"


def test_a_singular_fit_says_so(service: RService, cohort: pd.DataFrame) -> None:
    """Topics that do not differ have a variance of zero; a report must not list their 'effects' as findings."""
    alike = pd.concat([cohort.assign(topic=topic) for topic in ("twin", "other twin")])
    result = fit(service, body(alike, "item"))
    spread = dict(zip(result["random"]["group"], result["random"]["sd"], strict=True))
    assert spread["topic"] < 1e-3
    assert result["singular"]
    assert any("singular" in message for message in result["messages"])


def test_progress_counts_evaluations(service: RService) -> None:
    """The task's log shows a number that moves, or nobody can tell a long fit from a hung one."""
    rows = simulate(Truth(), np.random.default_rng(1), learners=200, weeks=8, a_week=4, items=100, topics=12)
    job_id = service.submit("/glmm/fit", body(rows, "offset"))
    notes: list[str] = []
    while True:
        data = service.http.get("/glmm/fit_progress", params={"job_id": job_id}).json()["data"]
        note = (data["progress"] or {}).get("note") or ""
        if "evaluation" in note and note not in notes:
            notes.append(note)
        if len(notes) >= 2 or data["state"] in ("succeeded", "failed"):
            break
    service.http.delete(f"/jobs/{job_id}")
    assert len(notes) >= 2
    first, second = (int(note.split("evaluation ")[1].split(":")[0]) for note in notes[:2])
    assert first != second


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"week": [0.0, 1.0]}, "week"),
        ({"correct": [1, "1", 0]}, "correct"),
        ({"answers": [1, 0, 1]}, "answers"),
        ({"learner": [1, 2, 3]}, "learner"),
        ({"seed": 1}, "seed"),
    ],
)
def test_a_wrong_field_is_named(service: RService, change: dict[str, Any], named: str) -> None:
    """A message that does not say which field leaves its reader to guess."""
    good: Json = {"learner": ["a", "b", "b"], "topic": ["t"] * 3, "week": [0.0, 0.0, 1.0], "correct": [1, 0, 1]}
    answer = service.post("/glmm/fit", good | {"answers": [1, 1, 1]} | change)
    assert answer.status_code == 422
    assert errors_of(answer)["invalid_field"].startswith(named)


def test_too_little_data_has_its_code(service: RService) -> None:
    """The client turns this code into a recorded skip; any other would fail the day."""
    asked = {"learner": ["a", "a"], "topic": ["t", "u"], "week": [0.0, 1.0], "correct": [1, 0], "answers": [1, 1]}
    job = service.fit("/glmm/fit", asked)
    assert (job["state"], job["error"]["code"]) == ("failed", "not_enough_data")
    assert "1 learners" in job["error"]["detail"]
    job = service.fit("/glmm/fit", asked | {"correct": [2, 0]})
    assert job["error"]["code"] == "invalid_field"
    assert "element 1 is 2" in job["error"]["detail"]


def write_cohort(settings: Settings, rows: pd.DataFrame) -> None:
    """A cohort's answers as a log whose bank has the published difficulties, a = 1."""
    days = [DAY - timedelta(days=-7 * int(week)) for week in rows["week"]]
    write_answers(
        settings,
        pd.DataFrame(
            {
                "student_id": "s" + rows["learner"],
                "item_id": rows["item"],
                "topic_id": rows["topic"],
                "correct": rows["correct"] == 1,
                "completed_at": [at(day) for day in days],
                "timed_out": False,
            }
        ),
    )
    items = rows.drop_duplicates("item")
    bank = zip(items["item"], items["offset"], strict=True)
    publish(settings, {item: BankItem(1.0, -easy, 10_000.0) for item, easy in bank}, DAY)


def run(settings: Settings, service: RService, weeks: int) -> Json:
    """Run the job and return its row."""
    address = {"r_glmm_url": service.url, "r_glmm_token": SecretStr(TOKEN)}
    settings = settings.model_copy(update=address)
    assert (
        run_job(fit_glmm.JOB, tenant="default", as_of=DAY, params=RunParams(glmm_weeks=weeks), settings=settings) == 0
    )
    with db.connect(settings) as connection:
        row = connection.execute("select to_jsonb(m) from growth_glmm_meta as m").fetchone()
    assert row is not None
    meta: Json = row[0]
    return meta


def test_the_job_writes_what_lme4_finds_in_the_log(
    settings: Settings,
    service: RService,
    cohort: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the log through the service into the table: the report's growth is this model of these answers."""
    write_cohort(settings, cohort)
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(clients.base, "LONGEST_POLL", 0.2)  # the fit takes but a second or two
    with caplog.at_level("INFO"):
        meta = run(settings, service, 8)
    assert re.search(r"/glmm/fit .* evaluation \d+: deviance \d+", caplog.text), (
        "the task's log shows that the fit moves"
    )
    assert meta["status"] == "success"
    assert meta["item_term"] == "offset"
    assert "items are routed" in meta["item_reason"]
    direct = lme4(body(cohort, "item"), OFFSET)
    fixed = {each["term"]: each for each in meta["fixed"]}
    assert [fixed["(Intercept)"]["estimate"], fixed["week"]["estimate"]] == pytest.approx(direct["fixed"], abs=1e-6)
    assert [each["topic_id"] for each in meta["topics"]] == direct["topic"]
    assert [each["effect"] for each in meta["topics"]] == pytest.approx(direct["effect"], abs=1e-6)
    published = cohort.drop_duplicates("item").groupby("topic")["offset"].mean()
    assert [each["published"] for each in meta["topics"]] == pytest.approx(published.tolist(), abs=1e-9)
    assert (meta["n_learners"], meta["n_topics"], meta["n_weeks"]) == (80, 12, 8)
    assert meta["n_answers"] == len(cohort)
    assert not meta["sampled"]
    assert meta["engine_versions"]["lme4"]
    # The coefficients kept in the table are a request to /glmm/predict.
    answers = body(cohort, "item")
    scored = predict(service, meta["coefficients"], answers, answers)
    assert scored.log_odds == pytest.approx(direct["fitted"], abs=1e-6)
    again = run(settings, service, 8)
    assert again == meta, "the same day twice gives the same row"


def test_unrouted_items_are_random_and_many_learners_are_sampled(
    settings: Settings, service: RService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the fit reads a sample, the row says of how many, how it was drawn and why."""
    rows = simulate(
        Truth(), np.random.default_rng(2), learners=150, weeks=4, a_week=4, items=40, topics=8, routing_sd=np.inf
    )
    write_cohort(settings, rows)
    monkeypatch.setattr(fit_glmm, "draw_sample", functools.partial(draw_sample, max_learners=100))
    meta = run(settings, service, 4)
    assert (meta["item_term"], meta["item_reason"]) == ("random", None)
    assert meta["formula"].endswith("(1 | item)")
    assert meta["sampled"]
    assert (meta["n_learners"], meta["sample"]["drawn"], meta["sample"]["learners"]) == (100, 100, 150)
    assert meta["n_answers"] == 100 * 16
    assert sum(stratum["drawn"] for stratum in meta["sample"]["strata"]) == 100
    assert estimates({"fixed": columns(meta["fixed"]), "random": columns(meta["random"])})["sd_item"] > 0.1


def columns(records: list[Json]) -> Json:
    return {name: [record[name] for record in records] for name in records[0]}
