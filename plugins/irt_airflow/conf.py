"""The configuration a person gives a run."""

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from irt_airflow.days import as_of, last_complete_day


def refuse_bad_conf(context: Context) -> None:
    """Refuse a run that cannot mean what its configuration says; the Dag's first task calls it.

    Raises:
        AirflowFailException: a key is no param, or the day was not over when the run was due.
    """
    refuse_unknown_conf(context)
    refuse_incomplete_day(context)


def refuse_unknown_conf(context: Context) -> None:
    """Refuse a run whose configuration has a key that is not a param: most likely a typing error, silently ignored.

    Raises:
        AirflowFailException: names the keys and the params there are.
    """
    known = set(context["dag"].params)
    unknown = sorted(set(context["dag_run"].conf or {}) - known)
    if unknown:
        raise AirflowFailException(
            f"the run's configuration has {', '.join(map(repr, unknown))}; expected only {', '.join(sorted(known))}"
        )


def refuse_incomplete_day(context: Context) -> None:
    """Refuse a day that was not over when the run was due: its results would lack the answers still to come.

    Raises:
        AirflowFailException: names the day and the last one that the run could have.
    """
    dag_run = context["dag_run"]
    day, last = as_of(context["params"], dag_run), last_complete_day(dag_run.run_after)
    if day > last:  # ISO dates sort as days do
        raise AirflowFailException(
            f"as_of={day} was not over when this run was due ({dag_run.run_after.isoformat(timespec='minutes')}); "
            f"expected a day up to {last}"
        )
