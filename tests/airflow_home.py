"""Airflow for tests: a home in a temporary folder, an SQLite metadata database, the project's Dags and the probes."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROBES = ROOT / "tests" / "dags" / "probes"


@cache
def use_airflow_home() -> Path:
    """Make this process, and those it starts, use a fresh Airflow home; must come before any import of airflow."""
    assert "airflow" not in sys.modules, "airflow was imported before its home was set"
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "IRT_"))]:
        del os.environ[name]
    home = Path(tempfile.mkdtemp(prefix="irt-airflow-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    bundles = [
        {
            "name": name,
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(path), "refresh_interval": 3600},
        }
        for name, path in (("daily", ROOT / "dags"), ("probes", PROBES))
    ]
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return home


@cache
def migrate_metadata() -> None:
    """Make the metadata database of the home."""
    use_airflow_home()
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, text=True)
