"""A person's publishing decisions: publish a calibration that was refused, withdraw one, compare two."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import click
import numpy as np
import pandas as pd
import psycopg

from irt_analytics import code_version, db
from irt_analytics.cli import param_options, parse_params
from irt_analytics.errors import ConfigurationError, TemporaryError
from irt_analytics.irt.linking import Link
from irt_analytics.jobs import mirt_calibrate
from irt_analytics.jobs._publishing import State, objections
from irt_analytics.params import RunParams
from irt_analytics.runner import JobContext, JobRecord, configure_logging, locked
from irt_analytics.settings import Settings, load_settings

#: Params by which a calibration is refused.
THRESHOLDS = (
    "min_anchors",
    "min_anchor_share",
    "max_slope_change",
    "max_scale_shift",
    "max_item_shift",
    "max_fit_loss",
)
#: Calibrations that a message about an unknown one names, and items that a comparison shows.
SHOWN = 8


@dataclass(frozen=True)
class Decision:
    """What a person says about a calibration.

    Attributes:
        tenant: whose it is.
        reason: why.
        decided_by: who.
    """

    tenant: str
    reason: str
    decided_by: str

    def __post_init__(self) -> None:
        for name, value in (("--reason", self.reason), ("--by", self.decided_by)):
            if not value.strip():
                raise ConfigurationError(f"{name}={value!r}: expected words that somebody else understands in a year")


def publish(settings: Settings, run_id: str, decision: Decision, *, dry_run: bool = False) -> list[str]:
    """Publish a calibration as of its day, with the abilities that it gives, and tell what that changes.

    Raises:
        ConfigurationError: there is no such calibration, or it cannot be what everybody reads; says what is missing.
        TemporaryError: a calibration of the tenant is under way.
    """
    with _deciding(settings, decision.tenant, dry_run) as connection:
        runs = _runs(connection, decision.tenant)
        run = _find(runs, run_id, decision.tenant)
        _refuse_unpublishable(run, runs)
        day = {"tenant_id": decision.tenant, "as_of": run["as_of"]}
        standing = runs[runs["published"] & (runs["as_of"] == run["as_of"])]
        replaced = None if standing.empty else str(standing["run_id"].iloc[0])
        text = f"published by {decision.decided_by}: {decision.reason}"
        if replaced is not None:
            db.execute(
                connection, "publishing/withdraw", **day, run_id=replaced, reason=f"replaced by {run_id}, {text}"
            )
        db.execute(connection, "publishing/publish", **day, run_id=run_id, reason=text)
        abilities = _abilities(connection, settings, decision.tenant, run)
        n_abilities = db.replace(connection, "mirt_ability", abilities.assign(run_id=run_id), **day)
        _record(connection, decision, run, "publish", replaced)
        lines = [
            f"published: calibration {run_id} of {run['as_of']}, {run['n_bank']:,} items, {n_abilities:,} abilities",
            *([f"in place of {replaced} of the same day"] if replaced else []),
        ]
        return lines + _to_run_again(connection, decision.tenant, run["as_of"])


def roll_back(
    settings: Settings, decision: Decision, *, run_id: str | None = None, to: str | None = None, dry_run: bool = False
) -> list[str]:
    """Withdraw the newest published calibration, or all after one, so that the one before is read again.

    Args:
        settings: where the database is.
        decision: who decides, and why.
        run_id: the newest published calibration.
        to: the calibration that is to be the newest published one; this or `run_id`.
        dry_run: whether to leave all as it is.

    Raises:
        ConfigurationError: there is no such calibration, it is not published, others rest on it, or nothing would be
            left to read.
        TemporaryError: a calibration of the tenant is under way.
    """
    if (run_id is None) == (to is None):
        raise ConfigurationError("expected the calibration to withdraw, or --to the one to go back to, and not both")
    with _deciding(settings, decision.tenant, dry_run) as connection:
        runs = _runs(connection, decision.tenant)
        named = _find(runs, str(run_id or to), decision.tenant)
        published = runs[runs["published"]]
        if not named["published"]:
            raise ConfigurationError(
                f"calibration {named['run_id']} of {named['as_of']} is not published: {named['reason']}"
            )
        later = published[published["as_of"] > named["as_of"]]
        if to is not None:
            gone = later
            if gone.empty:
                raise ConfigurationError(f"--to={to}: it is the newest published calibration already")
        else:
            if len(later):
                raise ConfigurationError(
                    f"calibration {run_id} of {named['as_of']} is not the newest: {len(later)} later ones are "
                    f"published, the last {later['run_id'].iloc[0]} of {later['as_of'].iloc[0]}, and may rest on it; "
                    "withdraw them together by --to the calibration before it"
                )
            gone = published[published["run_id"] == run_id]
        left = published[~published["run_id"].isin(gone["run_id"])]
        if left.empty:
            raise ConfigurationError(
                f"calibration {run_id} is the only one published: without it theta would have no scale; run "
                f"mirt_calibrate --as-of {named['as_of']} with other params, or start a tenant of its own"
            )
        for run in gone.to_dict("records"):
            day = {"tenant_id": decision.tenant, "as_of": run["as_of"], "run_id": run["run_id"]}
            text = f"withdrawn by {decision.decided_by}: {decision.reason}"
            db.execute(connection, "publishing/withdraw", **day, reason=text)
            db.execute(connection, "publishing/forget_abilities", **day)
            _record(connection, decision, run, "withdraw", None)
        now = left.iloc[0]
        lines = [
            f"withdrawn: calibration {run} of {day}" for run, day in zip(gone["run_id"], gone["as_of"], strict=True)
        ]
        lines.append(f"everybody reads calibration {now['run_id']} of {now['as_of']} again, {now['n_bank']:,} items")
        return lines + _to_run_again(connection, decision.tenant, gone["as_of"].min())


def compare(settings: Settings, tenant: str, run_id: str, other: str | None, params: RunParams) -> str:
    """What tells a calibration from another (default: the one that was published before its day), as text.

    `params` has the thresholds.

    Raises:
        ConfigurationError: there is no such calibration, or its items are not kept.
    """
    with reading(settings) as connection:
        runs = _runs(connection, tenant)
        run = _find(runs, run_id, tenant)
        if other is None:
            earlier = runs[runs["published"] & (runs["as_of"] < run["as_of"])]
            if earlier.empty:
                raise ConfigurationError(
                    f"nothing is published before calibration {run_id}: name one to compare it with"
                )
            other = str(earlier["run_id"].iloc[0])
        before = _find(runs, other, tenant)
        banks = []
        for each in (run, before):
            _refuse_without_items(each)
            banks.append(_bank(connection, tenant, each))
    return "\n".join(_describe(run, before, banks[0], banks[1], params))


@contextmanager
def _deciding(settings: Settings, tenant: str, dry_run: bool) -> Iterator[psycopg.Connection[Any]]:
    """A transaction, committed at the end, while no calibration of the tenant runs."""
    with reading(settings) as connection:
        lock = db.connect(settings, autocommit=True)
        with lock, locked(lock, mirt_calibrate.JOB, tenant, date.min):
            yield connection
            if dry_run:
                connection.rollback()
            else:
                db.analyze_written(connection)
                connection.commit()


@contextmanager
def reading(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    try:
        with db.connect(settings) as connection:
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise ConfigurationError(
            "the database has not the schema of this version: run `python -m irt_analytics prepare_schema` first"
        ) from None
    except db.TEMPORARY as error:
        raise TemporaryError(f"database: {error}") from None


def _bank(connection: psycopg.Connection[Any], tenant: str, run: dict[str, Any]) -> pd.DataFrame:
    bank = db.read_frame(connection, "publishing/bank", tenant_id=tenant, run_id=run["run_id"])
    numbers = ["a", "b", "c", "se_a", "se_b", "drift_p_value"]
    return bank.astype({"item_id": "str", "status": "str"} | dict.fromkeys(numbers, np.float64))


def _runs(connection: psycopg.Connection[Any], tenant: str) -> pd.DataFrame:
    return db.read_frame(connection, "publishing/runs", tenant_id=tenant)


def _find(runs: pd.DataFrame, run_id: str, tenant: str) -> dict[str, Any]:
    found = runs[runs["run_id"] == run_id]
    if found.empty:
        states = ("published" if published else "not published" for published in runs["published"].head(SHOWN))
        known = [
            f"{run} of {day}, {state}"
            for run, day, state in zip(runs["run_id"].head(SHOWN), runs["as_of"].head(SHOWN), states, strict=True)
        ]
        raise ConfigurationError(
            f"tenant {tenant!r} has no calibration {run_id!r}; the newest are: {'; '.join(known) or 'none'}"
        )
    return {str(name): None if value is pd.NA else value for name, value in found.iloc[0].items()}


def _refuse_without_items(run: dict[str, Any]) -> None:
    if not run["converged"]:
        raise ConfigurationError(
            f"calibration {run['run_id']} of {run['as_of']} did not converge in {run['iterations']:,} iterations, so "
            "its numbers are those of an arbitrary moment: calibrate the day with priors=weak, another model or a "
            "longer window"
        )
    if not run["n_bank"]:
        raise ConfigurationError(
            f"calibration {run['run_id']} of {run['as_of']} has no items on the published scale ({run['reason']}): "
            "calibrate the day again, after what the reason names is mended"
        )


def _refuse_unpublishable(run: dict[str, Any], runs: pd.DataFrame) -> None:
    run_id, as_of = run["run_id"], run["as_of"]
    if run["published"]:
        raise ConfigurationError(f"calibration {run_id} of {as_of} is published already")
    _refuse_without_items(run)
    published = runs[runs["published"]]
    later = published[published["as_of"] > as_of]
    if len(later):
        raise ConfigurationError(
            f"calibration {run_id} is of {as_of}, and {len(later)} of later days are published, the last "
            f"{later['run_id'].iloc[0]} of {later['as_of'].iloc[0]}: they do not rest on it; roll back --to a "
            f"calibration before {as_of} first"
        )
    before = published.loc[published["as_of"] < as_of, "run_id"].head(1).tolist()
    if before != [run["reference_run_id"]] and (before or run["reference_run_id"] is not None):
        raise ConfigurationError(
            f"calibration {run_id} of {as_of} was linked while {run['reference_run_id']} was published, now it is "
            f"{before[0] if before else 'none'}: run mirt_calibrate --as-of {as_of} again, and publish what it leaves"
        )


def _abilities(
    connection: psycopg.Connection[Any], settings: Settings, tenant: str, run: dict[str, Any]
) -> pd.DataFrame:
    """What the job gives learners where it publishes, from the answers of the window as they are now."""
    fields = RunParams.model_fields.keys()
    params = RunParams(**{name: value for name, value in run["parameters"].items() if name in fields})
    context = JobContext(tenant, run["as_of"], params, settings, connection, JobRecord(), None)
    responses = mirt_calibrate.load_answers(context, run["window_start"])
    bank = _bank(connection, tenant, run)
    return mirt_calibrate.estimate_day(responses, bank, float(run["latent_mean"]), float(run["latent_sd"]))


def _record(
    connection: psycopg.Connection[Any], decision: Decision, run: dict[str, Any], kind: str, replaced: str | None
) -> None:
    db.execute(
        connection,
        "publishing/decide",
        tenant_id=decision.tenant,
        run_id=run["run_id"],
        as_of=run["as_of"],
        decision=kind,
        replaced_run_id=replaced,
        reason=decision.reason,
        decided_by=decision.decided_by,
        code_version=code_version(),
    )


def _to_run_again(connection: psycopg.Connection[Any], tenant: str, since: date) -> list[str]:
    days = db.read_frame(connection, "publishing/days_computed", tenant_id=tenant, since=since)["as_of"].tolist()
    if not days:
        return []
    return [
        f"KPIs of {len(days)} days rest on what was published until now: run features_backfill and all after it again "
        f"for {', '.join(map(str, days[:SHOWN]))}{' ...' if len(days) > SHOWN else ''}"
    ]


def _describe(
    run: dict[str, Any], before: dict[str, Any], bank: pd.DataFrame, bank_before: pd.DataFrame, params: RunParams
) -> list[str]:
    lines = [_summary(run, before).to_string(), ""]
    both = bank.merge(bank_before, on="item_id", suffixes=("", "_before"))
    new, gone = (
        left.loc[~left["item_id"].isin(right["item_id"]), "item_id"].tolist()
        for left, right in ((bank, bank_before), (bank_before, bank))
    )
    shift = pd.DataFrame({"item_id": both["item_id"]})
    for name in ("b", "a"):
        shift[[f"{name} before", f"{name} now"]] = both[[f"{name}_before", name]].to_numpy()
        shift[f"shift of {name}"] = both[name] - both[f"{name}_before"]
        squares = both[[f"se_{name}", f"se_{name}_before"]].astype(np.float64) ** 2
        shift[f"error of {name}"] = np.sqrt(squares.sum(axis=1, skipna=False))
    order = shift["shift of b"].abs().sort_values(ascending=False, kind="stable").index[:SHOWN]
    lines += [
        f"{len(both):,} items in common; those whose b moved most (errors as of independent answers):",
        shift.loc[order].to_string(index=False, float_format="{:.3f}".format),
        "",
        *(f"{len(ids):,} items {which}: {_some(ids)}" for which, ids in (("new", new), ("gone", gone)) if ids),
        *_judge(run, before, bank, bank_before, params),
    ]
    return lines


def _summary(run: dict[str, Any], before: dict[str, Any]) -> pd.DataFrame:
    """A column a calibration."""
    columns = {}
    for each in (run, before):
        link = each["linking_constants"] or {}
        known = {
            "day": str(each["as_of"]),
            "published": "yes" if each["published"] else "no",
            "model": f"{each['model']}, {each['engine']}",
            "learners": f"{each['n_persons']:,}",
            "answers": f"{each['n_responses']:,}",
            "items of the bank": f"{each['n_bank']:,}",
            "A (error)": _with_error(link, "A"),
            "B (error)": _with_error(link, "B"),
            "anchors in the link": str(link.get("n_anchors_used", "")),
            "anchors dropped": str(len(link.get("dropped", {}))),
            "mean of theta": f"{each['latent_mean']:.3f}",
            "sd of theta": f"{each['latent_sd']:.3f}",
            "log-likelihood per answer": _per_answer(each),
        }
        columns[each["run_id"]] = known
    return pd.DataFrame(columns)


def _with_error(link: dict[str, Any], name: str) -> str:
    if name not in link:
        return ""
    error = link[f"se_{name}"]
    return f"{link[name]:.3f} ({'unknown' if error is None else f'{error:.3f}'})"


def _per_answer(run: dict[str, Any]) -> str:
    if run["log_likelihood"] is None or not run["n_responses"]:
        return ""
    return f"{run['log_likelihood'] / run['n_responses']:.4f}"


def _judge(
    run: dict[str, Any], before: dict[str, Any], bank: pd.DataFrame, bank_before: pd.DataFrame, params: RunParams
) -> list[str]:
    """What the thresholds say."""
    constants = run["linking_constants"]
    if not constants or constants["method"] == "none":
        return ["it was not linked: it set the scale"]
    link = Link(
        A=constants["A"],
        B=constants["B"],
        se_A=np.nan if constants["se_A"] is None else constants["se_A"],
        se_B=np.nan if constants["se_B"] is None else constants["se_B"],
        cov_AB=np.nan,
        method=constants["method"],
        symmetric=constants["symmetric"],
        n_anchors_used=constants["n_anchors_used"],
        anchors=(),
        dropped=constants["dropped"],
    )
    states = [
        State(
            items,
            float(each["latent_mean"]),
            float(each["latent_sd"]),
            each["log_likelihood"],
            int(each["n_responses"]),
            str(each["model"]),
        )
        for each, items in ((run, bank), (before, bank_before))
    ]
    anchors = set(bank.loc[bank["drift_p_value"].notna(), "item_id"]) | set(constants["dropped"])
    found = objections(link, len(anchors), states[0], states[1], params)
    lines = ["thresholds: " + ", ".join(f"{name} = {getattr(params, name):g}" for name in THRESHOLDS)]
    return lines + ([f"objects: {text}" for text in found] or ["no threshold objects"])


def _some(ids: list[str]) -> str:
    return ", ".join(map(repr, ids[:SHOWN])) + (", ..." if len(ids) > SHOWN else "")


def _who(given: str | None) -> str:
    """The name given, or the user of the operating system."""
    if given is not None:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a pod's user has a number and no name
        raise ConfigurationError("this user has no name here: say who decides, --by NAME") from None


_TENANT = click.option("--tenant", default="default", show_default=True, help="whose calibration")
_REASON = click.option("--reason", required=True, metavar="TEXT", help="why; kept with the decision")
_BY = click.option("--by", default=None, metavar="NAME", help="who decides  [default: user of the operating system]")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="do all but the commit and print what it would change")


def _say(lines: list[str], dry_run: bool) -> None:
    for line in lines:
        click.echo(f"would be {line}" if dry_run and line.startswith(("published", "withdrawn")) else line)


@click.command("publish")
@click.argument("run_id")
@_REASON
@_BY
@_TENANT
@_DRY_RUN
def publish_command(run_id: str, reason: str, by: str | None, tenant: str, dry_run: bool) -> None:
    """Publish the calibration RUN_ID, which the daily job refused, as of its day.

    From then on people alone publish calibrations of that day. Learners get the abilities that it gives.
    """
    configure_logging()
    decision = Decision(tenant, reason, _who(by))
    _say(publish(load_settings(), run_id, decision, dry_run=dry_run), dry_run)


@click.command("rollback")
@click.argument("run_id", required=False)
@click.option("--to", metavar="RUN_ID", default=None, help="withdraw every calibration after this one")
@_REASON
@_BY
@_TENANT
@_DRY_RUN
def rollback_command(
    run_id: str | None, to: str | None, reason: str, by: str | None, tenant: str, dry_run: bool
) -> None:
    """Withdraw the newest published calibration RUN_ID, so that everybody reads the one before again."""
    configure_logging()
    decision = Decision(tenant, reason, _who(by))
    _say(roll_back(load_settings(), decision, run_id=run_id, to=to, dry_run=dry_run), dry_run)


@click.command("diff")
@click.argument("run_id")
@click.argument("other", required=False, metavar="[RUN_ID]")
@_TENANT
def diff_command(run_id: str, other: str | None, tenant: str, **thresholds: str | None) -> None:
    """Compare a calibration with another: by default the one that was published before its day."""
    click.echo(compare(load_settings(), tenant, run_id, other, parse_params(thresholds)))


diff_command.params.extend(param_options(THRESHOLDS))
