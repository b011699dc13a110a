"""Retrieval measures that do not depend on the order of ties: expectations over all orders.

Every measure starts from `rank(distances)`. Distances are [Q, N], smaller is nearer, and +inf
leaves an item out of that query's ranking. Items at equal distance form a tie group. A measure
is its expected value over all orders of the items inside the groups, each order as likely as
any other; where nothing ties it is the textbook value.

A shuffled gallery gives the same results in every digit: counts are integers, sums of real
values are taken in fixed-point integers (no rounding, hence no order), and everything else is
computed from them by position in the ranking.

The arrays here are as large as the distances, several times over; `chunks` cuts the queries
so that memory stays bounded.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

RECALL_GRID = np.linspace(0.0, 1.0, 101)
"""Recall levels of the precision-recall curves."""


def chunks(queries: int, items: int, *, cells: int = 1 << 20) -> Iterator[slice]:
    """Slices of `queries` rows such that rows * `items` stays near `cells` (one row at least)."""
    step = max(1, cells // max(items, 1))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Sorted distances of Q queries to N items, as tie groups."""

    order: np.ndarray
    """int64 [Q, N]: item at each position; arbitrary inside a tie group, excluded items last."""
    start: np.ndarray
    """int64 [Q, N]: position at which the group of this position begins."""
    stop: np.ndarray
    """int64 [Q, N]: position after that group's end."""
    items: np.ndarray
    """int64 [Q]: items that are ranked at all."""


def rank(distances: np.ndarray) -> Ranking:
    """Sort each row of `distances` [Q, N] (real numbers; +inf: not in this ranking).

    Raises:
      ValueError: not a matrix, no items, or a distance is NaN or -inf.
    """
    distances = np.asarray(distances)
    if distances.ndim != 2 or distances.shape[1] == 0:
        raise ValueError(f"distances must be [queries, items >= 1], got shape {distances.shape}")
    if np.isnan(distances).any() or np.isneginf(distances).any():
        raise ValueError("distances must not be NaN or -inf; +inf excludes an item")
    order = np.argsort(distances, axis=1)
    sorted_ = np.take_along_axis(distances, order, axis=1)
    position = np.arange(distances.shape[1])
    edge = sorted_[:, 1:] != sorted_[:, :-1]
    ends = np.ones((len(distances), 1), bool)
    first = np.concatenate([ends, edge], axis=1)
    last = np.concatenate([edge, ends], axis=1)
    start = np.maximum.accumulate(np.where(first, position, 0), axis=1)
    stop = np.where(last, position + 1, len(position))
    stop = np.minimum.accumulate(stop[:, ::-1], axis=1)[:, ::-1]
    return Ranking(order, start, stop, np.isfinite(distances).sum(axis=1))


def _in_order(ranking: Ranking, values: np.ndarray, width: int | None = None) -> np.ndarray:
    """The first `width` of `values` [Q, N] by position, zero for excluded items."""
    values = np.asarray(values)
    if values.shape != ranking.order.shape:
        raise ValueError(f"values {values.shape} do not match distances {ranking.order.shape}")
    ranked = np.take_along_axis(values, ranking.order[:, :width], axis=1)
    if (ranking.items < ranked.shape[1]).any():
        ranked[np.arange(ranked.shape[1]) >= ranking.items[:, None]] = 0
    return ranked


def _cumulative(integers: np.ndarray) -> np.ndarray:
    """int64 [Q, N + 1]: sums of the first 0..N columns."""
    out = np.zeros((len(integers), integers.shape[1] + 1), np.int64)
    np.cumsum(integers, axis=1, out=out[:, 1:])
    return out


@dataclasses.dataclass(frozen=True)
class Hits:
    """Where the relevant items of Q rankings stand, by position; integers [Q, N]."""

    ranking: Ranking
    before: np.ndarray
    """Relevant items before the group of this position."""
    inside: np.ndarray
    """Relevant items in that group."""
    total: np.ndarray
    """int64 [Q]: relevant items that are ranked at all."""


def find(ranking: Ranking, relevance: np.ndarray) -> Hits:
    """Count relevant items by tie group; `relevance` is bool [Q, N]."""
    found = _cumulative(_in_order(ranking, relevance))
    before = np.take_along_axis(found, ranking.start, axis=1)
    inside = np.take_along_axis(found, ranking.stop, axis=1) - before
    return Hits(ranking, before, inside, found[:, -1])


def average_precision(hits: Hits) -> np.ndarray:
    """Expected average precision over the whole ranking, float64 [Q]; NaN without relevant items.

    For a tie group of n items, r of them relevant, after N items of which P are relevant, the
    group adds (r/n) sum_{i=1..n} [P + 1 + (i-1)(r-1)/(n-1)] / (N+i), and the total is divided
    by all relevant items of the ranking. After He et al., "Hashing as tie-aware learning to
    rank", CVPR 2018.
    """
    start, size = hits.ranking.start, hits.ranking.stop - hits.ranking.start
    position = np.arange(size.shape[1])
    others = (position - start) * ((hits.inside - 1) / np.maximum(size - 1, 1))
    gain = hits.inside / size * (hits.before + 1 + others) / (position + 1)
    return _ratio(gain.sum(axis=1), hits.total)


def precision_recall(hits: Hits, recalls: np.ndarray = RECALL_GRID) -> np.ndarray:
    """Interpolated precision at each of `recalls` [G], float64 [Q, G]; NaN without relevant items.

    After each rank i the expected hits E_i give the point (recall E_i / R, precision E_i / i),
    R being all relevant items. The value at a level is the best precision of all points whose
    recall is at least the level, as in TREC's interpolated curve.
    """
    start, size = hits.ranking.start, hits.ranking.stop - hits.ranking.start
    rank_ = np.arange(1, size.shape[1] + 1)
    expected = hits.before + hits.inside * (rank_ - start) / size
    best = np.maximum.accumulate((expected / rank_)[:, ::-1], axis=1)[:, ::-1]
    out = np.full((len(expected), len(recalls)), np.nan)
    for row in np.flatnonzero(hits.total):
        # The slack is for levels such as 0.3 * 10, which floats put above 3.
        needed = np.asarray(recalls) * hits.total[row] - 1e-9
        out[row] = best[row, np.searchsorted(expected[row], needed)]
    return out


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where `below` is 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


def hits_at(hits: Hits, k: int | np.ndarray) -> np.ndarray:
    """Expected number of relevant items among the first k, float64 [Q]; `k` may be one a query.

    Raises:
      ValueError: a k is below 0.
    """
    if np.any(np.asarray(k) < 0):
        raise ValueError(f"k is {k}: must be 0 or more")
    rows, items = hits.before.shape
    k = np.minimum(np.broadcast_to(k, rows), items)
    at = (np.arange(rows), np.maximum(k, 1) - 1)
    start, stop = hits.ranking.start[at], hits.ranking.stop[at]
    expected = hits.before[at] + hits.inside[at] * (k - start) / (stop - start)
    return np.where(k > 0, expected, 0.0)


def precision_at(hits: Hits, k: int) -> np.ndarray:
    """Expected hits among the first k, by k (also where fewer than k are ranked); float64 [Q].

    NaN without relevant items.
    """
    return np.where(hits.total > 0, hits_at(hits, k) / k, np.nan)


def recall_at(hits: Hits, k: int) -> np.ndarray:
    """Expected hits among the first k, by all relevant items; float64 [Q], NaN without any."""
    return _ratio(hits_at(hits, k), hits.total)


def expected_top(ranking: Ranking, values: np.ndarray, k: int) -> np.ndarray:
    """Expected value at each of the first k positions, float64 [Q, k], of `values` [Q, N].

    It is the mean over the tie group of the position; 0 beyond the ranking's end.
    """
    if k < 1:
        raise ValueError(f"k is {k}: must be at least 1")
    start, stop = ranking.start[:, :k], ranking.stop[:, :k]
    ranked = _in_order(ranking, values, int(stop.max(initial=1)))
    rows = len(ranked)
    scale = np.zeros((rows, 1), np.int64)
    if ranked.dtype.kind == "f":  # fixed point, with as many bits as cannot overflow
        _, top = np.frexp(np.abs(ranked).max(axis=1, keepdims=True))
        scale = 62 - ranking.order.shape[1].bit_length() - top
        ranked = np.rint(np.ldexp(ranked.astype(np.float64), scale)).astype(np.int64)
    sums = _cumulative(ranked)
    inside = np.take_along_axis(sums, stop, axis=1) - np.take_along_axis(sums, start, axis=1)
    out = np.zeros((rows, k))
    out[:, : start.shape[1]] = np.ldexp(inside / (stop - start), -scale)
    return out


def ndcg_at(ranking: Ranking, gains: np.ndarray, k: int) -> np.ndarray:
    """Expected discounted gain of the first k, by that of the best order; float64 [Q].

    `gains` is [Q, N], 0 or more. The discount of rank i is log2(i + 1). The best order is that
    of the ranked items, excluded ones left out. NaN where no ranked item has a gain.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ranked = _in_order(ranking, gains)
    cut = max(ranked.shape[1] - k, 0)
    best = np.sort(np.partition(ranked, cut, axis=1)[:, cut:], axis=1)[:, ::-1]
    ideal = (best * discount[: best.shape[1]]).sum(axis=1)
    return _ratio((expected_top(ranking, gains, k) * discount).sum(axis=1), ideal)


def mean_at(ranking: Ranking, values: np.ndarray, k: int) -> np.ndarray:
    """Expected mean of the known `values` [Q, N] among the first k, float64 [Q]; NaN is unknown.

    Where some are unknown: the expected sum of the known ones, by their expected number. NaN
    where none is known.
    """
    known = np.isfinite(values)
    total = expected_top(ranking, np.where(known, values, 0.0), k).sum(axis=1)
    return _ratio(total, expected_top(ranking, known, k).sum(axis=1))


def lookup(
    hamming: np.ndarray, relevance: np.ndarray, excluded: np.ndarray, *, bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Items, and relevant items, below each Hamming threshold.

    Args:
      hamming: integers [Q, N], 0..bits.
      relevance: bool [Q, N].
      excluded: bool [Q, N], items that are never returned.
      bits: length of the codes.

    Returns:
      Two int64 [Q, bits + 1]: column t counts the items with a distance less than t + 1.
    """
    rows, width = len(hamming), bits + 2
    column = np.where(excluded, bits + 1, hamming) + width * np.arange(rows)[:, None]
    counts = []
    for weight in (None, relevance.ravel().astype(np.float64)):
        count = np.bincount(column.ravel(), weight, minlength=rows * width).reshape(rows, width)
        counts.append(np.cumsum(count[:, : bits + 1], axis=1).astype(np.int64))
    return counts[0], counts[1]


def micro(values: np.ndarray) -> float | None:
    """Mean over the queries for which the measure [Q] is defined; None if there are none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def macro(values: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over classes of the class mean of `values` [Q]; None if nowhere defined.

    Classes without a query for which the measure is defined do not count. `labels` is [Q].
    """
    means = [micro(values[labels == label]) for label in np.unique(labels)]
    known = [mean for mean in means if mean is not None]
    return float(np.mean(known)) if known else None
