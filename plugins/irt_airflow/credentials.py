"""Credentials: from Airflow connections to the environment variables that jobs read.

- `seedtest_db` (postgres): DATABASE_URL. The host may be the folder of a Unix socket; extras such as `sslmode` stay.
- `report_store` (aws): REPORT_STORE_URL from the extra `url` (`s3://bucket/folder`), and the keys as AWS_*.
- `report_store` (generic): REPORT_STORE_URL from the extra `url` (any fsspec URL) and, where given, the extra
  `storage_options` as fsspec's own variable FSSPEC_<PROTOCOL>.
- `r_irt`, `r_glmm`, `r_forecast`, `r_brms` (http): R_<NAME>_URL from host, port and schema (http or https), and the
  password, the service's bearer token, as R_<NAME>_TOKEN. Where a service cannot be had, the extra `unavailable` says
  why, as R_<NAME>_UNAVAILABLE: the jobs that need it end as recorded skips with this reason.

They are looked up each time a task runs, so a rotated value reaches the next task.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

DATABASE = "seedtest_db"
REPORT_STORE = "report_store"
R_IRT = "r_irt"
R_GLMM = "r_glmm"
R_FORECAST = "r_forecast"
R_BRMS = "r_brms"

#: Extras of a postgres connection that address Airflow's hook, not the database server.
HOOK_EXTRAS = {
    "aws_conn_id",
    "azure_conn_id",
    "cluster-identifier",
    "cursor",
    "iam",
    "redshift",
    "redshift-serverless",
    "sqlalchemy_query",
    "sqlalchemy_scheme",
    "workgroup-name",
}
_CONDITIONAL = re.compile(
    r"\{\{ '(?P<id>\w+)' if params\.(?P<param>\w+) == '(?P<value>\w+)' else '' \}\}"  # what `connection_if` makes
)


def connection_if(connection_id: str, param: str, value: str) -> str:
    """Return the template of a connection that a task gets only where a Dag param has this value."""
    return f"{{{{ '{connection_id}' if params.{param} == '{value}' else '' }}}}"


def describe_connection(connection_id: str) -> str:
    """Return a connection's id in Markdown, with the condition where it is a template of `connection_if`."""
    conditional = _CONDITIONAL.fullmatch(connection_id)
    if conditional is None:
        return f"`{connection_id}`"
    return f"`{conditional['id']}` (with `{conditional['param']}` = `{conditional['value']}`)"


def credentials(connection_ids: Iterable[str]) -> dict[str, str]:
    """Return the environment variables that stand for the connections; an empty id is none.

    Raises:
        AirflowFailException: a connection is missing or incomplete; names it and what was expected.
    """
    environment: dict[str, str] = {}
    for connection_id in filter(None, connection_ids):
        environment |= _TRANSLATORS[connection_id](find_connection(connection_id))
    return environment


def find_connection(connection_id: str) -> Connection:
    """Return a connection.

    Raises:
        AirflowFailException: there is none of that name.
    """
    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"Airflow has no connection {connection_id!r}: add it to the connections file, or set "
            f"AIRFLOW_CONN_{connection_id.upper()}"
        ) from None


def database_url(connection: Connection) -> str:
    """Return the libpq URI of a postgres connection."""
    _expect_type(connection, "postgres")
    extras = {name: str(value) for name, value in connection.extra_dejson.items() if name not in HOOK_EXTRAS}
    host = connection.host or ""
    if host.startswith("/"):
        extras["host"], host = host, ""
    elif ":" in host:
        host = f"[{host}]"
    user = quote(connection.login or "", safe="")
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    at = "@" if user or password else ""
    port = f":{connection.port}" if connection.port else ""
    if port and not host:
        extras["port"], port = str(connection.port), ""
    query = f"?{urlencode(extras, quote_via=quote)}" if extras else ""
    return f"postgresql://{user}{password}{at}{host}{port}/{quote(connection.schema or '', safe='')}{query}"


def report_store(connection: Connection) -> dict[str, str]:
    """Return REPORT_STORE_URL and what fsspec needs to write there."""
    _expect_type(connection, "aws", "generic")
    extras = connection.extra_dejson
    url = extras.get("url")
    if not isinstance(url, str) or not urlsplit(url).scheme:
        raise AirflowFailException(
            f"connection {connection.conn_id!r}: its extra `url` is {url!r}; expected the folder for reports, such as "
            "s3://bucket/reports or file:///srv/reports"
        )
    environment = {"REPORT_STORE_URL": url}
    if connection.conn_type == "aws":
        keys = {
            "AWS_ACCESS_KEY_ID": connection.login,
            "AWS_SECRET_ACCESS_KEY": connection.password,
            "AWS_SESSION_TOKEN": extras.get("aws_session_token"),
            "AWS_DEFAULT_REGION": extras.get("region_name"),
            "AWS_ENDPOINT_URL": extras.get("endpoint_url"),
        }
        environment |= {name: value for name, value in keys.items() if value}
    elif options := extras.get("storage_options"):
        environment[f"FSSPEC_{urlsplit(url).scheme.upper()}"] = json.dumps(options)
    return environment


def r_service(connection: Connection) -> dict[str, str]:
    """Return R_<NAME>_URL and R_<NAME>_TOKEN of an R service, or R_<NAME>_UNAVAILABLE where the connection says why."""
    _expect_type(connection, "http")
    variable = str(connection.conn_id).upper()
    unavailable = connection.extra_dejson.get("unavailable")
    if unavailable is not None:
        if not isinstance(unavailable, str) or not unavailable.strip():
            raise AirflowFailException(
                f"connection {connection.conn_id!r}: its extra `unavailable` is {unavailable!r}; expected the reason "
                "why there is no such service"
            )
        return {f"{variable}_UNAVAILABLE": unavailable}
    address = http_address(
        connection,
        schema="http",
        expected="the address of the service as host, port and schema, and its token as password",
    )
    return {f"{variable}_URL": address, f"{variable}_TOKEN": str(connection.password)}


def http_address(connection: Connection, *, schema: str, expected: str) -> str:
    """Return the address that host, port and schema give, without what is secret.

    Args:
        connection: of type http, with a password.
        schema: where the connection says none.
        expected: what its parts have to be, for an error.

    Raises:
        AirflowFailException: the connection is of another type, or lacks a part.
    """
    _expect_type(connection, "http")
    host = (connection.host or "").rstrip("/")
    if not host or not connection.password:
        raise AirflowFailException(
            f"connection {connection.conn_id!r} has no {'password' if host else 'host'}; expected {expected}"
        )
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = connection.schema or schema, host
    name, slash, path = rest.partition("/")
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    port = f":{connection.port}" if connection.port else ""
    return f"{scheme}://{name}{port}{slash}{path}"


def _expect_type(connection: Connection, *types: str) -> None:
    if connection.conn_type not in types:
        raise AirflowFailException(
            f"connection {connection.conn_id!r} has the type {connection.conn_type!r}; expected {' or '.join(types)}"
        )


_TRANSLATORS = {
    DATABASE: lambda connection: {"DATABASE_URL": database_url(connection)},
    REPORT_STORE: report_store,
    R_IRT: r_service,
    R_GLMM: r_service,
    R_FORECAST: r_service,
    R_BRMS: r_service,
}
