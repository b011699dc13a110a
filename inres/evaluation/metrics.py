"""Retrieval measures that do not depend on the order of ties: expectations over all orders.

Every measure starts from `rank(distances)`. Distances are [Q, N], smaller is nearer, and `far`
of their dtype excludes an item from that query's ranking. Items at equal distance form a tie
group. A measure is its expected value over all orders of the items inside the groups, each
order being equally likely; without ties it is the textbook value. `best` and `worst` give the
same measures for the most and the least favourable order.

Shuffling the gallery does not change any digit of a result: counts are integers, sums of real
values are computed in fixed-point integers (no rounding, so the order does not matter), and
everything else is computed from them by position in the ranking.

Only groups that hold a relevant item (`Hits`) and items that may be among the first k
(`graded.Top`) are processed one by one, so that the cost is that of sorting the distances. The
arrays are as large as the distances; `chunks` splits the queries so that memory stays bounded.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np

RECALL_GRID = np.linspace(0.0, 1.0, 101)
"""Recall levels of the precision-recall curves."""


def chunks(queries: int, items: int, *, cells: int = 1 << 20) -> Iterator[slice]:
    """Slices of `queries` rows with rows * `items` near `cells`, and at least one row each."""
    step = max(1, cells // max(items, 1))
    for start in range(0, queries, step):
        yield slice(start, min(start + step, queries))


def far(dtype: np.dtype) -> float | int:
    """The distance that excludes an item: +inf of floats, the largest value of integers."""
    return np.inf if dtype.kind == "f" else int(np.iinfo(dtype).max)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Distances of Q queries to N items, and the same sorted."""

    distances: np.ndarray
    """[Q, N]"""
    ordered: np.ndarray
    """[Q, N]: each row sorted; excluded items come last."""
    items: np.ndarray
    """int64 [Q]: number of items that are not excluded."""


def rank(distances: np.ndarray) -> Ranking:
    """Sort each row of `distances` [Q, N], integers or floats; `far` excludes an item.

    Raises:
      ValueError: not a matrix, no items, or a distance is NaN or -inf.
    """
    distances = np.asarray(distances)
    if distances.ndim != 2 or distances.shape[1] == 0:
        raise ValueError(f"distances must be [queries, items >= 1], got shape {distances.shape}")
    ordered = np.sort(distances, axis=1)  # NaN comes last
    if np.isnan(ordered[:, -1]).any() or np.isneginf(ordered[:, 0]).any():
        raise ValueError("distances must not be NaN or -inf; +inf excludes an item")
    limit = far(distances.dtype)
    items = np.array([np.searchsorted(row, limit) for row in ordered], np.int64)
    return Ranking(distances, ordered, items)


@dataclasses.dataclass(frozen=True)
class Hits:
    """The tie groups that contain relevant items: G groups of Q queries, nearest first."""

    items: np.ndarray
    """int64 [Q]: number of items that are not excluded."""
    total: np.ndarray
    """int64 [Q]: number of relevant items that are not excluded."""
    query: np.ndarray
    """int64 [G], ascending."""
    start: np.ndarray
    """int64 [G]: number of items ranked before the group."""
    size: np.ndarray
    """int64 [G]: number of items in the group."""
    before: np.ndarray
    """int64 [G]: number of relevant items ranked before the group."""
    inside: np.ndarray
    """int64 [G]: number of relevant items in the group, 1 or more."""


def find(ranking: Ranking, relevance: np.ndarray) -> Hits:
    """Count relevant items by tie group; `relevance` is bool [Q, N].

    Raises:
      ValueError: `relevance` does not match the distances.
    """
    relevance = np.asarray(relevance, bool)
    if relevance.shape != ranking.distances.shape:
        raise ValueError(
            f"relevance {relevance.shape} does not match distances {ranking.distances.shape}"
        )
    limit = far(ranking.distances.dtype)
    columns: list[tuple[np.ndarray, ...]] = []
    total = np.zeros(len(relevance), np.int64)
    for row, (distances, ordered) in enumerate(
        zip(ranking.distances, ranking.ordered, strict=True)
    ):
        found = np.sort(distances[relevance[row]])
        found = found[: np.searchsorted(found, limit)]
        total[row] = len(found)
        before = group_starts(found)
        levels = found[before]
        start = np.searchsorted(ordered, levels, side="left")
        size = np.searchsorted(ordered, levels, side="right") - start
        columns.append((start, size, before, np.diff(before, append=len(found))))
    counts = [len(column[0]) for column in columns]
    query = np.repeat(np.arange(len(relevance)), counts)
    joined = (np.concatenate(parts).astype(np.int64) for parts in zip(*columns, strict=True))
    return Hits(ranking.items, total, query, *joined)


def group_starts(ordered: np.ndarray) -> np.ndarray:
    """Positions at which the groups of equal values in a sorted row begin, int64."""
    return np.flatnonzero(np.r_[len(ordered) > 0, ordered[1:] != ordered[:-1]])


def best(hits: Hits) -> Hits:
    """The most favourable order of all ties: relevant items first in their group."""
    return dataclasses.replace(hits, size=hits.inside)


def worst(hits: Hits) -> Hits:
    """The least favourable order of all ties: relevant items last in their group."""
    return dataclasses.replace(hits, start=hits.start + hits.size - hits.inside, size=hits.inside)


@functools.lru_cache(maxsize=4)
def _harmonic(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Harmonic numbers 0..count, float64, and their rounding errors."""
    exact = np.r_[0, np.cumsum(1 / np.arange(1, count + 1, dtype=np.longdouble))]
    return exact.astype(np.float64), (exact - exact.astype(np.float64)).astype(np.float64)


def _sum(hits: Hits, values: np.ndarray) -> np.ndarray:
    """Sums of `values` [G] by query, float64 [Q]."""
    return np.bincount(hits.query, values, minlength=len(hits.total))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where `below` is 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


def average_precision(hits: Hits, at: int | np.ndarray | None = None) -> np.ndarray:
    """Expected average precision, float64 [Q]; NaN for queries without relevant items.

    Computed over the whole ranking, or over its first `at` ranks (one number, or one per query).
    In that case the sum is divided by the largest possible number of hits, min(at, relevant
    items), not by the number found. `at=hits.total` is MAP@R (Musgrave et al., "A metric learning
    reality check", 2020).

    A tie group of n items, r of them relevant, that follows N items, P of them relevant, adds
    (r/n) sum_{i=1..n} [P + 1 + (i-1)(r-1)/(n-1)] / (N+i) (He et al., "Hashing as tie-aware
    learning to rank", CVPR 2018).

    Raises:
      ValueError: `at` is below 0.
    """
    at = hits.items if at is None else _ranks(hits, at)
    wanted = np.minimum(hits.total, at)
    near = hits.start < at[hits.query]
    query, start, size, before, inside = (
        column[near] for column in (hits.query, hits.start, hits.size, hits.before, hits.inside)
    )
    ranks = np.minimum(at[query] - start, size)
    slope = (inside - 1) / np.maximum(size - 1, 1)
    # The sum's term is slope + (P + 1 - slope (N + 1)) / (N + i).
    harmonic, lost = _harmonic(1 << int(hits.items.max(initial=1)).bit_length())
    stop = start + ranks
    part = (harmonic[stop] - harmonic[start]) + (lost[stop] - lost[start])
    gain = (slope * ranks + (before + 1 - slope * (start + 1)) * part) * (inside / size)
    return ratio(np.bincount(query, gain, minlength=len(wanted)), wanted)


def _ranks(hits: Hits, k: int | np.ndarray) -> np.ndarray:
    """A rank for each query, int64 [Q].

    Raises:
      ValueError: a rank is below 0.
    """
    if np.any(np.asarray(k) < 0):
        raise ValueError(f"k is {k}: must be 0 or more")
    return np.broadcast_to(k, hits.total.shape)


def hits_at(hits: Hits, k: int | np.ndarray) -> np.ndarray:
    """Expected number of relevant items among the first k, float64 [Q]; `k` may differ by query.

    Raises:
      ValueError: a k is below 0.
    """
    ranks = np.clip(_ranks(hits, k)[hits.query] - hits.start, 0, hits.size)
    return _sum(hits, hits.inside * ranks / hits.size)


def precision_at(hits: Hits, k: int) -> np.ndarray:
    """Expected hits among the first k, divided by k even if fewer are ranked; float64 [Q].

    NaN without relevant items.
    """
    return np.where(hits.total > 0, hits_at(hits, k) / k, np.nan)


def recall_at(hits: Hits, k: int) -> np.ndarray:
    """Expected hits among the first k, divided by all relevant items; float64 [Q], NaN if none."""
    return ratio(hits_at(hits, k), hits.total)


def precision_recall(hits: Hits, recalls: np.ndarray = RECALL_GRID) -> np.ndarray:
    """Interpolated precision at each of `recalls` [G], float64 [Q, G]; NaN without relevant items.

    After each rank i the expected hits E_i give the point (recall E_i / R, precision E_i / i),
    where R is the number of relevant items. The value at a recall level is the best precision of
    all points with at least that recall, as in TREC's interpolated curve.
    """
    recalls = np.asarray(recalls, np.float64)
    out = np.full((len(hits.total), len(recalls)), np.nan)
    if not len(hits.query) or not len(recalls):
        return out

    def precision(group: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """Precision after the given number of ranks into each group."""
        found = hits.before[group] + hits.inside[group] * ranks / hits.size[group]
        return found / (hits.start[group] + ranks)

    # Within a group, precision is a hyperbola in i, so it is best at the first or the last rank.
    every = np.arange(len(hits.query))
    last = precision(every, hits.size)
    first = precision(every, np.ones_like(hits.size))
    bounds = np.searchsorted(hits.query, np.arange(len(out) + 1))
    after = hits.before + hits.inside
    for query in np.flatnonzero(hits.total):
        mine = slice(bounds[query], bounds[query + 1])
        peak = np.maximum(first[mine], last[mine])[::-1]
        later = np.r_[np.maximum.accumulate(peak)[::-1][1:], 0.0]
        # The slack covers levels such as 0.3 * 10, which is above 3 in floating point.
        needed = recalls * hits.total[query] - 1e-9
        place = np.searchsorted(after[mine], needed)
        group = place + mine.start
        missing = (needed - hits.before[group]) * hits.size[group] / hits.inside[group]
        here = precision(group, np.clip(np.ceil(missing), 1, hits.size[group]))
        out[query] = np.maximum(np.maximum(here, last[group]), later[place])
    return out


def micro(values: np.ndarray) -> float | None:
    """Mean over the queries for which the measure [Q] is defined; None if there are none."""
    values = values[np.isfinite(values)]
    return math.fsum(values) / len(values) if len(values) else None  # independent of the order


def macro(values: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over classes of the class means of `values` [Q]; None if undefined for all queries.

    Classes for which the measure is undefined for every query do not count. `labels` is [Q].
    """
    means = [micro(values[labels == label]) for label in np.unique(labels)]
    known = [mean for mean in means if mean is not None]
    return math.fsum(known) / len(known) if known else None


def column_means(values: np.ndarray) -> np.ndarray:
    """Mean of the known values of each column of [Q, G]; NaN where none is known."""
    means = [micro(column) for column in values.T]
    return np.array([np.nan if mean is None else mean for mean in means])


def class_means(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean of the rows of each class of [Q, G], as [classes, G]; NaN where none is known."""
    out = np.full((classes, values.shape[1]), np.nan)
    for label in np.unique(labels):
        out[label] = column_means(values[labels == label])
    return out


def macro_columns(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Macro mean of each column of [Q, G]; NaN where it is undefined for every query."""
    means = [macro(column, labels) for column in values.T]
    return np.array([np.nan if mean is None else mean for mean in means])
