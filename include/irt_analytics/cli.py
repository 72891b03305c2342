"""The command line: one command a job, and what a person needs beside them."""

import importlib
import sys
import types
import typing
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Literal

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from irt_analytics import __version__
from irt_analytics.errors import ConfigurationError, PipelineError
from irt_analytics.params import RunParams

#: Commands and the modules that define them, imported only when called: `--help` and a pod's start stay fast.
JOBS = {
    "prepare_schema": "Bring the database to the newest schema and define the attempt view.",
    "mirt_calibrate": "Calibrate the items, link them to the published scale, estimate abilities.",
    "features_backfill": "Weekly and per-topic theta, and daily features by topic.",
    "compute_daily_kpis": "I_t, A_t, E_t and R_t of every active learner.",
    "fit_glmm": "Growth of learners and difficulty of topics, by a mixed model of the answers (R lme4).",
    "fit_survival_churn": "S, the risk that a learner does not come back within 14 days (R survival).",
    "forecast_prophet": "The cohort's theta and growth four weeks ahead, and its odd weeks (R prophet).",
    "fit_bayesian_growth": "P and sigma, how surely learners reach their goals or grow at all (R brms).",
    "cluster_segments": "Group learners into stable, named segments.",
    "generate_weekly_report": "Render the report and put it into the store.",
}
#: Jobs that processes may work on together, each on some learners.
SHARDED = {"features_backfill", "compute_daily_kpis"}
#: `module` or `module:name of the command`, and what it does.
TOOLS = {
    "publish": ("irt_analytics.jobs._by_hand:publish_command", "Publish a calibration that the daily job refused."),
    "rollback": ("irt_analytics.jobs._by_hand:rollback_command", "Withdraw a published calibration."),
    "diff": ("irt_analytics.jobs._by_hand:diff_command", "Compare two calibrations, and what the thresholds say."),
    "ability": ("irt_analytics.jobs._online", "Update the ability of one learner by answers newer than the log."),
    "load": ("irt_analytics.ingest", "Load an answer log (CSV, CSV.gz, Parquet) into attempt_log."),
    "verify": ("irt_analytics.verify", "Check what a run wrote: ranges, references, sums that must agree."),
    "parity": ("irt_analytics.jobs._parity", "Compare the native calibration with R mirt's on a day's answers."),
    "simulate": ("irt_analytics.simulate", "Write a simulated cohort with known truth into the database."),
    "demo": ("irt_analytics.demo", "Run the whole daily Dag on an embedded database; the Makefile's commands."),
    "deploy": ("irt_analytics.deploy", "Images, and the product on a Kubernetes cluster; the Makefile's commands."),
}


class _Commands(click.Group):
    """Commands whose modules are imported when they are called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return [*JOBS, *TOOLS]

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name in JOBS:
            return _job_command(name)
        if name in TOOLS:
            module, summary = TOOLS[name]
            return _LazyCommand(name, module, summary)
        return None


class _LazyCommand(click.Command):
    """Stands for the click command of a module, `command` unless named, until it is called."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary, add_help_option=False, context_settings={"ignore_unknown_options": True})
        self._module = module

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        module, _, name = self._module.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name or "command")
        return command.make_context(info_name, args, parent, **extra)


def _flag_type(info: FieldInfo) -> tuple[click.ParamType[Any], str]:
    """The click type of a RunParams field and the text of its default."""
    annotation: Any = info.annotation
    if isinstance(annotation, types.UnionType):
        annotation = next(arm for arm in typing.get_args(annotation) if arm is not type(None))
    default = "by model" if info.default is None else str(info.default)
    if typing.get_origin(annotation) is Literal:
        return click.Choice([*typing.get_args(annotation), ""]), default
    return click.STRING, default  # RunParams parses numbers, so that an empty text may mean "not set"


def _metavar(info: FieldInfo) -> str:
    return "NUMBER" if info.annotation is float else "INTEGER"


def param_options(names: Iterable[str] = RunParams.model_fields) -> list[click.Option]:
    """Flags of the fields of RunParams, whose texts `parse_params` reads."""
    options = []
    for name in names:
        info = RunParams.model_fields[name]
        flag_type, default = _flag_type(info)
        options.append(
            click.Option(
                ["--" + name.replace("_", "-"), name],
                type=flag_type,
                metavar=None if isinstance(flag_type, click.Choice) else _metavar(info),
                default=None,
                help=f"{info.description}  [default: {default}]",
            )
        )
    return options


def parse_params(values: dict[str, str | None]) -> RunParams:
    """Make RunParams of flag texts; None or an empty text means the default.

    Raises:
        ConfigurationError: names each flag, its value and what was expected.
    """
    given = {name: value for name, value in values.items() if value not in (None, "")}
    try:
        return RunParams.model_validate(given)
    except ValidationError as error:
        lines = [
            f"--{str(problem['loc'][0]).replace('_', '-')}={problem['input']!r}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise ConfigurationError("; ".join(lines)) from None


def parse_day(text: str) -> date:
    """Parse an ISO calendar day.

    Raises:
        ConfigurationError: the text is not a day such as 2026-01-31.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise ConfigurationError(f"--as-of={text!r}: expected a day such as 2026-01-31") from None


def _job_command(name: str) -> click.Command:
    def call(as_of: str, tenant: str, dry_run: bool, shard: str | None = None, **flags: str | None) -> None:
        from irt_analytics.runner import Job, Shard, configure_logging, run_job
        from irt_analytics.settings import load_settings

        configure_logging()
        day, params, settings = parse_day(as_of), parse_params(flags), load_settings()
        job: Job = importlib.import_module(f"irt_analytics.jobs.{name}").JOB
        own = Shard.parse(shard) if shard else None
        if own is not None and own.of != params.shards:
            raise ConfigurationError(
                f"--shard={shard} with --shards={params.shards}: expected the same number, "
                "for the job takes what so many left"
            )
        sys.exit(run_job(job, tenant=tenant, as_of=day, params=params, settings=settings, dry_run=dry_run, shard=own))

    options: list[click.Parameter] = [
        click.Option(["--as-of"], required=True, metavar="YYYY-MM-DD", help="last complete UTC day the run looks at"),
        click.Option(["--tenant"], default="default", show_default=True, help="whose answers"),
        click.Option(["--dry-run"], is_flag=True, help="do all but the commit and print what it would write"),
        *param_options(),
    ]
    if name in SHARDED:
        text = "work on the second of four shards of the learners, and leave the result for the run without --shard"
        options.append(click.Option(["--shard"], default=None, metavar="2/4", help=text))
    return click.Command(name, callback=call, params=options, help=JOBS[name], short_help=JOBS[name])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def _group() -> None:
    """From an answer log to calibrated IRT, learner KPIs and a weekly report."""


def main() -> None:
    """Run the command line; every end has the exit code the operator documents."""
    try:
        _group.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(ConfigurationError.exit_code)
    except PipelineError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
