"""Search for distinct units, such as nodules that have several slices in the archive."""

from collections.abc import Callable

import numpy as np

from inres.retrieval.search import Result


def search_distinct(
    find: Callable[[int], Result], unit_of: Callable[[np.ndarray], np.ndarray], *, k: int
) -> Result:
    """Find the K nearest units of each query, each represented by its nearest item.

    The result is exact: the number of items is doubled until every query has K units or its pool is
    exhausted.

    Args:
      find: the search as a function of the number of items, for instance a partial `search.search`.
      unit_of: maps ids int32 [n], ascending, to their units [n], of any sortable type.
      k: number of units.

    Returns:
      A Result [Q, k]; `pool_size` counts items.
    """
    count = k
    while True:
        found = find(count)
        there = found.ids >= 0
        first = _first_of_each_unit(found.ids, unit_of)
        short = first.sum(axis=1) < k
        if not np.any(short & there.all(axis=1)):
            break
        count *= 2
    order = np.argsort(~first, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(first, order, axis=1)

    def chosen(values: np.ndarray, nothing: float) -> np.ndarray:
        taken = np.take_along_axis(values, order, axis=1)
        return np.where(kept, taken, values.dtype.type(nothing))

    return found._replace(
        ids=chosen(found.ids, -1),
        hamming=chosen(found.hamming, -1),
        distance=chosen(found.distance, np.inf),
    )


def _first_of_each_unit(ids: np.ndarray, unit_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """bool [Q, K]: whether an item is the first of its unit in its row; False for id -1."""
    there = ids >= 0
    known, item = np.unique(ids[there], return_inverse=True)
    unit = np.full(there.shape, -1)
    unit[there] = np.unique(unit_of(known), return_inverse=True)[1][item]
    first = np.zeros(there.shape, bool)
    for row, of_row in zip(first, unit, strict=True):
        row[np.unique(of_row, return_index=True)[1]] = True
    return first & there
