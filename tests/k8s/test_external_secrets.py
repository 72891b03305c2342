"""A credential from a store to a green task of the installed product, by the real controller; its store is `fake`.

The installation began with Secrets made by hand: this is the way of docs/kubernetes.md from one to the other, and back.
"""

import json
import subprocess
from collections.abc import Callable, Iterator

import psycopg
import pytest
import yaml
from psycopg import sql
from tests.airflow_home import ROOT
from tests.charts import CREDENTIALS
from tests.k8s.conftest import CLUSTER
from tests.k8s.installation import await_state, await_true, clear, log, pods_of, tasks

from irt_analytics.deploy.cluster import forwarded, kubectl, random_token, read_secret
from irt_analytics.deploy.releases import AIRFLOW_NAMESPACE, helm
from irt_analytics.deploy.run import Run
from irt_analytics.deploy.trial import TOKEN_SECRETS, connections_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

#: What the store calls a service's token.
REMOTE = {"irt": "r-irt-plumber-token"} | {f: f"r-{f}-internal-token" for f in ("glmm", "forecast", "brms")}
DATABASE = "seedtest-database-url"
REPORT_STORE = "report-store"
Hold = Callable[[dict[str, str]], None]


def secret(name: str) -> dict[str, str]:
    found = read_secret(name, AIRFLOW_NAMESPACE)
    assert found is not None, name
    return found


@pytest.fixture(scope="module")
def in_use(day: Run) -> dict[str, str]:  # noqa: ARG001 - the installation, and a day whose tasks can run again
    """The values of the Secrets made by hand, as the store is to call them."""
    connections = json.loads(secret("airflow-connections")["connections.json"])
    found = {
        DATABASE: secret(TOKEN_SECRETS["irt"])["DATABASE_URL"],
        REPORT_STORE: json.dumps(connections["report_store"]),
    }
    return found | {REMOTE[service]: secret(name)["token"] for service, name in TOKEN_SECRETS.items()}


@pytest.fixture(scope="module")
def hold(in_use: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hold]:
    """Install the credentials' release with a store that holds these values; called again, the store has changed."""
    subprocess.run([CLUSTER, "external-secrets"], check=True, capture_output=True, text=True)
    values = tmp_path_factory.mktemp("store") / "values.yaml"

    def held(secrets: dict[str, str]) -> None:
        provider = {"fake": {"data": [{"key": key, "value": value} for key, value in secrets.items()]}}
        mine = {"provider": provider, "refreshInterval": "2s", "remote": {"reportStore": REPORT_STORE}}
        values.write_text(yaml.safe_dump(mine))
        helm("upgrade", "--install", *CREDENTIALS.arguments(ROOT), "-f", str(values))

    before = {name: secret(name) for name in (*TOKEN_SECRETS.values(), "airflow-connections")}
    held(in_use)
    yield held
    held(in_use)
    for name in before:
        await_true(f"{name} as it was", lambda name=name: same(secret(name), before[name]), seconds=60)  # type: ignore[misc]
    kubectl("delete", "externalsecret", "--all", "-n", AIRFLOW_NAMESPACE, "--cascade=orphan")
    helm("uninstall", CREDENTIALS.name, "-n", AIRFLOW_NAMESPACE)
    assert {name: same(secret(name), values) for name, values in before.items()} == dict.fromkeys(before, True)


def same(found: dict[str, str], wanted: dict[str, str]) -> bool:
    """Whether two Secrets say the same, whatever the order and the shape of the connections' JSON."""

    def meaning(values: dict[str, str]) -> dict[str, object]:
        return {key: json.loads(value) if key.endswith(".json") else value for key, value in values.items()}

    return meaning(found) == meaning(wanted)


def is_owned(name: str) -> bool:
    path = "{.metadata.ownerReferences[0].kind}"
    return kubectl("get", "secret", name, "-n", AIRFLOW_NAMESPACE, "-o", f"jsonpath={path}") == "ExternalSecret"


def test_the_store_takes_over_the_secrets_and_tasks_go_on(day: Run, hold: Hold, in_use: dict[str, str]) -> None:  # noqa: ARG001
    for name in (*TOKEN_SECRETS.values(), "airflow-connections"):
        await_true(f"{name} belongs to the store", lambda name=name: is_owned(name), seconds=60)  # type: ignore[misc]
    assert secret(TOKEN_SECRETS["irt"]) == {"DATABASE_URL": in_use[DATABASE], "token": in_use[REMOTE["irt"]]}
    names = {"seedtest_db", "report_store", "r_irt", "r_glmm", "r_forecast", "r_brms"}
    assert set(json.loads(secret("airflow-connections")["connections.json"])) == names
    clear(day.run_id, "fit_survival_churn")
    await_state(day.run_id, {"fit_survival_churn": "success"})


def await_file(text: str) -> None:
    """Wait until the kubelet has brought a value to the file that Airflow reads."""
    await_true("the file has the new value", lambda: text in connections_file(), seconds=240)


def test_a_rotated_password_is_what_the_next_task_uses(day: Run, hold: Hold, in_use: dict[str, str]) -> None:
    """Nothing is restarted: whoever runs tasks is the same before and after."""
    (scheduler,) = pods_of("airflow-scheduler")
    password = random_token()
    wanted = psycopg.conninfo.conninfo_to_dict(in_use[DATABASE])
    change_password(str(wanted["user"]), password)
    try:
        hold(in_use | {DATABASE: in_use[DATABASE].replace(str(wanted["password"]), password)})
        await_file(password)
        clear(day.run_id, "check_attempts", "features_backfill")
        await_state(day.run_id, {"check_attempts": "success", "features_backfill": "success"})
    finally:
        change_password(str(wanted["user"]), str(wanted["password"]))
    (same_one,) = pods_of("airflow-scheduler")
    assert same_one["metadata"]["uid"] == scheduler["metadata"]["uid"]
    restarts = [one["restartCount"] for one in same_one["status"]["containerStatuses"]]
    assert restarts == [one["restartCount"] for one in scheduler["status"]["containerStatuses"]]


def change_password(role: str, password: str) -> None:
    with (
        forwarded("service/irt-postgres", 5432, AIRFLOW_NAMESPACE) as port,
        psycopg.connect(
            host="127.0.0.1",
            port=port,
            user="postgres",
            password=secret("irt-postgres")["password"],
            dbname="postgres",
            autocommit=True,
        ) as server,
    ):
        server.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password)))


def test_a_wrong_token_is_named_by_its_connection(day: Run, hold: Hold, in_use: dict[str, str]) -> None:
    """And not by its value."""
    wrong = random_token()
    hold(in_use | {REMOTE["glmm"]: wrong})
    await_file(wrong)
    before = tasks(day.run_id)["fit_glmm"]["try_number"]
    clear(day.run_id, "fit_glmm")
    ended = await_true("fit_glmm fails", lambda: failed(day.run_id, "fit_glmm"), seconds=300)
    assert ended["try_number"] == before + 1, "and is not tried again"
    text = log(day.run_id, "fit_glmm", before + 1)
    assert "r_glmm" in text
    assert "exit code 64, bad configuration" in text
    assert wrong not in text
    hold(in_use)
    await_file(in_use[REMOTE["glmm"]])
    clear(day.run_id, "fit_glmm")
    await_state(day.run_id, {"fit_glmm": "success"})


def failed(run_id: str, task: str) -> dict[str, object] | None:
    found = tasks(run_id)[task]
    return found if found["state"] == "failed" else None
