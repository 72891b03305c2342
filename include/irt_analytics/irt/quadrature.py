"""The grid of abilities over which the marginal likelihood is summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Quadrature:
    """Equally spaced nodes, each weighted by the latent density there.

    The sum over such a grid converges faster than any power of the spacing for smooth densities that vanish at both
    ends; 61 nodes on [-6, 6] are what R's mirt takes for one dimension.

    Attributes:
        n_nodes: number of nodes, at least 5.
        lower: first node, in units of theta.
        upper: last node.
    """

    n_nodes: int = 61
    lower: float = -6.0
    upper: float = 6.0

    def __post_init__(self) -> None:
        if self.n_nodes < 5:
            raise ValueError(f"quadrature needs at least 5 nodes, got {self.n_nodes}")
        if not -np.inf < self.lower < self.upper < np.inf:
            raise ValueError(f"quadrature must run from a lower to a higher ability, got [{self.lower}, {self.upper}]")

    @property
    def nodes(self) -> NDArray[np.float64]:
        """The nodes, shape (n_nodes,)."""
        return np.linspace(self.lower, self.upper, self.n_nodes)

    def extended(self, lower: float, upper: float) -> Quadrature:
        """This grid with as many nodes more on either side, at its spacing, as it takes to cover [lower, upper]."""
        spacing = (self.upper - self.lower) / (self.n_nodes - 1)
        below, above = (max(0, int(np.ceil(gap / spacing - 1e-9))) for gap in (self.lower - lower, upper - self.upper))
        if not below and not above:
            return self
        return Quadrature(self.n_nodes + below + above, self.lower - below * spacing, self.upper + above * spacing)

    @property
    def half(self) -> Quadrature:
        """Every other node, for iterations that need no final precision."""
        return Quadrature((self.n_nodes + 1) // 2, self.lower, self.upper)
