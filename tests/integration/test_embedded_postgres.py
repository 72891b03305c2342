"""The embedded PostgreSQL for who is not root: PostgreSQL itself refuses to run as root, so each goes another way."""

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs it as an ordinary user then")
def test_the_server_works_for_an_ordinary_user() -> None:
    """Most people who try the demo are not root on their machine."""
    script = """
        import os, sys
        from pathlib import Path
        from irt_analytics.demo.postgres import Postgres
        data = Path(sys.argv[1])
        os.setgid(65534)
        os.setuid(65534)
        server = Postgres.start(data)
        with server.connect("postgres") as connection:
            print(*connection.execute("select 6 * 7, current_setting('listen_addresses')").fetchone(), sep="|")
        assert Postgres.stop(data)
    """
    with tempfile.TemporaryDirectory(prefix="irt-nobody-") as folder:
        os.chown(folder, NOBODY, NOBODY)
        ended = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(Path(folder) / "data")],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": folder, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (0, "42|\n"), ended.stderr
