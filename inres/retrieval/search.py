"""The paper's coarse-to-fine search over an Index.

The result of `search` equals brute force over the pool, ordered by (Euclidean distance, lowest id),
for any data. The pool consists of the items with a Hamming distance below the threshold, or of the
nearest codes by (Hamming distance, lowest id). Excluded items never enter a pool.

There are two engines: a compiled kernel on a CPU (`native`) and jitted programs elsewhere
(`plans`). Each is deterministic, and both break ties by lowest id. They sum a distance in different
orders, so their distances may differ by the rounding of a float32 sum, and rows whose distances
differ by less may swap places, including the K-th. Pools, Hamming distances and `search_hamming`
are identical.
"""

import dataclasses
from typing import Any

import numpy as np

from inres.retrieval import checks, native, padding, plans
from inres.retrieval.index import Index

ENGINES = ("auto", "native", "jax")
"""`native`: the CPU kernel; `jax`: the jitted programs; `auto`: the kernel if available."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The neighbours of Q queries, nearest first, as NumPy arrays."""

    ids: np.ndarray
    """int32 [Q, K]; -1 beyond the last item of the pool."""
    hamming: np.ndarray
    """int32 [Q, K]; -1 beyond the last item."""
    distance: np.ndarray
    """float32 [Q, K], Euclidean distance; inf beyond the last item."""
    pool_size: np.ndarray
    """int32 [Q], number of items in the pool, without excluded ones."""
    threshold: np.ndarray
    """int32 [Q], the threshold used, after `min_pool` raised it. If the pool is the nearest codes:
    one more than the largest Hamming distance among them (0 for an empty pool)."""


def _kernel_items(index: Index, engine: str) -> native.Items | None:
    """The arrays for the kernel; None if the jitted programs are to be used.

    Raises:
      ValueError: unknown engine, or `native` is not available.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}, must be one of {', '.join(ENGINES)}")
    if engine == "jax" or native.kernel() is None or index.kernel_items is None:
        if engine == "native":
            raise ValueError(
                "engine is 'native', but the index is not on a CPU or no kernel was built"
            )
        return None
    return index.kernel_items


def search(
    index: Index,
    query_codes: Any,
    query_features: Any,
    *,
    k: int,
    threshold: Any = None,
    nearest: int | None = None,
    min_pool: int = 0,
    exclude_group: Any = None,
    only_label: Any = None,
    engine: str = "auto",
) -> Result:
    """Search in two stages, exactly (see the module's docstring).

    Args:
      index: the items.
      query_codes: uint32 [Q, W].
      query_features: float32 [Q, D].
      k: number of neighbours.
      threshold: int or int [Q]; the pool is the items with a smaller Hamming distance (paper,
        section 3.3).
      nearest: size of a pool of nearest codes, instead of a threshold.
      min_pool: minimum pool size; the threshold of a query with a smaller pool is raised.
      exclude_group: int [Q], the group whose items are excluded, for instance the query's own scan;
        -1: none.
      only_label: int [Q], the only label to search (paper, section 4.2: the predicted class); -1:
        all.
      engine: one of `ENGINES`.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: shapes do not match the index, features are not finite, not exactly one of
        `threshold` and `nearest` is given, or `only_label` is given for an index without labels.
    """
    queries = checks.queries(
        query_codes, query_features, bits=index.bits, dims=index.dims, k=k, threshold=threshold,
        nearest=nearest, min_pool=min_pool, exclude_group=exclude_group, only_label=only_label,
        labelled=index.tags.label is not None,
    )  # fmt: skip
    min_pool = min(min_pool, index.capacity)
    if nearest is not None:
        m = min(nearest, index.capacity)
        return _search_nearest(index, queries, k=k, m=m, engine=engine)
    items = _kernel_items(index, engine)
    if items is None:
        parts = [
            plans.search_batch(index, batch, k=k, min_pool=min_pool)
            for batch in padding.batches(padding.padded(queries))
        ]
        ids, near, square, sizes, limits = _join(parts, len(queries.codes))
        return Result(ids, near, np.sqrt(square), sizes, limits)
    if min_pool:
        distance = native.nearest(items, queries, k=min_pool)[1]
        limits = np.maximum(queries.threshold, distance.max(axis=1, initial=-1) + 1)
        queries = queries._replace(threshold=limits)
    ids, near, distance, sizes = native.search(items, queries, k=k)
    return Result(ids, near, distance, sizes, queries.threshold)


def _join(parts: list[tuple], q: int) -> list[np.ndarray]:
    """Concatenate the columns of batches and drop the padding."""
    return [np.concatenate(column)[:q] for column in zip(*parts, strict=True)]


def _search_nearest(
    index: Index, queries: native.Queries, *, k: int, m: int, engine: str
) -> Result:
    """Rank the pool of the m nearest codes."""
    _, near, place = _nearest(index, queries, k=m, engine=engine)
    items = _kernel_items(index, engine)
    if items is not None:
        ids, found, distance = native.rank(items, queries, place, k=k)
    else:
        size = padding.padded_size(len(near))
        short = ((0, size - len(near)), (0, 0))
        given = [np.pad(column, short, constant_values=-1) for column in (place, near)]
        parts = [
            plans.rank_given(index, *batch, k=k)
            for batch in padding.batches((padding.padded(queries), *given))
        ]
        square, ids, found = _join(parts, len(near))
        distance = np.sqrt(square)
    return Result(
        ids,
        found,
        distance,
        (place >= 0).sum(axis=1, dtype=np.int32),
        near.max(axis=1, initial=-1) + 1,
    )


def _nearest(
    index: Index, queries: native.Queries, *, k: int, engine: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest codes: ids, Hamming distances and places in id order, int32 [Q, k]."""
    items = _kernel_items(index, engine)
    if items is not None:
        return native.nearest(items, queries, k=k)
    parts = [plans.nearest(index, b, k=k) for b in padding.batches(padding.padded(queries))]
    ids, distance, place = _join(parts, len(queries.codes))
    return ids, distance, place


def search_hamming(
    index: Index,
    query_codes: Any,
    *,
    k: int,
    exclude_group: Any = None,
    only_label: Any = None,
    engine: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest codes by (Hamming distance, lowest id), exactly.

    Arguments and errors as in `search`.

    Returns:
      (ids, hamming): int32 [Q, K] each; -1 beyond the last item.
    """
    queries = checks.queries(
        query_codes, None, bits=index.bits, dims=index.dims, k=k,
        exclude_group=exclude_group, only_label=only_label, labelled=index.tags.label is not None,
    )  # fmt: skip
    return _nearest(index, queries, k=k, engine=engine)[:2]
