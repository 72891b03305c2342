"""Values as users know them, for messages."""

from typing import Any

import numpy as np


def quoted(value: Any) -> str:
    """The value as Python writes it, a number of numpy's as a plain one."""
    return repr(value.item() if isinstance(value, np.generic) else value)
