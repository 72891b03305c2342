"""Fisher information of answers about theta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def item_information(theta: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """Fisher information of an answer about theta under the 3PL model (Birnbaum, 1968; Lord, 1980, eq. 5-9).

    Args:
        theta: abilities.
        a: discriminations, logistic metric (D = 1).
        b: difficulties, in units of theta.
        c: lower asymptotes, in [0, 1).

    Returns:
        a^2 (Q / P) ((P - c) / (1 - c))^2 in the shape the arguments broadcast to, in units of 1 / theta^2.
    """
    a, b, c = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64), np.asarray(c, dtype=np.float64)
    core = expit(a * (np.asarray(theta, dtype=np.float64) - b))  # (P - c) / (1 - c)
    p = c + (1 - c) * core
    return np.asarray((a * core) ** 2 * (1 - p) / p)
