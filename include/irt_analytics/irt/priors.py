"""Prior distributions of item parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Priors:
    """Independent priors of the estimated item parameters; None leaves a parameter to the answers alone.

    Attributes:
        a: mean and sd of log a, which is normal.
        d: mean and sd of the intercept d = -a * b, which is normal. With it, items that everybody got right (or
            wrong) have an estimate.
        c: the two shapes of the beta distribution of c.
        logit_c: mean and sd of the logit of c, which is normal; instead of `c`.
    """

    a: tuple[float, float] | None = None
    d: tuple[float, float] | None = None
    c: tuple[float, float] | None = None
    logit_c: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, prior in (("a", self.a), ("d", self.d), ("logit_c", self.logit_c)):
            if prior is not None and not (np.isfinite(prior[0]) and 0.0 < prior[1] < np.inf):
                raise ValueError(f"the prior of {name} needs a finite mean and a positive sd, got {prior}")
        if self.c is not None and not min(self.c) >= 1.0:
            raise ValueError(f"the shapes of the beta prior of c must be at least 1, got {self.c}")
        if self.c is not None and self.logit_c is not None:
            raise ValueError("c and logit_c are priors of the same parameter; give one of them")

    def on_unit(self, sd: float) -> Priors:
        """The same prior of a where theta is measured in units of `sd`, so that slopes are `sd` times as large.

        Raises:
            ValueError: sd is not a positive number.
        """
        if not 0.0 < sd < np.inf:
            raise ValueError(f"the unit of the weak priors must be a positive number, got {sd}")
        return self if self.a is None else replace(self, a=(self.a[0] + float(np.log(sd)), self.a[1]))

    def __str__(self) -> str:
        parts = []
        if self.a is not None:
            parts.append(f"a ~ lognormal({self.a[0]:g}, {self.a[1]:g})")
        if self.d is not None:
            parts.append(f"d ~ normal({self.d[0]:g}, {self.d[1]:g})")
        if self.c is not None:
            parts.append(f"c ~ beta({self.c[0]:g}, {self.c[1]:g})")
        if self.logit_c is not None:
            parts.append(f"logit(c) ~ normal({self.logit_c[0]:g}, {self.logit_c[1]:g})")
        return ", ".join(parts) or "none"

    def as_vector(self) -> NDArray[np.float64]:
        """The eight numbers in the order a, d, c, logit_c; NaN where there is no prior."""
        none = (np.nan, np.nan)
        return np.array(
            [*(self.a or none), *(self.d or none), *(self.c or none), *(self.logit_c or none)], dtype=np.float64
        )


NO_PRIORS = Priors()
# Mislevy (1986) argues for a lognormal prior of a; beta(5, 17) of c has its mode at 0.2.
WEAK_PRIORS = Priors(a=(0.0, 0.5), c=(5.0, 17.0))
