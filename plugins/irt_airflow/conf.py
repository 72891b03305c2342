"""The configuration a person gives a run."""

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException


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
