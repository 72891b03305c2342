"""The one way kernels are compiled."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
# uint16 or int32, or whatever integer type a column came in.
AnyInteger = NDArray[Any]


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile on first use and keep the machine code beside the source; release the GIL.

    No fast math: the order of every sum is the order written, whatever vector instructions the processor has.
    """
    return cast("Callable[P, R]", njit(cache=True, nogil=True, error_model="numpy")(function))
