"""The cluster that KUBECONFIG names, by kubectl; values of Secrets go by standard input and never by an argument."""

import base64
import json
import secrets
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from irt_analytics.errors import PipelineError

Json = dict[str, Any]


class ClusterError(PipelineError):
    """The cluster refused, or something in it did not get ready; the message ends with its own words."""

    exit_code = 1


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run kubectl and return what it printed.

    Raises:
        ClusterError: it failed; with its message.
    """
    try:
        ended = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ClusterError(
            "there is no kubectl on this machine's PATH: install the one of your cluster's version"
        ) from None
    if ended.returncode:
        raise ClusterError(f"kubectl {' '.join(arguments[:3])}: {ended.stderr.strip()}")
    return ended.stdout


def apply(*objects: Json) -> None:
    """Bring objects to this state; another's fields of them stay as they are."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=irt-analytics", "-f", "-", stdin=text)


def find(kind: str, name: str, namespace: str) -> Json | None:
    """Return an object, None where it is not there."""
    text = kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json")
    found: Json | None = json.loads(text) if text.strip() else None
    return found


def read_secret(name: str, namespace: str) -> dict[str, str] | None:
    """Return a Secret's values, None where it is not there."""
    found = find("secret", name, namespace)
    if found is None:
        return None
    return {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}


def write_secret(name: str, namespace: str, values: Mapping[str, str]) -> None:
    """Make a Secret, or bring it to these values."""
    apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"app.kubernetes.io/part-of": "irt-analytics"},
            },
            "stringData": dict(values),
        }
    )


def ensure_secret(name: str, namespace: str, make: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """Return a Secret's values; keys that it lacks are made, those that it has stay."""
    known = read_secret(name, namespace) or {}
    missing = {key: value() for key, value in make.items() if key not in known}
    values = {**known, **missing}
    if missing:
        write_secret(name, namespace, values)
    return values


def random_token() -> str:
    """Return a new random token of 256 bits."""
    return secrets.token_urlsafe(32)


def await_rollout(kind: str, name: str, namespace: str, seconds: int = 600) -> None:
    """Wait until every replica is ready.

    Raises:
        ClusterError: one did not get ready; with the events and last log lines of its pods.
    """
    try:
        kubectl("rollout", "status", f"{kind}/{name}", "-n", namespace, f"--timeout={seconds}s")
    except ClusterError as error:
        events = kubectl("get", "events", "-n", namespace, "--field-selector=type=Warning", "--sort-by=.lastTimestamp")
        lines = [line for line in events.splitlines() if name in line][-5:]
        raise ClusterError("\n".join([str(error), *lines])) from None


@contextmanager
def forwarded(target: str, port: int, namespace: str) -> Iterator[int]:
    """Reach a port of a Service or pod from this machine; gives the local port.

    Raises:
        ClusterError: the port did not open.
    """
    command = ["kubectl", "port-forward", "-n", namespace, target, f":{port}", "--address=127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        # It has a line for every connection, and would stop at a full pipe.
        drain = threading.Thread(target=deque, args=(process.stdout, 0))
        try:
            line = process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 5432, once it listens there
            if "Forwarding from" not in line:
                process.kill()
                raise ClusterError(f"kubectl port-forward {target}: {(line + process.stdout.read()).strip()}")
            drain.start()
            yield int(line.split("->")[0].rpartition(":")[2])
        finally:
            process.terminate()
            if drain.ident is not None:
                drain.join()
