"""Graded measures of the first k results, as expectations over all orders of ties."""

import dataclasses

import numpy as np

from inres.evaluation import metrics


@dataclasses.dataclass(frozen=True)
class Top:
    """The items that some order of the ties puts among the first k: C of them, nearest first."""

    k: int
    first: np.ndarray
    """int64 [Q + 1]: those of query q are first[q] to first[q + 1]."""
    items: np.ndarray
    """int64 [C]: columns of the distances; arbitrary inside a tie group."""
    groups: np.ndarray
    """int64 [T]: where in [C] each tie group begins."""

    @property
    def query(self) -> np.ndarray:
        """int64 [C], ascending."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


def candidates(ranking: metrics.Ranking, k: int) -> Top:
    """The candidates for the first k positions of each ranking.

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


def in_top(top: Top, values: np.ndarray) -> np.ndarray:
    """[C]: `values` [Q, N] of the candidates."""
    return np.asarray(values)[top.query, top.items]


def expected_top(top: Top, values: np.ndarray) -> np.ndarray:
    """Expected value at each of the first k positions, float64 [Q, k].

    It is the mean over the tie group of the position; 0 beyond the ranking's end.

    Args:
      top: the candidates.
      values: float64 or integers [C], as `in_top` gives them.
    """
    rows = len(top.first) - 1
    out = np.zeros((rows, top.k))
    if not len(top.items):
        return out
    query = top.query
    scale = np.zeros(rows, np.int64)
    if values.dtype.kind == "f":  # fixed point, with as many bits as cannot overflow
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


def tie_order(top: Top, values: np.ndarray, *, descending: bool) -> np.ndarray:
    """int64 [C]: the candidates with every tie broken by `values` [C]."""
    group = np.repeat(np.arange(len(top.groups)), np.diff(top.groups, append=len(top.items)))
    return np.lexsort((-values if descending else values, group))


def ideal_gain(gains: np.ndarray, k: int) -> np.ndarray:
    """Discounted gain of the best first k, float64 [Q]; `gains` [Q, N], 0 for items left out."""
    cut = max(gains.shape[1] - k, 0)
    highest = np.sort(np.partition(gains, cut, axis=1)[:, cut:], axis=1)[:, ::-1]
    # Contiguous, since the order of a sum follows the layout.
    return np.ascontiguousarray(highest * _discount(k)[: highest.shape[1]]).sum(axis=1)


def _discount(k: int) -> np.ndarray:
    return 1.0 / np.log2(np.arange(2, k + 2))


def ndcg(top: Top, gains: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """Expected discounted gain of the first k, by the ideal one; float64 [Q].

    The discount of rank i is log2(i + 1). NaN where no ranked item has a gain.

    Args:
      top: the candidates.
      gains: [C], 0 or more.
      ideal: [Q], from `ideal_gain` over all ranked items.
    """
    return metrics.ratio((expected_top(top, gains) * _discount(top.k)).sum(axis=1), ideal)


def mean_top(top: Top, values: np.ndarray) -> np.ndarray:
    """Expected mean of the known `values` [C] among the first k, float64 [Q]; NaN is unknown.

    Where some are unknown: the expected sum of the known ones, by their expected number. NaN
    where none is known.
    """
    known = np.isfinite(values)
    total = expected_top(top, np.where(known, values, 0.0)).sum(axis=1)
    return metrics.ratio(total, expected_top(top, known).sum(axis=1))
