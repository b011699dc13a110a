"""Exact search by weighted properties, on arrays.

All items are ranked by the distance sqrt(sum_p w_p (x_p - q_p)^2 / sum_p w_p): the root mean square
difference to the query over the weighted properties, in standard deviations. Items are read in
blocks, one property after the other, so that memory does not grow with the archive, and every
item's distance is rounded in the same way wherever it stands.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BLOCK = 1 << 16
"""Number of items processed at a time."""


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The items nearest to one query."""

    rows: np.ndarray
    """int64 [n], n <= k, by (distance, lowest row)."""
    distance: np.ndarray
    """float32 [n]"""
    eligible: int
    """Number of items that could be found: not hidden, and every weighted property is known."""


def nearest(
    values: np.ndarray,
    query: np.ndarray,
    weights: np.ndarray,
    *,
    k: int,
    visible: np.ndarray | None = None,
    block: int = BLOCK,
) -> Nearest:
    """The K items nearest to a query.

    Args:
      values: float32 [P, N], properties of the items on a common scale; NaN where there is none.
      query: float32 [P], of the query; finite where the weight is above 0.
      weights: float [P], at least 0, not all 0; only their ratios matter.
      k: number of items.
      visible: bool [N], items that may be found; None: all.
      block: items processed at a time.

    Returns:
      An item is found only if each property with a weight has a value.
    """
    used = np.flatnonzero(weights)
    shares = weights / np.max(weights)  # first, because the sum of large numbers overflows
    shares = (shares / np.sum(shares)).astype(np.float32)
    rows, squares, eligible = np.zeros(0, np.int64), np.zeros(0, np.float32), 0
    for start in range(0, values.shape[1], block):
        square = np.zeros(values[0, start : start + block].shape, np.float32)
        for at in used:
            apart = values[at, start : start + block] - query[at]
            apart *= apart
            apart *= shares[at]
            square += apart
        if visible is not None:
            square[~visible[start : start + block]] = np.nan
        eligible += int(np.count_nonzero(np.isfinite(square)))
        # Later rows never replace an equal distance, because ties go to the lowest row.
        worst = squares[-1] if len(squares) == k else np.inf
        here = np.flatnonzero(square < worst)
        here = here[_least(square[here], k)]
        rows, squares = np.append(rows, start + here), np.append(squares, square[here])
        order = np.argsort(squares, kind="stable")[:k]
        rows, squares = rows[order], squares[order]
    return Nearest(rows, np.sqrt(squares), eligible)


def _least(values: np.ndarray, k: int) -> np.ndarray:
    """Ascending positions of the K least values, the first ones where values are equal."""
    if len(values) <= k:
        return np.arange(len(values))
    last = np.partition(values, k - 1)[k - 1]
    below, equal = np.flatnonzero(values < last), np.flatnonzero(values == last)
    return np.sort(np.append(below, equal[: k - len(below)]))


def as_array(weights: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """Weights of properties as float64 [P], in the order of `names`; 0 where none is given.

    Raises:
      ValueError: an unknown property; a weight that is not a finite number of 0 or more; all are 0.
    """
    known = ", ".join(names)
    if not names:
        raise ValueError(
            f"weights = {dict(weights)}: this archive has no properties; train a run with "
            "config.properties.names on items that have some"
        )
    for name, weight in weights.items():
        if name not in names:
            raise ValueError(
                f"weights: no property {name!r}; the properties of this archive are {known}"
            )
        number = isinstance(weight, int | float | np.integer | np.floating)
        if not number or isinstance(weight, bool) or not 0 <= weight < np.inf:
            raise ValueError(
                f"weights: {name} = {weight!r}; must be a finite number of 0 or more for each of "
                f"the properties that matter, of {known}"
            )
    array = np.array([float(weights.get(name, 0)) for name in names])
    if not np.any(array):
        raise ValueError(f"weights: all are 0; give one of the properties {known} a weight above 0")
    return array
