"""The paper's coarse-to-fine search over an Index.

What `search` promises, for any data: the result is that of brute force over the pool, ordered by
(Euclidean distance, lowest id). The pool is {Hamming distance < threshold}, or the nearest codes
by (Hamming distance, lowest id); what the query may not see is in no pool.

On a CPU a compiled kernel does the work (`native`), elsewhere jitted programs (`plans`). Each of
the two is deterministic. They sum a distance in another order, so between them distances are equal
up to the rounding of a float32 sum, and rows nearer to each other than that may change places, at
the K-th place too. Equal distances go by lowest id in either; pools, Hamming distances of rows and
`search_hamming` are the same.
"""

import dataclasses
from typing import Any

import numpy as np

from inres.retrieval import checks, native, padding, plans
from inres.retrieval.index import Index

ENGINES = ("auto", "native", "jax")
"""`native`: the CPU kernel; `jax`: the jitted programs; `auto`: the kernel where it can."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Neighbours of Q queries, nearest first. NumPy arrays."""

    ids: np.ndarray
    """int32 [Q, K]; -1 where the pool has fewer than K items."""
    hamming: np.ndarray
    """int32 [Q, K]; -1 where there is no item."""
    distance: np.ndarray
    """float32 [Q, K], Euclidean; inf where there is no item."""
    pool_size: np.ndarray
    """int32 [Q], all items below the threshold, the excluded ones not counted."""
    threshold: np.ndarray
    """int32 [Q], as used: raised where `min_pool` asked for it. Where the pool was the nearest
    codes, one more than the farthest of them (0: there is none)."""


def _kernel_items(index: Index, engine: str) -> native.Items | None:
    """What the kernel searches; None: use the programs."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}, must be one of {', '.join(ENGINES)}")
    if engine == "jax" or native.kernel() is None or index.kernel_items is None:
        if engine == "native":
            raise ValueError("engine is 'native', but the index is not on a CPU or no kernel built")
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
    """The paper's two-stage search, exact (see the module's docstring).

    Args:
      index: what to search.
      query_codes: uint32 [Q, W].
      query_features: float32 [Q, D].
      k: neighbours wanted.
      threshold: int or int [Q]; candidates have a Hamming distance below it (paper, section 3.3).
      nearest: instead of a threshold: the pool is the so many nearest codes.
      min_pool: raise the threshold of a query whose pool is smaller, until it is not.
      exclude_group: int [Q], the group of each query, left out of its pool; -1: none.
      only_label: int [Q], the label of the items wanted (paper, section 4.2: the predicted class);
        -1: any.
      engine: one of `ENGINES`.

    Raises:
      TypeError: a wrong dtype.
      ValueError: shapes disagree with the index, features are not finite, neither or both of
        threshold and nearest are given, or `only_label` where the index has no labels.
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
    """The columns of batches, without their padding."""
    return [np.concatenate(column)[:q] for column in zip(*parts, strict=True)]


def _search_nearest(
    index: Index, queries: native.Queries, *, k: int, m: int, engine: str
) -> Result:
    """Rank the m nearest codes."""
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
    """(ids, Hamming distances, places in id order) int32 [Q, k]."""
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
    """The k nearest codes by (Hamming distance, lowest id), exact.

    Args and errors as in `search`.

    Returns:
      (ids, hamming): int32 [Q, K] each; -1 where there are fewer than K items.
    """
    queries = checks.queries(
        query_codes, None, bits=index.bits, dims=index.dims, k=k,
        exclude_group=exclude_group, only_label=only_label, labelled=index.tags.label is not None,
    )  # fmt: skip
    return _nearest(index, queries, k=k, engine=engine)[:2]
