"""IRT Analytics Pipeline: calibrated IRT, learner KPIs and a weekly report from an answer log."""

import os

__version__ = "3.0.0"


def code_version() -> str:
    """Return the version recorded with every result: the release, and the commit where the image carries one."""
    commit = os.environ.get("IRT_CODE_COMMIT", "")
    return f"{__version__}+{commit[:12]}" if commit else __version__
