"""Buttons of a task in Airflow's UI."""

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.types import TaskInstanceKey

from irt_airflow.credentials import DATABASE, REPORT_STORE, find_connection

if TYPE_CHECKING:
    from irt_airflow.pipeline_pod import PipelinePodOperator

REPORT_OF_DAY = """
    select url
    from report_artifacts
    where tenant_id = %(tenant)s and as_of = %(as_of)s and scope = 'cohort' and format = 'html'
    order by job_run_id desc
    limit 1
"""


class OpenReportLink(BaseOperatorLink):
    """The cohort report that the task registered, as an address that a browser can open."""

    name = "Open report"

    def get_link(self, operator: "BaseOperator | PipelinePodOperator", *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the report's address, empty where the task made none.

        The task runner asks once, when the task has ended, and keeps the answer for the UI.
        """
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        from irt_airflow.pipeline_pod import PipelinePodOperator

        if not isinstance(operator, PipelinePodOperator) or not operator.done:
            return ""
        parameters = {"tenant": operator.tenant, "as_of": operator.as_of}
        row = PostgresHook(postgres_conn_id=DATABASE).get_first(REPORT_OF_DAY, parameters=parameters)
        return browser_address(row[0], find_connection(REPORT_STORE).extra_dejson.get("endpoint_url")) if row else ""


def browser_address(url: str, endpoint_url: str | None = None) -> str:
    """Translate an fsspec URL to one that a browser opens, with the reader's own login where the store needs one."""
    parts = urlsplit(url)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    match parts.scheme:
        case "s3" if endpoint_url:
            return f"{endpoint_url.rstrip('/')}/{bucket}/{quote(key)}"
        case "s3":
            return f"https://console.aws.amazon.com/s3/object/{bucket}?prefix={quote(key, safe='')}"
        case "gs" | "gcs":
            return f"https://storage.cloud.google.com/{bucket}/{quote(key)}"
        case _:
            return url
