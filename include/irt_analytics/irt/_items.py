"""Item parameters in the form the kernels use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from irt_analytics.irt._text import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ItemParameters:
    """Slopes a, intercepts d = -a * b and logits g of the lower asymptotes, each of shape (n_items,).

    The answers to an item that is not `active` count for nothing.
    """

    a: Floats
    d: Floats
    g: Floats
    active: NDArray[np.bool_]

    @classmethod
    def from_frame(cls, items: pd.DataFrame, item_ids: pd.Index[Any], name: str) -> Self:
        """Parameters of `item_ids` from columns item_id, a, b and, optionally, c; items without a row are inactive.

        Raises:
            ValueError: a column is missing, an item stands there twice, or a parameter is missing or out of range.
        """
        absent = [column for column in ("item_id", "a", "b") if column not in items]
        if absent:
            raise ValueError(f"{name} lacks column {', '.join(absent)}; it has {', '.join(map(str, items.columns))}")
        repeated = items.loc[items["item_id"].duplicated(), "item_id"]
        if len(repeated):
            raise ValueError(f"{name} must have one row per item; {quoted(repeated.iloc[0])} appears more than once")
        a, b = (items[column].to_numpy(dtype=np.float64, na_value=np.nan) for column in ("a", "b"))
        c = items["c"].to_numpy(dtype=np.float64, na_value=np.nan) if "c" in items else np.zeros(len(items))
        for column, values, valid, expected in (
            ("a", a, np.isfinite(a), "a finite number"),
            ("b", b, np.isfinite(b), "a finite number"),
            ("c", c, (c >= 0.0) & (c < 1.0), "a number from 0 to under 1"),
        ):
            if not valid.all():
                row = int(np.argmin(valid))
                raise ValueError(
                    f"{name}: {column} of item {quoted(items['item_id'].iloc[row])} is {values[row]}; "
                    f"expected {expected}"
                )
        where = pd.Index(items["item_id"]).get_indexer(item_ids)
        active = where >= 0
        if not len(items):
            return cls(np.ones(len(item_ids)), np.zeros(len(item_ids)), np.full(len(item_ids), -np.inf), active)
        with np.errstate(divide="ignore"):
            g = logit(c[where])
        return cls(np.where(active, a[where], 1.0), np.where(active, -a[where] * b[where], 0.0), g, active)

    @property
    def c(self) -> Floats:
        """Lower asymptotes."""
        asymptotes: Floats = expit(self.g)
        return asymptotes

    def without(self, items: NDArray[np.bool_]) -> Self:
        """The same parameters with the given items inactive."""
        return replace(self, active=self.active & ~items)
