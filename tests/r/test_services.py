"""`make r-services` and what the demo connects to: the four services as processes of a checkout."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from airflow.sdk import Connection
from tests.r.conftest import LIBRARY, ROOT

from irt_airflow.credentials import r_service
from irt_analytics.demo.place import Place
from irt_analytics.demo.processes import free_port
from irt_analytics.demo.services import PACKAGES, Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: What tools/setup-r runs on a machine without R.
TOOLS = {"awk", "cat", "cut", "dirname", "find", "flock", "grep", "head", "id", "mkdir", "mv", "rm"}
TOOLS |= {"sed", "sh", "sha256sum", "sort", "tail", "tr", "xargs"}


def _checkout(root: Path) -> Place:
    """A checkout of its own, without R packages."""
    shutil.copytree(ROOT / "include", root / "include", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "dags", root / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tools", root / "tools")
    place = Place(root)
    (place.folder / "logs").mkdir(parents=True)
    return place


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, r_status: dict[str, dict[str, object]]) -> Iterator[Services]:
    """The services of a checkout that has what tools/setup-r has made in this one."""
    missing = {name: entry["reason"] for name, entry in r_status.items() if not entry["ok"]}
    if missing:
        pytest.skip(f"R services: {missing}")
    place = _checkout(tmp_path_factory.mktemp("services") / "checkout")
    shutil.copytree(LIBRARY.parent, place.folder / "r", ignore=shutil.ignore_patterns("services.json"))
    started = Services.start(place)
    try:
        yield started
    finally:
        Services(place).stop()


def _variables(name: str, connection: dict[str, Any]) -> dict[str, str]:
    """What a job is given of a connection, read as from Airflow's connections file."""
    texts = {"extra": json.dumps(connection["extra"])} if "extra" in connection else {}
    return r_service(Connection(conn_id=name, **(connection | texts)))


def test_all_four_run_each_with_a_token_that_only_its_owner_can_read(services: Services) -> None:
    assert services.unavailable == {}
    running = services.running
    assert set(running) == set(PACKAGES)
    assert len({service.token for service in running.values()}) == len(PACKAGES)
    assert stat.S_IMODE(services.state.stat().st_mode) == 0o600
    for name, connection in services.connections().items():
        variables = _variables(name, connection)
        url, token = variables[f"{name.upper()}_URL"], variables[f"{name.upper()}_TOKEN"]
        assert httpx.get(f"{url}/ready", trust_env=False).status_code == 200
        title = httpx.get(f"{url}/openapi.json", trust_env=False).json()["info"]["title"]
        assert title == f"{name.replace('_', '-')}-plumber"
        known = httpx.get(f"{url}/jobs/1", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        assert known.status_code == 404
        assert httpx.get(f"{url}/jobs/1", trust_env=False).status_code == 401
    for service in running.values():
        arguments = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
        assert not any(service.token in " ".join(process.cmdline()) for process in arguments)


def test_the_command_prints_addresses_and_where_the_tokens_are_and_never_a_token(services: Services) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "irt_analytics", "demo", "services"],
        cwd=services.place.root,
        env=os.environ | {"PYTHONPATH": str(services.place.root / "include")},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    ).stdout
    for name, service in services.running.items():
        assert f"r-{name}-plumber" in said
        assert service.url in said
        assert service.token not in said
    assert ".demo/r/services.json" in said


def test_a_second_start_keeps_what_runs_and_stop_ends_it_all(services: Services) -> None:
    again = Services.start(services.place)
    assert {name: one.pid for name, one in again.running.items()} == {
        name: one.pid for name, one in services.running.items()
    }
    processes = [
        process
        for service in again.running.values()
        for process in (psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True))
    ]
    assert again.stop() == [f"r-{name}-plumber" for name in PACKAGES]
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert Services(services.place).running == {}


def test_without_r_every_service_is_unavailable_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop without R still gets the rest of the pipeline, and the report can say what is missing."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tools / tool).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    services = Services.start(_checkout(tmp_path / "checkout"))
    assert services.running == {}
    for name, connection in services.connections().items():
        assert _variables(name, connection) == {
            f"{name.upper()}_UNAVAILABLE": "R is not installed; install R 4.2 or newer"
        }


def test_without_mirt_only_the_irt_service_is_unavailable(
    tmp_path: Path, r_status: dict[str, dict[str, object]]
) -> None:
    """Debian has no mirt; where no CRAN can be reached either, the other branches must run all the same."""
    if not all(entry["ok"] for entry in r_status.values()):
        pytest.skip(f"R services: {r_status}")
    place = _checkout(tmp_path / "checkout")
    left_out = shutil.ignore_patterns("mirt", "irtmirt", "package-irt", "installed-*", "*.json", "*LOCK*")
    shutil.copytree(LIBRARY.parent, place.folder / "r", ignore=left_out)
    environment = os.environ | {"R_REPOS": "file:///nowhere"}
    subprocess.run([place.root / "tools" / "setup-r"], env=environment, timeout=600, check=True)
    status = json.loads((place.folder / "r" / "status.json").read_text(encoding="utf-8"))
    reason = status["irt"].pop("reason")
    assert status == {name: {"ok": name != "irt"} for name in PACKAGES}
    assert "R mirt could not be installed from file:///nowhere (set R_REPOS to a CRAN mirror" in reason


@pytest.mark.parametrize("name", PACKAGES)
def test_the_readme_s_example_works_as_typed(name: str, require_r: Callable[[str], Path], tmp_path: Path) -> None:
    """The first thing that anybody tries; only the port and the folder for files are other ones here."""
    (tmp_path / ".demo").mkdir()
    (tmp_path / ".demo" / "r").symlink_to(require_r(name).parent)
    readme = (ROOT / "include" / "r_services" / name / "README.md").read_text(encoding="utf-8")
    script = "".join(re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL))
    jobs = script.count("job=$(")
    assert jobs > 0
    script = re.sub(r"PORT=\d+", f"PORT={free_port()}", script)
    script = re.sub(r"(?<=[>@])/tmp", str(tmp_path), script)
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert re.findall(r'"state":"(\w+)"', said) == ["succeeded"] * jobs
    assert process.returncode == 0
