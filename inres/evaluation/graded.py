"""Graded measures of the first k results, as expectations over all orders of ties."""

import dataclasses

import numpy as np

from inres.evaluation import metrics


@dataclasses.dataclass(frozen=True)
class Top:
    """Candidates for the first k: the C items that some order of ties puts there, nearest first."""

    k: int
    first: np.ndarray
    """int64 [Q + 1]: the candidates of query q are first[q] to first[q + 1]."""
    items: np.ndarray
    """int64 [C]: columns of the distances; in arbitrary order within a tie group."""
    groups: np.ndarray
    """int64 [T]: start of each tie group in [C]."""

    @property
    def query(self) -> np.ndarray:
        """int64 [C], ascending."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


def candidates(ranking: metrics.Ranking, k: int) -> Top:
    """Find the candidates for the first k positions of each ranking.

    Raises:
      ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}: must be at least 1")
    first, items, groups = [0], [], []
    for distances, ordered, count in zip(
        ranking.distances, ranking.ordered, ranking.items, strict=True
    ):
        chosen = np.empty(0, np.int64)
        if count:
            chosen = np.flatnonzero(distances <= ordered[min(k, count) - 1])
            chosen = chosen[np.argsort(distances[chosen], kind="stable")]
        items.append(chosen)
        groups.append(first[-1] + metrics.group_starts(distances[chosen]))
        first.append(first[-1] + len(chosen))
    return Top(k, np.array(first), np.concatenate(items), np.concatenate(groups))


def tied(allowed: np.ndarray, k: int) -> Top:
    """A random order of the items `allowed`, bool [Q, N]: all of them tie."""
    _, items = np.nonzero(allowed)
    first = np.concatenate([[0], np.cumsum(allowed.sum(axis=1))])
    return Top(k, first, items, first[:-1][np.diff(first) > 0])


def in_top(top: Top, values: np.ndarray) -> np.ndarray:
    """`values` [Q, N] of the candidates, [C]."""
    return np.asarray(values)[top.query, top.items]


def expected_top(top: Top, values: np.ndarray) -> np.ndarray:
    """Expected value at each of the first k positions, float64 [Q, k].

    This is the mean over the tie group of the position; 0 beyond the end of the ranking.

    Args:
      top: the candidates.
      values: float64 or integers [C], from `in_top`.
    """
    rows = len(top.first) - 1
    out = np.zeros((rows, top.k))
    if not len(top.items):
        return out
    query = top.query
    scale = np.zeros(rows, np.int64)
    if values.dtype.kind == "f":  # fixed point, with the most bits that cannot overflow
        largest = np.zeros(rows)
        full = np.flatnonzero(np.diff(top.first))
        largest[full] = np.maximum.reduceat(np.abs(values), top.first[full])
        counts = np.frexp(np.diff(top.first).astype(np.float64))[1]
        scale = 62 - counts - np.frexp(largest)[1]
        values = np.rint(values * np.ldexp(1.0, scale)[query]).astype(np.int64)
    sums = np.add.reduceat(values.astype(np.int64), top.groups)
    sizes = np.diff(top.groups, append=len(top.items))
    means = np.ldexp(sums / sizes, -scale[query[top.groups]])
    position = np.arange(len(top.items)) - top.first[query]
    shown = position < top.k
    out[query[shown], position[shown]] = np.repeat(means, sizes)[shown]
    return out


@dataclasses.dataclass(frozen=True)
class Shares:
    """Places of T tie groups: sums over the first k from exact sums over the groups."""

    groups: np.ndarray
    """int64 [T]: start of each group in the candidates."""
    query: np.ndarray
    """int64 [T], ascending."""
    queries: int
    """Number of queries."""
    inside: np.ndarray
    """float64 [T]: probability of each item of the group to be among the first k."""
    discount: np.ndarray
    """float64 [T]: expected discount of each item of the group, 0 beyond the first k."""

    def expected(self, values: np.ndarray) -> np.ndarray:
        """Expected sum of integers `values` [C] over the first k, float64 [Q]."""
        return self._sums(values, self.inside)

    def discounted(self, values: np.ndarray) -> np.ndarray:
        """Expected discounted sum of integers `values` [C] over the first k, float64 [Q]."""
        return self._sums(values, self.discount)

    def _sums(self, values: np.ndarray, shares: np.ndarray) -> np.ndarray:
        if not len(self.groups):
            return np.zeros(self.queries)
        sums = np.add.reduceat(values, self.groups, dtype=np.int64)
        return np.bincount(self.query, sums * shares, minlength=self.queries)


def shares(top: Top) -> Shares:
    """The places of the candidates of `top`."""
    sizes = np.diff(top.groups, append=len(top.items))
    query = np.searchsorted(top.first, top.groups, side="right") - 1
    start = top.groups - top.first[query]
    stop = np.minimum(start + sizes, top.k)
    total = np.concatenate([[0.0], np.cumsum(_discount(top.k))])
    return Shares(
        top.groups,
        query,
        len(top.first) - 1,
        (stop - start) / sizes,
        (total[stop] - total[start]) / sizes,
    )


def tie_order(top: Top, values: np.ndarray, *, descending: bool) -> np.ndarray:
    """Order of the candidates with every tie broken by `values` [C], int64 [C]."""
    group = np.repeat(np.arange(len(top.groups)), np.diff(top.groups, append=len(top.items)))
    return np.lexsort((-values if descending else values, group))


def ideal_gain(gains: np.ndarray, k: int) -> np.ndarray:
    """Discounted gain of the best possible first k, float64 [Q]; `gains` [Q, N], 0 if excluded."""
    cut = max(gains.shape[1] - k, 0)
    highest = np.sort(np.partition(gains, cut, axis=1)[:, cut:], axis=1)[:, ::-1]
    # Contiguous, because the order of summation follows the memory layout.
    return np.ascontiguousarray(highest * _discount(k)[: highest.shape[1]]).sum(axis=1)


def _discount(k: int) -> np.ndarray:
    return 1.0 / np.log2(np.arange(2, k + 2))


def ndcg(top: Top, gains: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """Expected discounted gain of the first k, divided by the ideal one; float64 [Q].

    The discount of rank i is 1 / log2(i + 1). NaN if no ranked item has a gain.

    Args:
      top: the candidates.
      gains: [C], 0 or more.
      ideal: [Q], from `ideal_gain` over all ranked items.
    """
    return metrics.ratio((expected_top(top, gains) * _discount(top.k)).sum(axis=1), ideal)


def mean_top(top: Top, values: np.ndarray) -> np.ndarray:
    """Expected mean of the known `values` [C] among the first k, float64 [Q]; NaN is unknown.

    If some are unknown, it is the expected sum of the known ones divided by their expected
    number. NaN if none is known.
    """
    known = np.isfinite(values)
    total = expected_top(top, np.where(known, values, 0.0)).sum(axis=1)
    return metrics.ratio(total, expected_top(top, known).sum(axis=1))
