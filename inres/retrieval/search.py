"""The paper's coarse-to-fine search over an Index.

The result of `search` equals brute force over the pool, ordered by (Euclidean distance, lowest id),
for any data. The pool consists of the items with a Hamming distance below the threshold, or of the
nearest codes by (Hamming distance, lowest id). Excluded items never enter a pool.

There are two engines: a compiled kernel on a CPU (`native`) and jitted programs elsewhere
(`jitted`). Each is deterministic, and both break ties by lowest id. They sum a distance in
different orders, so their distances may differ by the rounding of a float32 sum, and rows whose
distances differ by less may swap places, including the K-th. Pools, Hamming distances and
`search_hamming` are identical.
"""

import functools
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from inres.retrieval import accelerator, checks, native
from inres.retrieval.index import Index
from inres.retrieval.queries import Queries

ENGINES = ("auto", "native", "jax")
"""`native`: the CPU kernel; `jax`: the jitted programs; `auto`: the kernel if available."""


class Result(NamedTuple):
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


FEW = 1024
"""Smaller pools are widened by finding their nearest codes, larger ones by counting all codes."""


def _kernel_items(index: Index, engine: str) -> native.Items | None:
    """The arrays for the kernel; None if the jitted programs are to be used.

    Raises:
      ValueError: unknown engine, or `native` is not available.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}, must be one of {', '.join(ENGINES)}")
    if engine == "jax" or (engine == "auto" and accelerator.is_default()):
        return None
    if native.kernel() is not None:
        return index.kernel_items
    if engine == "native":
        raise ValueError("engine is 'native', but no kernel was built")
    return None


@functools.cache
def _how(workers: int | None, plan: str) -> native.How:
    """The kernel's settings.

    Raises:
      ValueError: there is no such plan.
    """
    if plan not in native.PLANS:
        raise ValueError(f"plan is {plan!r}, must be one of {', '.join(native.PLANS)}")
    return native.How(workers or 0, plan)


def _jitted() -> ModuleType:
    """The engine without a kernel, imported when used: JAX takes longer to import than to search.

    A process that searches with the kernel only never imports JAX.
    """
    from inres.retrieval import jitted

    return jitted


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
    workers: int | None = None,
    plan: str = "auto",
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
      workers: threads of the kernel; default: one per core.
      plan: how the kernel finds codes, one of `native.PLANS`; the result is the same.

    Raises:
      TypeError: a dtype is wrong.
      ValueError: shapes do not match the index, features are not finite, not exactly one of
        `threshold` and `nearest` is given, or `only_label` is given for an index without labels.
    """
    if query_features is None:  # the kernel would read them
        raise TypeError("query_features are None; search_hamming searches by codes alone")
    items, how = _kernel_items(index, engine), _how(workers, plan)
    queries = checks.queries(
        query_codes, query_features, bits=index.bits, dims=index.dims, k=k, threshold=threshold,
        nearest=nearest, min_pool=min_pool, exclude_group=exclude_group, only_label=only_label,
        labelled=index.labelled, values=items is None,
    )  # fmt: skip
    if nearest is not None:
        m = min(nearest, index.capacity)
        return _search_nearest(index, items, queries, k=k, m=m, how=how)
    if min_pool:
        min_pool = min(min_pool, index.capacity)
    if items is None:
        return Result(*_jitted().search(index.on_device, queries, k=k, min_pool=min_pool))
    if min_pool:
        if min_pool <= FEW:
            distance = native.nearest(items, queries, k=min_pool, how=how)[1]
            least = distance.max(axis=1, initial=-1) + 1
        else:
            least = native.widen(items, queries, least=min_pool, how=how)
        queries = queries._replace(threshold=np.maximum(queries.threshold, least))
    ids, near, distance, sizes = native.search(items, queries, k=k, how=how)
    return Result(ids, near, distance, sizes, queries.threshold)


def _search_nearest(
    index: Index,
    items: native.Items | None,
    queries: Queries,
    *,
    k: int,
    m: int,
    how: native.How,
) -> Result:
    """Rank the pool of the m nearest codes."""
    _, near, place = _nearest(index, items, queries, k=m, how=how)
    if items is not None:
        ids, found, distance = native.rank(items, queries, place, k=k, how=how)
    else:
        ids, found, distance = _jitted().rank(index.on_device, queries, place, near, k=k)
    return Result(
        ids,
        found,
        distance,
        (place >= 0).sum(axis=1, dtype=np.int32),
        near.max(axis=1, initial=-1) + 1,
    )


def _nearest(
    index: Index,
    items: native.Items | None,
    queries: Queries,
    *,
    k: int,
    how: native.How,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest codes: ids and Hamming distances int32 [Q, k], and the engine's places."""
    if items is not None:
        return native.nearest(items, queries, k=k, how=how)
    return _jitted().nearest(index.on_device, queries, k=k)


def search_hamming(
    index: Index,
    query_codes: Any,
    *,
    k: int,
    exclude_group: Any = None,
    only_label: Any = None,
    engine: str = "auto",
    workers: int | None = None,
    plan: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest codes by (Hamming distance, lowest id), exactly.

    Arguments and errors as in `search`.

    Returns:
      (ids, hamming): int32 [Q, K] each; -1 beyond the last item.
    """
    queries = checks.queries(
        query_codes, None, bits=index.bits, dims=index.dims, k=k,
        exclude_group=exclude_group, only_label=only_label, labelled=index.labelled,
    )  # fmt: skip
    items = _kernel_items(index, engine)
    return _nearest(index, items, queries, k=k, how=_how(workers, plan))[:2]
