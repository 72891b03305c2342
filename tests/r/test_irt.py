"""R mirt behind its service, against mirt called directly, its published output, and the native engine."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from tests.integration.test_compute_daily_kpis import at, write_answers
from tests.r.rservice import TOKEN, Json, RService, errors_of

from irt_analytics import clients, db
from irt_analytics.clients.irt import IrtCalibrateRequest, IrtCalibrateResult
from irt_analytics.errors import ConfigurationError
from irt_analytics.irt import Responses, calibrate, estimate_abilities
from irt_analytics.irt.priors import Priors
from irt_analytics.jobs import _parity, mirt_calibrate
from irt_analytics.jobs._mirt_engine import calibrate_by_mirt
from irt_analytics.params import RunParams
from irt_analytics.runner import run_job
from irt_analytics.settings import Settings

REFERENCE = Path(__file__).parents[3] / "shared" / "data" / "reference"

pytestmark = pytest.mark.timeout(600)

#: mirt on its own.
MIRT = """
suppressMessages(library(mirt))
given <- jsonlite::fromJSON(file("stdin"))
table <- as.data.frame(given$table)
priors <- mirt.model("F = 1-5
  PRIOR = (1-5, a1, lnorm, 0, 0.5), (1-5, g, expbeta, 5, 17)")
specification <- if (given$priors == "weak") priors else 1
fit <- mirt(table, specification, itemtype = given$model, TOL = 1e-6, SE = TRUE, SE.type = "Oakes", verbose = FALSE)
items <- coef(fit, simplify = TRUE)$items
with_errors <- coef(fit, IRTpars = TRUE, printSE = TRUE)[colnames(table)]
take <- function(row, column) unname(sapply(with_errors, function(item) item[row, column]))
statistics <- itemfit(fit, fit_stats = "infit")
scores <- fscores(fit, full.scores.SE = TRUE, quadpts = 61, theta_lim = c(-6, 6))
values <- mod2values(fit)
cat(jsonlite::toJSON(list(
  items = list(
    a = unname(items[, "a1"]), b = take("par", "b"), c = unname(items[, "g"]), se_a = take("SE", "a"),
    se_b = take("SE", "b"), se_c = take("SE", "g"), infit = statistics$infit, outfit = statistics$outfit
  ),
  d = unname(items[, "d"]), theta = scores[, 1], se = scores[, 2],
  variance = values$value[values$name == "COV_11"], log_likelihood = extract.mirt(fit, "logLik")
), auto_unbox = TRUE, digits = NA, na = "null"))
"""


@pytest.fixture(scope="module")
def library(require_r: Callable[[str], Path]) -> Path:
    return require_r("irt")


@pytest.fixture(scope="module")
def service(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RService]:
    with RService(["Rscript", "-e", "irtmirt::serve()"], library, tmp_path_factory.mktemp("irt") / "log") as running:
        yield running


def read(name: str) -> pd.DataFrame:
    table = pd.read_csv(REFERENCE / f"{name}_responses.csv")
    return table.set_axis([f"p{person:04d}" for person in range(len(table))], axis=0)


def long(table: pd.DataFrame) -> dict[str, list[Any]]:
    cells = table.rename_axis("learner").reset_index().melt("learner", var_name="item", value_name="correct").dropna()
    return {
        "learner": cells["learner"].tolist(),
        "item": cells["item"].tolist(),
        "correct": (cells["correct"] == 1).tolist(),
    }


def ask(service: RService, table: pd.DataFrame, **options: Any) -> IrtCalibrateResult:
    async def call() -> IrtCalibrateResult:
        async with clients.RIrtClient(clients.ServiceAddress("irt", service.url, SecretStr(TOKEN))) as client:
            return await client.calibrate(IrtCalibrateRequest(**long(table), **options))

    return clients.run(call)


@pytest.mark.parametrize(
    ("model", "priors", "missing"),
    [("2PL", "none", False), ("Rasch", "none", False), ("3PL", "weak", False), ("2PL", "none", True)],
    ids=["2PL", "Rasch", "3PL", "2PL, a third missing"],
)
def test_the_service_equals_mirt_called_directly(
    service: RService, library: Path, model: str, priors: str, missing: bool
) -> None:
    """A calibration that is not mirt's own could not be defended by naming mirt."""
    table = read("lsat7")
    if missing:
        table = table.mask(np.random.default_rng(1).random(table.shape) < 1 / 3).dropna(how="all")
    rows = table.astype(object).where(table.notna(), None)
    ended = subprocess.run(
        ["Rscript", "-e", MIRT],
        input=json.dumps({"model": model, "priors": priors, "table": rows.to_dict("list")}),
        capture_output=True,
        text=True,
        check=True,
        env={"R_LIBS": str(library), "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    direct: Json = json.loads(ended.stdout)
    found = ask(service, table, model=model, priors=priors)
    items = found.items.model_dump()
    for name, expected in direct["items"].items():
        assert [value is None for value in items[name]] == [value is None for value in expected], name
        known = [value for value in expected if value is not None]
        assert [value for value in items[name] if value is not None] == pytest.approx(known, abs=1e-8), name
    assert -np.array(found.items.a) * found.items.b == pytest.approx(direct["d"], abs=1e-8)
    assert found.latent.sd**2 == pytest.approx(direct["variance"], abs=1e-8)
    assert found.log_likelihood == pytest.approx(direct["log_likelihood"], abs=1e-8)
    assert found.persons.theta == pytest.approx(direct["theta"], abs=1e-8)
    assert found.persons.se == pytest.approx(direct["se"], abs=1e-8)
    assert found.converged
    if model == "Rasch":
        assert set(found.items.a) == {1.0}


@pytest.mark.parametrize(("name", "model"), [("lsat6", "2PL"), ("lsat7", "2PL"), ("sat12", "2PL"), ("sat12", "Rasch")])
def test_both_engines_agree(service: RService, name: str, model: Any) -> None:
    """Which engine calibrated must not change a decision: a and d within 0.003, theta within 0.002."""
    table = read(name)
    mirt = ask(service, table, model=model, standard_errors=name != "sat12")
    cells = long(table)
    responses = Responses.from_long(cells["learner"], cells["item"], cells["correct"])
    native = calibrate(responses, model=model, tolerance=1e-6)
    items = native.items.set_index("item_id").loc[mirt.items.item]
    a, b = np.array(mirt.items.a), np.array(mirt.items.b)
    assert a == pytest.approx(items["a"].to_numpy(), abs=0.003)
    assert -a * b == pytest.approx(-(items["a"] * items["b"]).to_numpy(), abs=0.003)
    assert mirt.log_likelihood == pytest.approx(native.log_likelihood, abs=0.01)
    assert mirt.latent.sd == pytest.approx(native.latent_sd, abs=0.003)
    theta = estimate_abilities(responses, native.items).set_index("student_id").loc[mirt.persons.learner, "theta"]
    assert mirt.persons.theta == pytest.approx(theta.to_numpy(), abs=0.002)
    if mirt.se_method == "Oakes":
        assert list(mirt.items.se_b) == pytest.approx(items["se_b"].to_numpy(), rel=0.05)


def test_both_engines_agree_on_the_three_parameter_model(service: RService) -> None:
    """Under a normal prior of logit c both are at the same maximum; of beta priors see docs/models.md."""
    table, prior = read("lsat7"), (-1.1, 0.5)
    mirt = ask(service, table, model="3PL", priors="weak", logit_c=prior, standard_errors=False)
    cells = long(table)
    responses = Responses.from_long(cells["learner"], cells["item"], cells["correct"])
    native = calibrate(responses, model="3PL", priors=Priors(a=(0.0, 0.5), logit_c=prior), tolerance=1e-6)
    items = native.items.set_index("item_id").loc[mirt.items.item]
    a, b = np.array(mirt.items.a), np.array(mirt.items.b)
    assert a == pytest.approx(items["a"].to_numpy(), abs=0.003)
    assert -a * b == pytest.approx(-(items["a"] * items["b"]).to_numpy(), abs=0.003)
    assert mirt.items.c == pytest.approx(items["c"].to_numpy(), abs=0.003)
    assert mirt.log_likelihood == pytest.approx(native.log_likelihood, abs=0.01)
    assert "logit(c) ~ normal(-1.1, 0.5)" in mirt.priors


def test_errors_are_those_mirt_published(service: RService) -> None:
    """b's error by the delta method: a wrong covariance would let drift pass unseen."""
    found = ask(service, read("lsat7"), model="2PL", tolerance=1e-9)
    published = pd.read_csv(REFERENCE / "mirt_item_se_oakes.csv").query("dataset == 'lsat7' and model == '2PL'")
    published = published.set_index("item_id").loc[found.items.item]
    assert found.items.se_a == pytest.approx(published["se_a"].to_numpy(), rel=1e-3)
    assert found.items.se_b == pytest.approx(published["se_b"].to_numpy(), rel=1e-3)


def test_fixed_anchors_come_back_to_the_last_digit(service: RService) -> None:
    """An anchor that moves by a rounding error a day moves the scale in a year."""
    items, a, b = ["Item.1", "Item.4"], [1.1234567890123457, 0.1 + 0.2], [-1.5, 1 / 3]
    found = ask(service, read("lsat7"), model="2PL", fixed_item=items, fixed_a=a, fixed_b=b)
    own = [found.items.item.index(item) for item in items]
    assert [found.items.a[i] for i in own] == a
    assert [found.items.b[i] for i in own] == b
    assert [found.items.se_a[i] for i in own] == [None, None]
    assert found.latent.se_mean is not None


def test_the_link_to_a_reference_scale_is_returned(service: RService) -> None:
    """The planted line comes back: theta_reference = 1.2 theta + 0.5."""
    table = read("lsat7")
    first = ask(service, table, model="2PL", standard_errors=False)
    a, b = np.array(first.items.a), np.array(first.items.b)
    moved = {"reference_a": (a / 1.2).tolist(), "reference_b": (1.2 * b + 0.5).tolist()}
    moved = {name: [*values, 1.0] for name, values in moved.items()}
    reference = {"reference_item": [*first.items.item, "retired"], **moved}
    linked = ask(service, table, model="2PL", standard_errors=False, **reference).linking_constants
    assert linked is not None
    assert pytest.approx([1.2, 0.5], abs=1e-5) == [linked.A, linked.B]
    assert linked.n_anchors_used == 5
    assert (linked.dropped.item, linked.dropped.reason) == (["retired"], ["no response"])


def test_the_job_fills_the_same_tables_with_either_engine(settings: Settings, service: RService) -> None:
    """Who switches engines must find the same bank and abilities, and the row must say which engine it was."""
    table = read("lsat7")
    cells = long(table)
    log = pd.DataFrame({"student_id": cells["learner"], "item_id": cells["item"], "correct": cells["correct"]})
    day = date(2026, 3, 4)
    found = {}
    for engine in ("native", "mirt"):
        write_answers(settings, log.assign(completed_at=at(day), timed_out=False), engine)
        addressed = settings.model_copy(update={"r_irt_url": service.url, "r_irt_token": SecretStr(TOKEN)})
        params = RunParams(irt_engine=engine, priors="none", min_answers_learner=1)
        assert run_job(mirt_calibrate.JOB, tenant=engine, as_of=day, params=params, settings=addressed) == 0
        with db.connect(settings) as connection, connection.cursor() as cursor:
            cursor.execute("select engine, engine_version, se_method from mirt_fit_meta where tenant_id = %s", [engine])
            (meta,) = cursor.fetchall()
            cursor.execute("select a, b, se_b from mirt_item_params where tenant_id = %s order by item_id", [engine])
            items = np.array(cursor.fetchall())
            cursor.execute("select theta, se from mirt_ability where tenant_id = %s order by user_id", [engine])
            found[engine] = (meta, items, np.array(cursor.fetchall()))
    assert [found[engine][0][0] for engine in found] == ["native", "mirt"]
    assert found["mirt"][0][1:] == ("1.45.1", "full")
    (_, native_items, native_theta), (_, items, theta) = found["native"], found["mirt"]
    assert items[:, 0] == pytest.approx(native_items[:, 0], abs=0.003)
    assert items[:, 1] == pytest.approx(native_items[:, 1], abs=0.01)
    assert items[:, 2] == pytest.approx(native_items[:, 2], rel=0.05)
    assert len(theta) == len(table)
    assert theta == pytest.approx(native_theta, abs=0.003)


def test_a_linked_day_is_the_same_with_either_engine(settings: Settings, service: RService) -> None:
    """The second cohort is on the first one's scale, with one error: drift and every later day rest on it.

    Both engines end within 1e-4 of the maximum, so that parameters differ by no more than 0.005 and errors by 2 %.
    """
    rng, n, n_items = np.random.default_rng(11), 600, 20
    a, b = rng.lognormal(0.0, 0.3, n_items), rng.normal(0.0, 1.0, n_items)
    days = date(2026, 3, 4), date(2026, 3, 14)
    logs = []
    for day, mean, sd in ((days[0], 0.0, 1.0), (days[1], 0.5, 1.2)):
        theta = rng.normal(mean, sd, (n, 1))
        correct = rng.random((n, n_items)) < 1.0 / (1.0 + np.exp(-a * (theta - b)))
        learner = np.char.add(f"{day}-", np.arange(n).astype(str)).repeat(n_items)
        item = np.tile(np.char.add("q", np.arange(n_items).astype(str)), n)
        logs.append(pd.DataFrame({"student_id": learner, "item_id": item, "correct": correct.ravel()}))
        logs[-1] = logs[-1].assign(completed_at=at(day), timed_out=False)
    addressed = settings.model_copy(update={"r_irt_url": service.url, "r_irt_token": SecretStr(TOKEN)})
    links, items = {}, {}
    for engine in ("native", "mirt"):
        write_answers(settings, pd.concat(logs), engine)
        params = RunParams(irt_engine=engine, priors="none", irt_window_days=7)
        for day in days:
            assert run_job(mirt_calibrate.JOB, tenant=engine, as_of=day, params=params, settings=addressed) == 0
        with db.connect(settings) as connection, connection.cursor() as cursor:
            cursor.execute(
                """
                select run_id, engine, n_persons, published, model_spec -> 'linking_constants'
                from mirt_fit_meta
                where tenant_id = %s and as_of = %s
                """,
                [engine, days[1]],
            )
            ((run_id, *meta, link),) = cursor.fetchall()
            assert meta == [engine, n, True]
            links[engine] = link
            cursor.execute(
                "select item_id, a, b, se_a, se_b from mirt_item_params where tenant_id = %s and run_id = %s",
                [engine, run_id],
            )
            items[engine] = pd.DataFrame(cursor.fetchall(), columns=["item_id", "a", "b", "se_a", "se_b"])
    native, mirt = links["native"], links["mirt"]
    assert (mirt["n_anchors_used"], mirt["dropped"]) == (native["n_anchors_used"], native["dropped"])
    assert abs(native["A"] - 1.2) < 3 * native["se_A"]
    assert abs(native["B"] - 0.5) < 3 * native["se_B"]
    assert (mirt["A"], mirt["B"]) == pytest.approx((native["A"], native["B"]), abs=0.002)
    assert (mirt["se_A"], mirt["se_B"]) == pytest.approx((native["se_A"], native["se_B"]), rel=0.02)
    of_native, of_mirt = (items[engine].set_index("item_id").sort_index() for engine in ("native", "mirt"))
    assert list(of_mirt.index) == list(of_native.index)
    assert len(of_mirt) == n_items
    np.testing.assert_allclose(of_mirt[["a", "b"]], of_native[["a", "b"]], atol=0.005)
    np.testing.assert_allclose(of_mirt[["se_a", "se_b"]], of_native[["se_a", "se_b"]], rtol=0.02)


def test_the_parity_report_compares_both_engines_on_a_day_s_answers(
    settings: Settings, service: RService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A psychometrician who knows mirt asks this before anything else; the table must be of the engines themselves."""
    cells = long(read("lsat7"))
    log = pd.DataFrame({"student_id": cells["learner"], "item_id": cells["item"], "correct": cells["correct"]})
    write_answers(settings, log.assign(completed_at=at(date(2026, 3, 4)), timed_out=False))
    environment = {"R_IRT_URL": service.url, "R_IRT_TOKEN": TOKEN}
    environment["DATABASE_URL"] = settings.database_url.get_secret_value()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = CliRunner().invoke(_parity.command, ["--as-of", "2026-03-04", "--priors", "none"], catch_exceptions=False)
    assert said.exit_code == 0
    assert "5,000 answers of 1,000 learners to 5 items" in said.output
    rows = {
        line.split()[0]: line.split()[1:] for line in said.output.splitlines() if line[:1] in "abcdt" and "e" in line
    }
    for name, least, most in (("a", 0.0, 0.003), ("d", 0.0, 0.003), ("theta", 0.0, 0.002)):
        n, largest, mean = (float(value) for value in rows[name])
        assert n == (1000 if name == "theta" else 5)
        assert least < mean <= largest < most
    assert "log-likelihood: native -2658.8" in said.output
    assert "mirt -2658.8" in said.output


def test_without_the_service_the_mirt_engine_is_bad_configuration(settings: Settings) -> None:
    """The native engine in its place, unasked, would be a silent fallback."""
    with pytest.raises(ConfigurationError, match="no R here"):
        calibrate_by_mirt(
            Responses.from_long(["a", "a", "b"], ["x", "y", "x"], [True, False, True]),
            RunParams(irt_engine="mirt"),
            settings.model_copy(update={"r_irt_unavailable": "no R here"}),
        )


def test_wrong_fields_and_models_are_named(service: RService) -> None:
    """422 names the field; what only the model can know is the job's error."""
    body: Json = long(read("lsat7").head(50)) | {"model": "4PL", "nodes": 2}
    answer = service.post("/irt/calibrate", body)
    assert answer.status_code == 422
    assert errors_of(answer)
    details = " ".join(error["detail"] for error in answer.json()["errors"])
    assert "model" in details
    assert "nodes" in details
    one = {"learner": ["a", "b"], "item": ["x", "x"], "correct": [True, False], "model": "2PL"}
    job = service.fit("/irt/calibrate", one)
    assert job["error"]["code"] == "not_enough_data"
