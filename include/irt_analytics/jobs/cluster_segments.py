"""Groups of learners with like habits and results, named, and the same from one week to the next."""

from datetime import date, timedelta
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irt_analytics import db
from irt_analytics.errors import Skip
from irt_analytics.jobs import _segments as segments
from irt_analytics.jobs._kpis import median_relative_time
from irt_analytics.jobs._results import no_rows, parameters, replace_day, run_id
from irt_analytics.jobs._segments import Candidate, Scaling
from irt_analytics.jobs._windows import Answers, Sessions, read_bank, reading_answers, set_planner, write_sessions
from irt_analytics.runner import Job, JobContext

#: Answers and sessions within the window that say enough of a learner's habits.
ANSWERS_NEEDED = 20
SESSIONS_NEEDED = 3
#: Timed first attempts that a learner's relative time needs.
TIMED_ANSWERS_NEEDED = 10

#: Params that its numbers depend on.
PARAMETERS = ("segment_weeks", "invalid_answers")


def run(context: JobContext) -> None:
    """Write segment_meta and user_segments of the day.

    Raises:
        Skip: too few learners, or no number of clusters is stable; segment_meta says why.
    """
    learners = _load(context)
    scaling = Scaling.of(learners) if len(learners) else None
    meta: dict[str, Any] = {
        "run_id": run_id(context, parameters(context, PARAMETERS), learners.to_csv(index=False).encode()),
        "n_learners": len(learners),
        "features": _describe(scaling) if scaling else {},
        "parameters": parameters(context, PARAMETERS),
    }
    if len(learners) < segments.MIN_LEARNERS or scaling is None or len(scaling.names) < 2:
        _skip(
            context,
            meta,
            f"{len(learners)} learners with {ANSWERS_NEEDED} answers in {SESSIONS_NEEDED} sessions within "
            f"{context.params.segment_weeks} weeks; segments need {segments.MIN_LEARNERS}",
        )
    scaled = scaling.apply(learners)
    complete = ~np.isnan(scaled).any(axis=1)
    if complete.sum() < segments.MIN_LEARNERS:
        _skip(
            context,
            meta,
            f"{complete.sum()} learners with all of the features used; segments need {segments.MIN_LEARNERS}",
        )
    found = segments.candidates(scaled[complete], scaling.names)
    chosen = segments.choose(found)
    if chosen is None:
        best = max(found, key=lambda each: each.jaccard.mean())
        meta |= {"jaccard": best.jaccard.tolist(), "jaccard_mean": best.jaccard.mean(), "k": len(best.sizes)}
        _skip(context, meta, f"no stable segments: with {len(best.sizes)} clusters {best.flaw}")
    _save(context, meta, learners, scaling, scaled, chosen)


def _load(context: JobContext) -> pd.DataFrame:
    """Read habits and mean KPIs of every learner who was active lately and answered enough."""
    first_day = context.as_of - timedelta(days=7 * context.params.segment_weeks - 1)
    _prepare(context, first_day)
    learners = db.read_frame(
        context.connection,
        "segments/learners",
        tenant_id=context.tenant,
        as_of=context.as_of,
        first_day=first_day,
    )
    enough = (learners["answers"] >= ANSWERS_NEEDED) & (learners["sessions"] >= SESSIONS_NEEDED)
    context.record.read("learners", len(learners))
    context.record.exclude(
        "learners with too few answers",
        int((~enough).sum()),
        f"fewer than {ANSWERS_NEEDED} answers or {SESSIONS_NEEDED} sessions since {first_day}",
    )
    return learners[enough].reset_index(drop=True)


def _prepare(context: JobContext, first_day: date) -> None:
    """Make kpi_learner, kpi_session_day and segment_speed."""
    connection = context.connection
    set_planner(context)
    for statement in ("kpis/create_learner", "kpis/create_session_day", "segments/create_speed"):
        db.execute(connection, statement)
    learners = 0
    with (
        reading_answers(context, first_day, read_bank(context), _sessions_and_speed) as shards,
        db.writing(connection) as write,
    ):
        for sessions, (n, median) in shards:
            write_sessions(write, sessions, learners)
            (enough,) = np.nonzero(n >= TIMED_ANSWERS_NEEDED)
            speed = pd.DataFrame({"learner": enough + learners + 1, "relative_time": median[enough]})
            write("segment_speed", speed)
            learners += len(n)
    connection.execute("analyze kpi_learner, kpi_session_day, segment_speed")


def _sessions_and_speed(answers: Answers) -> tuple[Sessions, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    return Sessions.of(answers), median_relative_time(answers)


def _describe(scaling: Scaling) -> dict[str, Any]:
    logged = segments.LOGGED | segments.LOGGED_FROM_ONE
    return {
        "names": list(scaling.names),
        "logged": [name for name in scaling.names if name in logged],
        "centers": scaling.centers.tolist(),
        "scales": scaling.scales.tolist(),
        "left_out": dict(scaling.left_out),
    }


def _skip(context: JobContext, meta: dict[str, Any], reason: str) -> NoReturn:
    """Record that the day has no segments, and take away what an earlier try left."""
    replace_day(context, "segment_meta", pd.DataFrame([meta | {"status": "skipped", "reason": reason}]))
    replace_day(context, "user_segments", no_rows())
    raise Skip(reason, keep_writes=True)


def _save(
    context: JobContext,
    meta: dict[str, Any],
    learners: pd.DataFrame,
    scaling: Scaling,
    scaled: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    chosen: Candidate,
) -> None:
    last = db.read_frame(context.connection, "segments/last_run", tenant_id=context.tenant, as_of=context.as_of)
    continued: dict[int, str] = {}
    if len(last):
        before = last.iloc[0]
        last_scaling = Scaling(
            tuple(before["features"]["names"]),
            np.array(before["features"]["centers"]),
            np.array(before["features"]["scales"]),
            before["features"]["left_out"],
        )
        pairs = segments.match(chosen.centroids, scaling, np.array(before["centroids"]), last_scaling)
        continued = {cluster: before["labels"][old] for cluster, old in pairs.items()}
    labels = segments.relabel(chosen, scaling.names, continued)
    order = sorted(range(len(labels)), key=lambda cluster: list(segments.LABELS).index(labels[cluster]))
    centroids = chosen.centroids[order]
    known = ~np.isnan(scaled)
    placeable = known.mean(axis=1) >= 0.5
    meta |= {
        "status": "success",
        "n_learners": int(placeable.sum()),
        "k": len(order),
        "silhouette": chosen.silhouette,
        "jaccard": chosen.jaccard[order].tolist(),
        "jaccard_mean": chosen.jaccard.mean(),
        "centroids": centroids.tolist(),
        "labels": [labels[cluster] for cluster in order],
        "matched_to_run_id": last["run_id"].iloc[0] if continued else None,
    }

    context.record.exclude("learners without half of the features", int((~placeable).sum()), "in no segment")
    context.record.exclude(
        "learners without all of the features",
        int((placeable & ~known.all(axis=1)).sum()),
        "no part in finding the segments; placed by the features they have",
    )
    placed = segments.place(scaled[placeable], centroids)
    placed["label"] = np.array(meta["labels"])[placed["cluster"]]
    placed["user_id"] = learners["user_id"][placeable].to_numpy()
    week_start = context.as_of - timedelta(days=context.as_of.weekday())
    replace_day(context, "segment_meta", pd.DataFrame([meta]))
    replace_day(context, "user_segments", placed.assign(run_id=meta["run_id"], week_start=week_start))


JOB = Job(name="cluster_segments", run=run)
