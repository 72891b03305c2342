"""Pages for who runs it: a message that no code says, or a command that is gone, costs a night."""

import re
from pathlib import Path

import pytest
from tests.charts import pods_of, render

ROOT = Path(__file__).parents[2]
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PAGES = [
    ROOT / name
    for name in (
        "docs/operations.md",
        "docs/troubleshooting.md",
        "docs/kubernetes.md",
        "docs/comparison.md",
        "README.md",
        "CONTRIBUTING.md",
    )
]
#: What says the messages: programs, services, and the tests that have seen Kubernetes say its own.
SPEAKERS = ("plugins/irt_airflow/*.py", "include/irt_analytics/**/*.py", "include/r_services/*/R/*.R", "tests/k8s/*.py")
#: The rest of a placeholder in a message, and what cuts a message in code: quotes with a line break between them.
CUT = re.compile(r"""["']\s*\n?\s*f?r?["']""")


def messages() -> list[str]:
    """What the log says, by the page's first columns."""
    found = []
    heads = ("| the log says ",)
    saying = False
    for line in TROUBLESHOOTING.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            saying = False
        elif line.startswith(heads):
            saying = True
        elif saying and not line.startswith("| ---"):
            found += re.findall(r"`([^`]+)`", line.split(" | ")[0])
    return [message for message in found if not re.fullmatch(r"r_\w+", message)]


@pytest.fixture(scope="module")
def said() -> str:
    texts = [path.read_text(encoding="utf-8") for pattern in SPEAKERS for path in sorted(ROOT.glob(pattern))]
    return re.sub(r"\\", "", CUT.sub("", "\n".join(texts)))


def test_there_are_messages_to_compare() -> None:
    assert len(messages()) > 25


@pytest.mark.parametrize("message", messages())
def test_a_message_of_the_page_is_one_that_the_code_says(message: str, said: str) -> None:
    parts = [part.strip(" :,;.") for part in message.split("...")]
    missing = [part for part in parts if part and part not in said]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_commands_and_files_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= targets
    for path in re.findall(r"`((?:helm-values|include|plugins|tests|tools)/[\w./-]+)`", text):
        assert list(ROOT.glob(path.rstrip("/").replace("NAME", "*"))), path
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def test_commands_before_the_first_night_name_what_the_values_make() -> None:
    """A line of the list that fails for its own mistake would be skipped, and the next one, too."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    pods = dict(pods_of(render("airflow-production-LocalExecutor")))
    scheduler = pods["Deployment/airflow-scheduler"]["spec"]
    named = set(re.findall(r"-n seedtest deployment/([\w-]+) -c ([\w-]+)", text))
    assert named == {("airflow-scheduler", "scheduler")}
    (main,) = [container for container in scheduler["containers"] if container["name"] == "scheduler"]
    (folder,) = [mount["mountPath"] for mount in main["volumeMounts"] if mount["name"] == "connections"]
    assert f"open('{folder}/connections.json')" in text
    (secrets,) = re.findall(r"kubectl get secret -n seedtest -o name ([\w -]+)", text)
    made = {found["metadata"]["name"] for found in render("irt-credentials") if found["kind"] == "ExternalSecret"}
    assert set(secrets.split()) == made | {"airflow-secrets"}
    assert {found["metadata"]["name"] for found in render("irt-monitoring")} >= {"irt-monitoring", "airflow-statsd"}


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
