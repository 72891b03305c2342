"""A small cohort in the database's tables, as the jobs before the report leave it, and the report's facts of it."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from psycopg.types.json import Jsonb
from scipy.special import expit, ndtr

from irt_analytics import db

AS_OF = date(2026, 1, 31)  # a Saturday
MONDAY = date(2026, 1, 26)
JOBS = (
    "prepare_schema",
    "mirt_calibrate",
    "features_backfill",
    "compute_daily_kpis",
    "fit_glmm",
    "fit_survival_churn",
    "forecast_prophet",
    "fit_bayesian_growth",
    "cluster_segments",
)
LABELS = ("short_frequent", "improving", "struggling", "efficient")
FEATURES = ("i_t", "a_t", "e_t", "r_t")

#: What an id may hold: quotes, line breaks, emoji, Hangul, SQL, HTML, Markdown, Typst, shell, Quarto.
HOSTILE_IDS = (
    'O\'Brien "Bob"',
    "two\nlines\tand a tab",
    "emoji 🦄 and 🙂",
    "김민수",
    "'; drop table weekly_kpi; --",
    "<script>alert(1)</script>&amp;<b>bold</b>",
    "*a* _b_ `c` [d](e) $x^2$ | cell ::: {.card} \\newpage",
    '#import "evil.typ" #eval("1") @cite <label> $ x $',
    "{{< video x >}} {python} ```{r}\n1+1\n```",
    "../../etc/passwd",
    " leading and trailing ",
    '=HYPERLINK("http://x")',
    "\u202eright to left\u200b",
)


def write_cohort(
    connection: psycopg.Connection[Any],
    *,
    tenant: str = "default",
    as_of: date = AS_OF,
    learners: int = 60,
    items: int = 30,
    weeks: int = 26,
    user_ids: tuple[str, ...] = (),
    item_ids: tuple[str, ...] = (),
    failed: dict[str, tuple[str, str]] | None = None,
    seed: int = 1,
) -> None:
    """Write a cohort's rows of every table that the report reads; `failed` gives jobs a status and a reason."""
    rng = np.random.default_rng(seed)
    users = np.array(
        [*user_ids, *(f"learner-{number:04d}" for number in range(learners - len(user_ids)))], dtype=object
    )
    bank_ids = np.array([*item_ids, *(f"item-{number:03d}" for number in range(items - len(item_ids)))], dtype=object)
    monday = as_of - timedelta(days=as_of.weekday())
    starts = [monday - timedelta(weeks=back) for back in range(weeks)][::-1]
    day = {"tenant_id": tenant, "as_of": as_of}

    _write_job_runs(connection, tenant, as_of, failed or {})
    for back, run in ((7, "before"), (0, "now")):
        _write_bank(connection, tenant, as_of - timedelta(days=back), f"run-{run}", bank_ids, seed)
    theta = rng.normal(0.2, 1, len(users))
    growth = rng.normal(0.02, 0.02, len(users))
    db.replace(
        connection,
        "mirt_ability",
        pd.DataFrame(
            {
                "user_id": users,
                "theta": theta,
                "se": rng.uniform(0.25, 0.6, len(users)),
                "n_responses": rng.integers(5, 80, len(users)),
                "method": "EAP",
                "run_id": "run-now",
            }
        ),
        **day,
    )
    _write_weeks(connection, day, users, starts, theta, growth, rng)
    _write_kpis(connection, day, users, starts, growth, rng)
    _write_topics(connection, day, users, theta, rng)
    _write_segments(connection, day, users, rng)
    connection.execute(
        "insert into learner_goal select %s, unnest(%s::text[]), 1.5, %s",
        (tenant, list(users[::3]), as_of + timedelta(days=40)),
    )


def _write_job_runs(
    connection: psycopg.Connection[Any], tenant: str, as_of: date, failed: dict[str, tuple[str, str]]
) -> None:
    for job in JOBS:
        status, reason = failed.get(job, ("success", ""))
        connection.execute(
            """
            insert into job_run (
                tenant_id, job, as_of, status, reason, error, code_version, parameters, exclusions, finished_at
            )
            values (%s, %s, %s, %s, %s, %s, '3.0.0', %s, %s, now())
            """,
            (
                tenant,
                job,
                as_of,
                status,
                reason if status == "skipped" else None,
                reason if status == "failed" else None,
                Jsonb({"model": "2PL", "report_lang": "en"}),
                Jsonb([{"reason": "rapid answers", "count": 137, "detail": "counted as missing"}])
                if job == "mirt_calibrate"
                else Jsonb([]),
            ),
        )


def _write_bank(
    connection: psycopg.Connection[Any],
    tenant: str,
    as_of: date,
    run_id: str,
    item_ids: "np.ndarray[Any, Any]",
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    n = len(item_ids)
    now = run_id == "run-now"
    b = rng.normal(0, 1.1, n)
    a = rng.lognormal(0.1, 0.3, n)
    outfit = rng.lognormal(0, 0.12, n)
    status = np.where(np.arange(n) % 9 == 8, "provisional", "estimated").astype(object)
    drifted = np.zeros(n, dtype=bool)
    anchor = np.arange(n) % 4 == 0
    if now:
        a[1], outfit[2], outfit[3] = 0.12, 2.6, 1.7
        b += rng.normal(0, 0.04, n)
        drifted[4], b[4] = True, b[4] + 0.9
    frame = pd.DataFrame(
        {
            "item_id": item_ids,
            "topic_id": [f"topic-{number % 5}" for number in range(n)],
            "a": a,
            "b": b,
            "c": 0.0,
            "se_a": np.full(n, 0.08),
            "se_b": np.full(n, 0.09),
            "n_responses": rng.integers(60, 400, n),
            "p_value": expit(-b),
            "infit": rng.lognormal(0, 0.05, n),
            "outfit": outfit,
            "anchor": anchor,
            "drift_statistic": np.where(anchor, np.where(drifted, 31.4, 1.2), np.nan),
            "drift_p_value": np.where(anchor, np.where(drifted, 0.0001, 0.4), np.nan),
            "drifted": drifted,
            "status": status,
        }
    )
    constants = {
        "A": 1.0312,
        "B": -0.0457,
        "se_A": 0.021,
        "se_B": 0.034,
        "method": "stocking_lord",
        "n_anchors_used": int(anchor.sum() - drifted.sum()),
        "dropped": {},
    }
    connection.execute(
        """
        insert into mirt_fit_meta (
            tenant_id, run_id, as_of, window_start, window_end, window_extended, model, engine, engine_version,
            code_version, data_fingerprint, n_persons, n_items, n_responses, converged, iterations, log_likelihood,
            aic, bic, latent_mean, latent_sd, se_method, priors, model_spec, published, published_at_as_of
        )
        values (
            %s, %s, %s, %s, %s, false, '2PL', 'native', '3.0.0', '3.0.0', 'f1e2d3', 987, %s, 12345, true, 42, -6543.21,
            13206.42, 13654.32, 0.123, 1.045, 'full', 'a ~ lognormal(0, 0.5)', %s, true, %s
        )
        """,
        (
            tenant,
            run_id,
            as_of,
            as_of - timedelta(days=29),
            as_of,
            n,
            Jsonb({"linking_constants": constants if now else constants | {"method": "none", "A": 1.0, "B": 0.0}}),
            as_of,
        ),
    )
    db.replace(connection, "mirt_item_params", frame, tenant_id=tenant, run_id=run_id)
    if now and n > 7:
        _write_quality(connection, tenant, run_id, frame, as_of - timedelta(days=14))


def _write_quality(
    connection: psycopg.Connection[Any], tenant: str, run_id: str, items: pd.DataFrame, late_from: date
) -> None:
    """Item 5 leaves its curve, item 6 became easier, items 0 and 7 go together."""
    n = len(items)
    off, shifted = np.arange(n) == 5, np.arange(n) == 6
    theta = np.array([-1.4, -0.6, 0.0, 0.6, 1.4])
    curves = []
    for a, b, left, answers in zip(items["a"], items["b"], off, items["n_responses"], strict=True):
        expected = expit(a * (theta - b))
        observed = np.where(left & (theta > 0), 0.5 * expected, expected)
        points = np.column_stack([theta, np.full(5, answers / 5), observed, expected]).tolist()
        curves.append([dict(zip(("theta", "n", "observed", "expected"), point, strict=True)) for point in points])
    tests = {
        "item_id": items["item_id"],
        "n_responses": items["n_responses"],
        "statistic": np.where(off, 41.0, 3.0),
        "df": 4,
        "p": np.where(off, 1e-8, 0.56),
        "p_adjusted": np.where(off, 3e-7, 0.9),
        "rmsd": np.where(off, 0.16, 0.02),
        "curve": curves,
        "n_early": items["n_responses"] // 2,
        "n_late": items["n_responses"] - items["n_responses"] // 2,
        "shift": np.where(shifted, 0.93, 0.04),
        "shift_se": 0.2,
        "shift_p": np.where(shifted, 3e-6, 0.8),
        "shift_p_adjusted": np.where(shifted, 1e-4, 0.9),
        "shift_ets": np.where(shifted, "C", "A"),
        "shifted": shifted,
    }
    pair = {"item_1": items["item_id"].iloc[0], "item_2": items["item_id"].iloc[7], "n": 150, "q3": 0.38}
    pair |= {"q3_centred": 0.41, "p": 1e-7, "p_adjusted": 1e-5}
    meta: dict[str, Any] = {
        "n_items_tested": n,
        "n_items_misfitting": 1,
        "n_pairs": n * (n - 1) // 2,
        "n_pairs_dependent": 1,
    }
    meta |= {"n_learners_tested": 800, "n_learners_misfitting": 52, "late_from": late_from, "n_early": 700}
    meta |= {"n_late": 690, "n_items_compared": n, "n_items_shifted": 1}
    for table, frame in (
        ("mirt_quality_meta", pd.DataFrame([meta])),
        ("mirt_item_fit", pd.DataFrame(tests)),
        ("mirt_item_pair", pd.DataFrame([pair])),
    ):
        db.copy_frame(connection, table, frame.assign(tenant_id=tenant, run_id=run_id))


def _write_weeks(
    connection: psycopg.Connection[Any],
    day: dict[str, Any],
    users: "np.ndarray[Any, Any]",
    starts: list[date],
    theta: "np.ndarray[Any, Any]",
    growth: "np.ndarray[Any, Any]",
    rng: np.random.Generator,
) -> None:
    parts = []
    for index, start in enumerate(starts):
        present = rng.random(len(users)) < 0.8
        n = rng.integers(2, 16, len(users))
        v = 1 / (0.2 * n)
        y = theta + growth * index + rng.normal(0, np.sqrt(v))
        s = np.sqrt(1 / (1 / v + 1))
        parts.append(
            pd.DataFrame({"user_id": users, "week_start": start, "m": s**2 * y / v, "s": s, "v": v, "y": y, "n": n})[
                present
            ]
        )
    frame = pd.concat(parts, ignore_index=True)
    monday = starts[-1]
    frame = frame.assign(mu0=0.0, sd0=1.0, run_id="run-now", reconstructed=frame["week_start"] < monday)
    db.replace(connection, "student_week_theta", frame, **day)


def _write_kpis(
    connection: psycopg.Connection[Any],
    day: dict[str, Any],
    users: "np.ndarray[Any, Any]",
    starts: list[date],
    growth: "np.ndarray[Any, Any]",
    rng: np.random.Generator,
) -> None:
    size = len(users)
    parts = []
    for index, start in enumerate(starts):
        i_t = np.clip(growth * 2 + rng.normal(0.03, 0.15, size), -1, 1)
        se = np.full(size, 0.12)
        has_growth = rng.random(size) < 0.85
        r_n = rng.integers(0, 30, size)
        r_t = np.where(r_n >= 5, rng.uniform(0.05, 0.95, size), np.nan)
        a_t = np.clip(0.4 + 0.002 * index + rng.normal(0, 0.15, size), 0, 1)
        e_t = np.where(rng.random(size) < 0.7, np.clip(rng.normal(0.05, 0.1, size), -1, 1), np.nan)
        parts.append(
            pd.DataFrame(
                {
                    "user_id": users,
                    "week_start": start,
                    "i_t": np.where(has_growth, i_t, np.nan),
                    "i_t_lower": np.where(has_growth, i_t - 1.96 * se, np.nan),
                    "i_t_upper": np.where(has_growth, i_t + 1.96 * se, np.nan),
                    "i_t_n": np.where(has_growth, 24, 4),
                    "i_t_source": _texts(has_growth, "theta"),
                    "i_t_reason": _texts(
                        ~has_growth, "fewer than 5 first attempts that count in the recent or the previous fortnight"
                    ),
                    "i_t_raw": np.where(has_growth, i_t, np.nan),
                    "i_t_se": np.where(has_growth, 0.3, np.nan),
                    "i_t_pr_positive": np.where(has_growth, ndtr(i_t / se), np.nan),
                    "i_t_m": np.where(has_growth, 0.0612, np.nan),
                    "i_t_tau": np.where(has_growth, 0.1234, np.nan),
                    "a_t": a_t,
                    "a_t_lower": np.maximum(0, a_t - 0.1),
                    "a_t_upper": np.minimum(1, a_t + 0.1),
                    "a_t_n": rng.integers(1, 20, size),
                    "a_t_source": "derived sessions",
                    "a_t_dropped": [["hints_per_attempt"]] * size,
                    "e_t": e_t,
                    "e_t_lower": e_t - 0.05,
                    "e_t_upper": e_t + 0.05,
                    "e_t_n": np.where(np.isnan(e_t), 3, 40),
                    "e_t_source": _texts(~np.isnan(e_t), "response times"),
                    "e_t_reason": _texts(
                        np.isnan(e_t),
                        "fewer than 15 timed correct first attempts that count "
                        "in the recent or the previous four weeks",
                    ),
                    "r_t": r_t,
                    "r_t_lower": np.maximum(0, r_t - 0.2),
                    "r_t_upper": np.minimum(1, r_t + 0.2),
                    "r_t_n": r_n,
                    "r_t_source": _texts(~np.isnan(r_t), "answers"),
                    "r_t_reason": _texts(
                        np.isnan(r_t), "fewer than 5 items answered wrong and tried again in a later session"
                    ),
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    frame["reconstructed"] = frame["week_start"] < starts[-1]
    db.replace(connection, "weekly_kpi", frame, **day)


def _texts(where: "np.ndarray[Any, Any]", text: str) -> list[str | None]:
    return [text if here else None for here in where]


def _write_topics(
    connection: psycopg.Connection[Any],
    day: dict[str, Any],
    users: "np.ndarray[Any, Any]",
    theta: "np.ndarray[Any, Any]",
    rng: np.random.Generator,
) -> None:
    topics = [f"topic-{number}" for number in range(5)]
    frame = pd.DataFrame({"user_id": np.repeat(users, 5), "topic_id": topics * len(users)})
    size = len(frame)
    frame = frame.assign(
        theta=np.repeat(theta, 5) + rng.normal(0, 0.3, size),
        se=rng.uniform(0.2, 0.5, size),
        n_responses=rng.integers(1, 30, size),
        prior_mean=0.0,
        prior_sd=1.0,
        tau=0.3,
        run_id="run-now",
    )
    db.replace(connection, "student_topic_theta", frame, **day)
    as_of = day["as_of"]
    quiet = np.arange(len(users)) % 10 == 3
    parts = []
    for back in range(28):
        present = (rng.random(len(users)) < 0.4) & ~(quiet & (back < 14))
        attempts = rng.integers(1, 12, len(users))
        parts.append(
            pd.DataFrame(
                {
                    "user_id": users,
                    "topic_id": f"topic-{back % 5}",
                    "date": as_of - timedelta(days=back),
                    "attempts": attempts,
                    "correct": rng.binomial(attempts, 0.6),
                    "first_attempts": 0,
                }
            )[present]
        )
    features = pd.concat(parts, ignore_index=True)
    db.replace(connection, "features_topic_daily", features.assign(reconstructed=features["date"] < as_of), **day)


def _write_segments(
    connection: psycopg.Connection[Any], day: dict[str, Any], users: "np.ndarray[Any, Any]", rng: np.random.Generator
) -> None:
    cluster = rng.choice(4, len(users), p=[0.4, 0.3, 0.25, 0.05])
    for back, run_id in ((7, "segments-before"), (0, "segments-now")):
        as_of = day["as_of"] - timedelta(days=back)
        drawn = cluster if back == 0 else np.where(rng.random(len(users)) < 0.3, 1, cluster)
        connection.execute(
            """
            insert into segment_meta (
                tenant_id, run_id, as_of, status, k, n_learners, silhouette, jaccard, jaccard_mean, features, centroids,
                labels
            )
            values (%s, %s, %s, 'success', 4, %s, 0.31, %s, 0.78, %s, %s, %s)
            """,
            (
                day["tenant_id"],
                run_id,
                as_of,
                len(users),
                Jsonb([0.91, 0.83, 0.77, 0.61]),
                Jsonb({"names": list(FEATURES), "centers": [0, 0.4, 0.05, 0.5], "scales": [0.1, 0.2, 0.1, 0.2]}),
                Jsonb([[0.1, 0.9, -0.2, 0.1], [1.2, 0.2, 0.6, 0.5], [-0.9, -0.6, -0.3, -1.1], [0.2, 0.1, 1.4, 0.7]]),
                Jsonb(list(LABELS)),
            ),
        )
        frame = pd.DataFrame(
            {
                "user_id": users,
                "week_start": as_of - timedelta(days=as_of.weekday()),
                "run_id": run_id,
                "label": np.array(LABELS, dtype=object)[drawn],
                "cluster": drawn,
                "membership": rng.uniform(0.4, 1, len(users)),
                "distance": rng.uniform(0, 2, len(users)),
            }
        )
        db.replace(connection, "user_segments", frame, tenant_id=day["tenant_id"], as_of=as_of)
