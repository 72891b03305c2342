"""What jobs do alike with what they found: name the run, replace the day's rows, turn columns into records."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from irt_analytics import code_version, db
from irt_analytics.runner import JobContext


def run_id(context: JobContext, own_parameters: Mapping[str, Any], *evidence: bytes) -> str:
    """Hash of tenant, day, code version, the parameters that matter and the evidence that a run rests on."""
    head = [context.tenant, str(context.as_of), code_version(), dict(own_parameters)]
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for part in evidence:
        digest.update(part)
    return digest.hexdigest()[:32]


def parameters(context: JobContext, names: Iterable[str]) -> dict[str, Any]:
    """The run's params of these names: those that a job's numbers depend on."""
    return {name: getattr(context.params, name) for name in names}


def replace_day(context: JobContext, table: str, frame: pd.DataFrame) -> None:
    """Replace the tenant's rows of the day in a table, and count them as written."""
    rows = db.replace(context.connection, table, frame, tenant_id=context.tenant, as_of=context.as_of)
    context.record.wrote(table, rows)


def no_rows(key: str = "user_id") -> pd.DataFrame:
    """A frame that leaves a table without rows of the day."""
    return pd.DataFrame({key: pd.Series(dtype="str")})


def records(columns: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Rows of columns of equal length, as objects."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
