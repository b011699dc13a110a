"""Items within a Hamming distance of a query: candidate pools, lookups, results of a search."""

import dataclasses

import numpy as np

from inres.evaluation import graded, judging, metrics

RADIUS = 2
"""Hamming radius (bits) of the lookup that is reported as one number."""


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Items below each Hamming threshold for q queries: column t counts distances below t + 1."""

    sizes: np.ndarray
    """int64 [q, bits + 1]: items."""
    hits: np.ndarray
    """int64 [q, bits + 1]: relevant items."""

    @property
    def radius_column(self) -> int:
        """The column of `RADIUS`."""
        return min(RADIUS, self.sizes.shape[1] - 1)


def lookup(
    hamming: np.ndarray, relevance: np.ndarray, excluded: np.ndarray, *, bits: int
) -> Lookup:
    """Count items, and relevant items, below each Hamming threshold.

    Args:
      hamming: integers [Q, N], 0..bits.
      relevance: bool [Q, N].
      excluded: bool [Q, N], items that are never returned.
      bits: length of the codes.
    """
    out = np.zeros((2, len(hamming), bits + 1), np.int64)
    for query, row in enumerate(np.where(excluded, bits + 1, hamming)):
        for side, distances in zip(out, (row, row[relevance[query]]), strict=True):
            side[query] = np.bincount(distances, minlength=bits + 2)[: bits + 1]
    counts = np.cumsum(out, axis=2)
    return Lookup(counts[0], counts[1])


@dataclasses.dataclass(frozen=True)
class Returned:
    """What the two-stage search returns for q queries."""

    rows: np.ndarray
    """int64 [q, k]: gallery rows, nearest first, ties by lowest row; -1 beyond the pool's end."""
    hamming: np.ndarray
    """int32 [q, k]: Hamming distance; -1 where nothing is returned."""
    distance: np.ndarray
    """float64 [q, k]: Euclidean distance of the fine feature; NaN where nothing is returned."""
    precision: np.ndarray
    """float64 [q]: share of the returned items that are relevant; 0 for an empty pool."""
    pool_size: np.ndarray
    """float64 [q]"""
    limits: np.ndarray
    """int64 [q], Hamming thresholds of the pools."""
    excluded: np.ndarray
    """int64 [q]: items that the query must not find."""


def returned(
    order: judging.Order,
    hamming: np.ndarray,
    fine: np.ndarray,
    excluded: np.ndarray,
    *,
    limits: np.ndarray,
    k: int,
) -> Returned:
    """The first k items of each candidate pool.

    Args:
      order: the two-stage ranking of q queries.
      hamming: int16 [q, N].
      fine: float64 [q, N], squared Euclidean distances.
      excluded: bool [q, N].
      limits: int [q]; the pool of a query holds Hamming distances below its limit.
      k: length of the result list.
    """
    pool = (hamming < limits[:, None]) & ~excluded
    sizes = pool.sum(axis=1)
    count = np.minimum(sizes, k)
    query = order.top.query
    position = np.arange(len(query)) - order.top.first[query]
    shown = position < count[query]
    at = (query[shown], position[shown])
    rows = np.full((len(sizes), k), -1, np.int64)
    bits = np.full(rows.shape, -1, np.int32)
    distance = np.full(rows.shape, np.nan)
    rows[at] = order.top.items[shown]
    bits[at] = hamming[query[shown], order.top.items[shown]]
    distance[at] = np.sqrt(fine[query[shown], order.top.items[shown]])
    return Returned(
        rows=rows,
        hamming=bits,
        distance=distance,
        precision=metrics.hits_at(order.hits, count) / np.maximum(count, 1),
        pool_size=sizes.astype(np.float64),
        limits=limits,
        excluded=excluded.sum(axis=1),
    )


def neighbours_kept(
    ranking: metrics.Ranking, hamming: np.ndarray, k: int, *, bits: int
) -> np.ndarray:
    """Share of the true `k` nearest that a pool below each Hamming threshold still returns.

    An item counts as a true neighbour if it is no farther than the k-th nearest, so that ties are
    treated fairly (Aumüller et al., "ANN-Benchmarks", 2020). A search of the pool by the same
    distance returns all true neighbours in the pool, up to k.

    Args:
      ranking: all items, ranked by the fine distance.
      hamming: integers [Q, N], 0..bits.
      k: number of neighbours.
      bits: length of the codes.

    Returns:
      float64 [Q, bits + 1]: column t is for distances below t + 1. NaN without items.
    """
    top = graded.candidates(ranking, k)
    width = bits + 2
    cell = top.query * width + graded.in_top(top, hamming)
    rows = len(hamming)
    inside = np.bincount(cell, minlength=rows * width).reshape(rows, width)[:, : bits + 1]
    wanted = np.minimum(k, ranking.items)[:, None]
    return metrics.ratio(np.minimum(np.cumsum(inside, axis=1), wanted), wanted)


def class_hamming(
    hamming: np.ndarray, excluded: np.ndarray, gallery_labels: np.ndarray, classes: int
) -> np.ndarray:
    """Mean Hamming distance to the items of each class, float64 [q, classes]; NaN without items."""
    member = (gallery_labels[:, None] == np.arange(classes)).astype(np.float64)
    allowed = ~excluded
    total = (hamming * allowed) @ member  # integers, hence exact
    count = allowed @ member
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def precision_in_radius(lookup: Lookup, relevant: np.ndarray) -> np.ndarray:
    """Precision of the lookup in `RADIUS`, float64 [Q]: 0 if empty, NaN without relevant items."""
    column = lookup.radius_column
    share = lookup.hits[:, column] / np.maximum(lookup.sizes[:, column], 1)
    return np.where(relevant > 0, share, np.nan)


def sweep(lookup: Lookup, relevant: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Pools by Hamming threshold, averaged over the queries that have relevant items.

    Args:
      lookup: of Q queries.
      relevant: int [Q], relevant items of each query.
      labels: int [Q].

    Returns:
      `threshold` 1..bits + 1, macro `precision` (0 for an empty pool), macro `recall`,
      `mean_size` and `empty_share`, each [bits + 1].
    """
    known = relevant > 0
    counts = np.where(known, relevant, 1)[:, None]
    values = {
        "precision": lookup.hits / np.maximum(lookup.sizes, 1),
        "recall": lookup.hits / counts,
    }
    return {
        "threshold": np.arange(1, lookup.sizes.shape[1] + 1),
        **{
            name: metrics.macro_columns(np.where(known[:, None], value, np.nan), labels)
            for name, value in values.items()
        },
        "mean_size": lookup.sizes.mean(axis=0),
        "empty_share": (lookup.sizes == 0).mean(axis=0),
    }
