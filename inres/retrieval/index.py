"""The Index: codes and features in memory, and the paper's coarse-to-fine search over them.

What `search` promises, for any data: the result is that of brute force over the pool {Hamming
distance < threshold, own group left out}, ordered by (Euclidean distance, lowest id).

How. One pass over the codes marks each query's pool, and the plan is chosen by the counted sizes.
A small pool is compacted and its rows read. A large, dense one is walked: items lie sorted by
code, so a pool is mostly whole tiles; all queries of a batch pass each tile that holds a candidate
of any of them, and keep per block of rows the lower bound that the features' int8 sketch gives.
The blocks of least bound are then read in full, until the nearest unread bound exceeds the K-th
distance; if the list of blocks ends before that, the tiles that might still hold a nearer row are
read. No step can overflow unseen.

Capacities are padded and counts are data: another number of items within the capacity, of queries
within the padded size, or of candidates compiles nothing that `warm` has not compiled.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inres.retrieval import codes as codes_lib
from inres.retrieval import hamming, rerank
from inres.retrieval.hamming import FAR, TILE

QUERIES = 64
"""Queries of one batch; more are worked off in batches."""
TOGETHER_ONE = ((64, 64), (1024, 1024))
TOGETHER_MANY = ((1024, 64), (8192, 512))
"""(candidates of a batch, of one query): pools up to these are ranked in one pass."""
CHUNK = 512
"""Candidates ranked at a time where a pool is ranked alone."""
WALK_DENSITY = {1: 16, 4: 16, 16: 9, 64: 9}
"""Candidates in a tile from which walking the tile is cheaper than compacting them, a query, by
the size of the batch."""
READ = 32
"""Blocks read at a time after a walk."""
BOUND_BLOCKS = 128
"""Blocks of a tile in the walk, so 8 rows each."""


@flax.struct.dataclass
class Index:
    """Codes and features of C = 1024 T slots, `count` of them items. Make it with `build`."""

    codes: jax.Array
    """uint32 [T, W, 1024], in walk order (sorted by code)."""
    features: jax.Array
    """float32 [C, D], in walk order."""
    ids: jax.Array
    """int32 [C], in walk order; -1 in empty slots."""
    groups: jax.Array
    """int32 [T, 1024], in walk order; -1: in no group."""
    sketch: rerank.Sketch
    """Of the features."""
    codes_by_id: jax.Array
    """uint32 [T, W, 16, 64], in id order."""
    groups_by_id: jax.Array
    """int32 [T, 16, 64], in id order."""
    ids_by_id: jax.Array
    """int32 [C], ascending; -1 in empty slots."""
    count: jax.Array
    """int32 []."""
    bits: int = flax.struct.field(pytree_node=False)

    @property
    def dims(self) -> int:
        """Width of the features."""
        return self.features.shape[1]

    @property
    def capacity(self) -> int:
        """Slots."""
        return self.features.shape[0]

    def __len__(self) -> int:
        return int(self.count)


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
    """int32 [Q], as used: raised for empty pools where `widen` was asked."""


def _check_features(features: Any, dims: int | None, name: str) -> np.ndarray:
    array = np.asarray(features)
    if array.dtype not in (np.float16, np.float32, jnp.bfloat16):
        raise TypeError(f"{name} are {array.dtype}, must be float32 (or float16, bfloat16)")
    array = np.asarray(array, np.float32)
    if array.ndim != 2 or array.shape[1] < 1 or (dims is not None and array.shape[1] != dims):
        raise ValueError(f"{name} have shape {array.shape}, must be [N, {dims or 'D'}]")
    if array.size:
        # min and max carry NaN along, and take no copy.
        largest = max(-float(array.min()), float(array.max()))
        limit = float(np.sqrt(1e37 / array.shape[1]) / 2)
        if not np.isfinite(largest):
            row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            raise ValueError(f"{name}: row {row} is not finite; NaN and inf have no rank")
        if largest > limit:
            raise ValueError(
                f"{name}: largest magnitude {largest:.3g}, squared distances overflow float32 "
                f"above {limit:.3g}; scale the features"
            )
    return array


def _check_integers(values: Any, n: int, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (n,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: {array.dtype} {array.shape}, must be integers [{n}]")
    if n and (array.min() < -1 or array.max() > np.iinfo(np.int32).max):
        raise ValueError(f"{name}: values must be -1 or more and fit int32")
    return array.astype(np.int32)


def sort_by_code(codes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The walk order: positions int64 [N] that sort by code, then by id."""
    return np.lexsort((ids, *(codes[:, w] for w in reversed(range(codes.shape[1])))))


def build(
    codes: Any,
    features: Any,
    *,
    bits: int,
    groups: Any = None,
    ids: Any = None,
    capacity: int = 0,
) -> Index:
    """An Index of N items.

    Args:
      codes: uint32 [N, words(bits)], as `pack` makes them.
      features: float32 [N, D]; float16 and bfloat16 are widened.
      bits: code length h.
      groups: int [N]: items of a query's group are left out of its result; -1: no group.
      ids: int [N], unique, 0 or more; default 0 ... N - 1.
      capacity: room for at least so many items; 0: for N.

    Raises:
      TypeError: a wrong dtype.
      ValueError: widths or lengths disagree, ids repeat, or features are not finite.
    """
    codes = codes_lib.check(np.asarray(codes), bits)
    if bits > hamming.MAX_BITS:
        raise ValueError(f"bits is {bits}, must be at most {hamming.MAX_BITS}")
    if codes.ndim != 2:
        raise ValueError(f"codes have shape {codes.shape}, must be [N, {codes_lib.words(bits)}]")
    n = len(codes)
    features = _check_features(features, None, "features")
    if len(features) != n:
        raise ValueError(f"{n} codes but {len(features)} rows of features")
    ids = np.arange(n, dtype=np.int32) if ids is None else _check_integers(ids, n, "ids")
    groups = np.full(n, -1, np.int32) if groups is None else _check_integers(groups, n, "groups")
    by_id = np.argsort(ids, kind="stable")
    if n and (ids[by_id[0]] < 0 or (np.diff(ids[by_id]) == 0).any()):
        raise ValueError("ids must be 0 or more, each once")
    tiles = hamming.tiles(max(n, capacity))
    order = sort_by_code(codes, ids)
    spare = (0, tiles * TILE - n)
    rows = np.zeros((tiles * TILE, features.shape[1]), np.float32)
    np.take(features, order, axis=0, out=rows[:n])
    count = jnp.asarray(n, jnp.int32)
    walked = jnp.asarray(rows)
    return Index(
        codes=jnp.asarray(hamming.walk_layout(codes[order], tiles)),
        features=walked,
        ids=jnp.asarray(np.pad(ids[order], spare, constant_values=-1)),
        groups=jnp.asarray(np.pad(groups[order], spare, constant_values=-1).reshape(tiles, TILE)),
        sketch=rerank.make_sketch(walked, count),
        codes_by_id=jnp.asarray(hamming.id_layout(codes[by_id], tiles)),
        groups_by_id=jnp.asarray(hamming.id_layout(groups[by_id, None], tiles, -1)[:, 0]),
        ids_by_id=jnp.asarray(np.pad(ids[by_id], spare, constant_values=-1)),
        count=count,
        bits=bits,
    )


def padded_queries(q: int) -> int:
    """Size to which `q` queries are padded: 1, 4, 16, 64, then whole batches by powers of two."""
    if q > QUERIES:
        return QUERIES << (-(-q // QUERIES) - 1).bit_length()
    return next(size for size in (1, 4, 16, QUERIES) if q <= size)


def _pad(values: np.ndarray, size: int, fill: int = 0) -> np.ndarray:
    if len(values) == size:
        return values
    out = np.full((size, *values.shape[1:]), fill, values.dtype)
    out[: len(values)] = values
    return out


def _check_queries(query_codes: Any, bits: int, k: int) -> np.ndarray:
    codes = codes_lib.check(np.asarray(query_codes), bits, name="query_codes")
    if codes.ndim != 2:
        raise ValueError(f"query_codes have shape {codes.shape}, must be [Q, W]")
    if k < 1:
        raise ValueError(f"k is {k}, must be 1 or more")
    return codes


def search(
    index: Index,
    query_codes: Any,
    query_features: Any,
    *,
    threshold: Any,
    k: int,
    exclude: Any = None,
    widen: bool = False,
) -> Result:
    """The paper's two-stage search, exact (see the module's docstring).

    Args:
      index: what to search.
      query_codes: uint32 [Q, W].
      query_features: float32 [Q, D].
      threshold: int or int [Q]; candidates have a Hamming distance below it.
      k: neighbours wanted.
      exclude: int [Q], the group of each query, left out of its pool; -1: none.
      widen: raise the threshold of an empty pool to the nearest code's distance + 1.

    Raises:
      TypeError: a wrong dtype.
      ValueError: shapes disagree with the index, or features are not finite.
    """
    q, columns = padded(
        query_codes, query_features, threshold, exclude, bits=index.bits, dims=index.dims, k=k
    )
    parts = [
        _search_batch(index, _Queries(*columns).batch(start), k, widen)
        for start in range(0, len(columns[0]), QUERIES)
    ]
    return Result(*(np.concatenate(column)[:q] for column in zip(*parts, strict=True)))


def _search_batch(index: Index, queries: "_Queries", k: int, widen: bool) -> tuple:
    """Search one batch by a few programs in turn, the plan chosen here; columns of `Result`.

    In one program (see `ranked`) the compiler would use one core for whatever stands in a branch,
    and compute the scan anew for each reader.
    """
    pools = _count(_scan(index, queries))
    sizes = np.asarray(pools.size)
    if widen and (sizes[np.asarray(queries.threshold) >= 0] == 0).any():
        queries = dataclasses.replace(queries, threshold=_widen(index, queries))
        pools = _count(_scan(index, queries))
        sizes = np.asarray(pools.size)
    tiers = TOGETHER_ONE if len(sizes) == 1 else TOGETHER_MANY
    total, largest = sizes.sum(dtype=np.int64), sizes.max()
    for slots, width in tiers:
        if total <= slots and largest <= width:
            top = _together(index, queries, pools, slots=slots, width=width, k=k)
            break
    else:
        by_walk = np.asarray(pools.dense)
        top = _nothing(k, len(sizes))
        if not by_walk[sizes > 0].all():
            top = _alone(index, queries, pools, k=k)
        if by_walk.any():
            top = _walked(index, queries, pools, top, k=k)
    square, ids, distance = (np.asarray(column) for column in top)
    return ids, distance, np.sqrt(square), sizes, np.maximum(np.asarray(queries.threshold), 0)


def padded(
    query_codes: Any,
    query_features: Any,
    threshold: Any,
    exclude: Any,
    *,
    bits: int,
    dims: int,
    k: int,
) -> tuple[int, tuple[Any, ...]]:
    """Check the arguments of `search`; give Q, and them padded as `ranked` wants them."""
    codes = _check_queries(query_codes, bits, k)
    features = _check_features(query_features, dims, "query_features")
    q = len(codes)
    if len(features) != q:
        raise ValueError(f"{q} query codes but {len(features)} query features")
    limits = np.asarray(threshold)
    if limits.ndim > 1 or (limits.ndim == 1 and len(limits) != q) or limits.dtype.kind not in "iu":
        raise ValueError(f"threshold must be an integer or integers [{q}]")
    if limits.size and limits.min() < 0:
        raise ValueError(f"threshold is {limits.min()}, must be 0 or more")
    limits = np.broadcast_to(np.minimum(limits, bits + 1), (q,)).astype(np.int32)
    size = padded_queries(q)
    # A threshold of -1 marks padding: an empty pool that is never widened.
    return q, (
        _pad(codes, size),
        _pad(features, size),
        _pad(limits, size, -1),
        None if exclude is None else _pad(_check_integers(exclude, q, "exclude"), size, -1),
    )


def search_hamming(
    index: Index, query_codes: Any, *, k: int, exclude: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest codes by (Hamming distance, lowest id), exact.

    Args and errors as in `search`.

    Returns:
      (ids, hamming): int32 [Q, K] each; -1 where there are fewer than K items.
    """
    codes = _check_queries(query_codes, index.bits, k)
    q = len(codes)
    own = None if exclude is None else _check_integers(exclude, q, "exclude")
    codes = _pad(codes, padded_queries(q))
    own = None if own is None else _pad(own, len(codes), -1)
    parts = []
    for start in range(0, len(codes), QUERIES):
        batch = (
            codes[start : start + QUERIES],
            None if own is None else own[start : start + QUERIES],
        )
        parts.append(_nearest(index, *batch, _scan_least(index, *batch), k=k))
    ids, distance = (np.concatenate(column)[:q] for column in zip(*parts, strict=True))
    return ids, distance


def _batches(function: Any, *columns: Any) -> Any:
    """Apply `function` to columns [Q, ...] in batches of QUERIES."""
    q = columns[0].shape[0]
    if q <= QUERIES:
        return function(*columns)
    split = [None if c is None else c.reshape(q // QUERIES, QUERIES, *c.shape[1:]) for c in columns]
    out = lax.map(lambda batch: function(*batch), tuple(split))
    return jax.tree.map(lambda x: x.reshape(q, *x.shape[2:]), out)


def warm(
    index: Index, *, k: int, queries: int = 1, exclude: bool = False, widen: bool = False
) -> None:
    """Compile ahead every program that a search of up to `queries` queries may need.

    Without it each plan is compiled when it is first chosen. Afterwards no search with this k
    and no more queries of the same padded size compiles, whatever the pools.
    """
    size = min(padded_queries(queries), QUERIES)
    nobody = np.full(size, -1, np.int32)
    codes = np.zeros((size, index.codes.shape[1]), np.uint32)
    features = np.zeros((size, index.dims), np.float32)
    columns: tuple[Any, ...] = (codes, features, nobody, nobody if exclude else None)
    batch = _Queries(*columns)
    if widen:
        _widen(index, batch)
    pools = _count(_scan(index, batch))
    for slots, width in TOGETHER_ONE if size == 1 else TOGETHER_MANY:
        _together(index, batch, pools, slots=slots, width=width, k=k)
    _walked(index, batch, pools, _alone(index, batch, pools, k=k), k=k)


def programs() -> int:
    """Programs of `search` compiled so far in this process."""
    made: tuple[Any, ...] = (_widen, _scan, _count, _together, _alone, _walked)
    return sum(function._cache_size() for function in made)


@jax.jit
def _scan_least(index: Index, codes: jax.Array, own: jax.Array | None) -> jax.Array:
    """Block minima in id order, uint32 [T, Q, 64]."""
    groups = None if own is None else index.groups_by_id
    return _each(
        lambda code, group: hamming.scan_least(index.codes_by_id, code, index.count, groups, group),
        codes,
        own,
    )


@functools.partial(jax.jit, static_argnames=("k",))
def _nearest(
    index: Index, codes: jax.Array, own: jax.Array | None, least: jax.Array, *, k: int
) -> tuple[jax.Array, jax.Array]:
    """(ids, distances) int32 [Q, k] from the block minima; -1 where there are fewer."""
    groups = None if own is None else index.groups_by_id
    depth = min(k, index.capacity)
    tile_least = jnp.min(least, axis=2).T

    def one(i):
        return hamming.top_k(
            index.codes_by_id, codes, least, tile_least, i, index.count, depth, groups, own
        )

    distance, item = lax.map(one, jnp.arange(len(codes)))
    ids = jnp.where(item >= 0, index.ids_by_id[jnp.maximum(item, 0)], -1)
    distance = jnp.where(item >= 0, distance, -1)
    short = ((0, 0), (0, k - depth))
    return (
        jnp.pad(ids, short, constant_values=-1),
        jnp.pad(distance, short, constant_values=-1),
    )


def ranked(
    index: Index,
    codes: jax.Array,
    features: jax.Array,
    threshold: jax.Array,
    own: jax.Array | None,
    *,
    k: int,
) -> tuple[jax.Array, ...]:
    """(squared distance, id, Hamming distance) [Q, k] and pool sizes [Q]; traceable."""
    return _batches(
        lambda *columns: _two_stages(index, _Queries(*columns), k),
        codes, features, threshold, own,
    )  # fmt: skip


def nearest_padded(index: Index, codes: jax.Array, own: jax.Array | None) -> jax.Array:
    """Smallest Hamming distance of each query, int32 [Q]; FAR: no item; traceable."""

    def batch(codes, own):
        _, distance = _nearest(index, codes, own, _scan_least(index, codes, own), k=1)
        return jnp.where(distance[:, 0] < 0, FAR, distance[:, 0])

    return _batches(batch, codes, own)


def widened(threshold: jax.Array, nearest: jax.Array) -> jax.Array:
    """Thresholds [Q], raised where the pool is empty; padding has a threshold below 0."""
    empty = (nearest >= threshold) & (nearest < FAR) & (threshold >= 0)
    return jnp.where(empty, nearest + 1, threshold)


@flax.struct.dataclass
class _Queries:
    """A batch."""

    codes: jax.Array  # uint32 [Q, W]
    features: jax.Array  # float32 [Q, D]
    threshold: jax.Array  # int32 [Q]
    own: jax.Array | None  # int32 [Q]

    def one(self, i: jax.Array) -> "_Queries":
        """The batch of query `i` alone."""
        return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, i, 1), self)

    def batch(self, start: int) -> "_Queries":
        """The batch that starts there."""
        return jax.tree.map(lambda x: x[start : start + QUERIES], self)


def _each(function: Callable, *columns: Any) -> Any:
    """A scan [T, 64] for each of a batch: [T, Q, 64], all queries of a tile in turn.

    So a tile's codes are read once for all queries. A batch of one is scanned bare, for then two
    cores share it.
    """
    if len(columns[0]) > 1:
        return jax.vmap(function, out_axes=1)(*columns)
    return function(*jax.tree.map(lambda x: x[0], columns))[:, None]


def _groups(index: Index, queries: _Queries) -> jax.Array | None:
    return None if queries.own is None else index.groups


@jax.jit
def _widen(index: Index, queries: _Queries) -> jax.Array:
    return widened(queries.threshold, nearest_padded(index, queries.codes, queries.own))


@jax.jit
def _scan(index: Index, queries: _Queries) -> jax.Array:
    """Masks of candidates, uint16 [T, Q, 64]."""
    groups = _groups(index, queries)
    return _each(
        lambda code, limit, own: hamming.scan_pool(
            index.codes, code, limit, index.count, groups, own
        ),
        queries.codes,
        queries.threshold,
        queries.own,
    )


@flax.struct.dataclass
class _Pools:
    """What the scan found."""

    masks: jax.Array  # uint16 [T, Q, 64]
    groups: jax.Array  # uint8 [T, Q, 8], candidates in each group of blocks
    ends: jax.Array  # int32 [Q, T], candidates up to and with each tile
    size: jax.Array  # int32 [Q]
    dense: jax.Array  # bool [Q], to be walked


@jax.jit
def _count(masks: jax.Array) -> _Pools:
    """Count the pools, and choose those to walk: dense ones, if together they are worth it."""
    groups, per_tile = hamming.count_pool(masks)
    ends = jnp.cumsum(per_tile.T, axis=1)
    size = ends[:, -1]
    active = (per_tile > 0).T
    density = WALK_DENSITY[len(size)]
    dense = size > density * jnp.sum(active, axis=1)
    tiles = jnp.sum(jnp.any(active & dense[:, None], axis=0)).astype(jnp.float32)
    # int32 might overflow in a sum over queries.
    work = jnp.sum(jnp.where(dense, size, 0).astype(jnp.float32))
    worth = work > tiles * (density * max(3, len(size)))
    return _Pools(masks, groups, ends, size, dense & worth)


def _two_stages(index: Index, queries: _Queries, k: int) -> tuple[jax.Array, ...]:
    """(squared distance, id, Hamming distance) [Q, k] and pool sizes [Q] of one batch."""
    pools = _count(_scan(index, queries))
    tiers = TOGETHER_ONE if len(queries.codes) == 1 else TOGETHER_MANY
    total = jnp.sum(pools.size.astype(jnp.float32))
    fits = [(total <= slots) & (jnp.max(pools.size) <= width) for slots, width in tiers]
    plans: list[Callable[[], Any]] = [
        functools.partial(_together, index, queries, pools, slots=slots, width=width, k=k)
        for slots, width in tiers
    ]

    def apart():
        top = _alone(index, queries, pools, k=k)
        return lax.cond(
            jnp.any(pools.dense), lambda: _walked(index, queries, pools, top, k=k), lambda: top
        )

    plans.append(apart)
    plan = jnp.argmax(jnp.stack([*fits, jnp.asarray(True)]))
    return (*lax.switch(plan, plans), pools.size)


def _distances(
    index: Index, queries: _Queries, slots: hamming.Slots
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(squared distance, id, Hamming distance) [S] of slots; inf, -1, -1 in spare ones."""
    found = slots.distance < FAR
    rows = index.features.at[slots.position].get(mode="promise_in_bounds")
    square = rerank.squared_distances(queries.features[slots.query], rows)
    return (
        jnp.where(found, square, jnp.inf),
        jnp.where(found, index.ids[slots.position], -1),
        jnp.where(found, slots.distance, -1),
    )


@functools.partial(jax.jit, static_argnames=("slots", "width", "k"))
def _together(index, queries, pools, *, slots, width, k):
    """Rank pools of `slots` candidates in all, `width` at most in one: one pass for the batch."""
    last = jnp.cumsum(pools.size)[:, None]
    first = jnp.pad(last[:-1], ((1, 0), (0, 0)))
    ends, slot = (first + pools.ends).reshape(-1), jnp.arange(slots, dtype=jnp.int32)
    found = hamming.compact(index.codes, queries.codes, pools.masks, pools.groups, ends, slot)
    columns = _distances(index, queries, found)
    slot = first + jnp.arange(width, dtype=jnp.int32)
    inner = slot < last
    slot = jnp.minimum(slot, slots - 1)
    fills = (jnp.inf, -1, -1)
    return rerank.best(
        *(jnp.where(inner, c[slot], fill) for c, fill in zip(columns, fills, strict=True)), k=k
    )


@functools.partial(jax.jit, static_argnames=("k",))
def _alone(index, queries, pools, *, k):
    """Rank pools of any size one by one, but those to be walked."""

    def one(i):
        return lax.cond(
            pools.dense[i],
            lambda: _nothing(k),
            lambda: _rank_alone(index, queries, pools, i, k=k),
        )

    return lax.map(one, jnp.arange(len(pools.size)))


@functools.partial(jax.jit, static_argnames=("k",))
def _walked(index, queries, pools, others, *, k):
    """Rank the dense pools by one walk; for the rest, pass on the ranking of `others`."""
    active = jnp.diff(pools.ends, axis=1, prepend=0) > 0
    seen = _walk(index, queries, active & pools.dense[:, None])

    def one(i):
        return lax.cond(
            pools.dense[i],
            lambda: _read_walk(index, queries.one(i), seen, i, k=k),
            lambda: tuple(column[i] for column in others),
        )

    return lax.map(one, jnp.arange(len(pools.size)))


def _nothing(k: int, *batch: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    none = jnp.full((*batch, k), -1, jnp.int32)
    return jnp.full((*batch, k), jnp.inf, jnp.float32), none, none


def _merge(top, columns, *, k):
    """The k best of a ranking [k] and new rows [n]."""
    return rerank.best(*(jnp.concatenate(pair) for pair in zip(top, columns, strict=True)), k=k)


def _rank_alone(index, queries, pools, query, *, k):
    """Rank the pool of one query, CHUNK candidates at a time."""
    ends = pools.ends[query]

    def step(i, top):
        slot = i * CHUNK + jnp.arange(CHUNK, dtype=jnp.int32)
        found = hamming.compact(
            index.codes, queries.codes, pools.masks, pools.groups, ends, slot, query
        )
        return _merge(top, _distances(index, queries, found), k=k)

    return lax.fori_loop(0, -(-ends[-1] // CHUNK), step, _nothing(k))


@flax.struct.dataclass
class _Walk:
    """Lower bounds of the tiles walked: step i went to `tile[i]`; `steps` of them are real."""

    bounds: jax.Array  # float32 [T, Q, BOUND_BLOCKS]
    tile: jax.Array  # int32 [T]
    steps: jax.Array  # int32 []


def _tile_pool(index: Index, queries: _Queries, tile: jax.Array) -> jax.Array:
    """Distances int32 [Q, 1024] of a tile's items, FAR where not in the query's pool."""
    d = hamming.tile_distances(
        index.codes, queries.codes, tile, index.count, _groups(index, queries), queries.own
    )
    return jnp.where(d < queries.threshold[:, None], d, FAR)


def _walk(index: Index, queries: _Queries, wanted: jax.Array) -> _Walk:
    """Pass the batch over every tile that any query wants (bool [Q, T])."""
    n_tiles = index.codes.shape[0]
    any_wanted = jnp.any(wanted, axis=0)
    (tile,) = jnp.nonzero(any_wanted, size=n_tiles, fill_value=0)
    tile = tile.astype(jnp.int32)
    steps = jnp.sum(any_wanted, dtype=jnp.int32)

    def step(i, bounds):
        t = tile[i]
        mask = (_tile_pool(index, queries, t) < FAR) & wanted[:, t, None]
        return bounds.at[i].set(
            rerank.lower_bounds(index.sketch, queries.features, t, mask, BOUND_BLOCKS)
        )

    bounds = jnp.full((n_tiles, len(queries.codes), BOUND_BLOCKS), jnp.inf)
    return _Walk(lax.fori_loop(0, steps, step, bounds), tile, steps)


def _read_walk(index, query, walk, row, *, k):
    """Rank one walked pool: read blocks by ascending bound until none can hold a nearer row."""
    bounds = walk.bounds[:, row]  # [T, BOUND_BLOCKS]
    per_block = TILE // BOUND_BLOCKS
    listed = min(_blocks_to_list(k), bounds.size // READ * READ)
    least, block = _smallest_blocks(bounds, min(listed + 1, bounds.size))

    def within_reach(i, top):
        return (least[i] <= _reach(top[0][-1], index.dims)) & (least[i] < jnp.inf)

    def step(carry):
        i, top = carry
        which = lax.dynamic_slice(block, (i,), (READ,))
        live = lax.dynamic_slice(least, (i,), (READ,)) < jnp.inf
        tile = walk.tile[which // BOUND_BLOCKS]
        place = (which % BOUND_BLOCKS)[:, None] + BOUND_BLOCKS * np.arange(
            per_block, dtype=np.int32
        )
        d = hamming.member_distances(
            index.codes, query.codes[:, None], tile[:, None], place, index.count,
            _groups(index, query), None if query.own is None else query.own[:, None],
        )  # fmt: skip
        inside = (d < query.threshold[:, None]) & live[:, None]
        slots = hamming.Slots(
            query=jnp.zeros(READ * per_block, jnp.int32),
            position=(tile[:, None] * TILE + place).reshape(-1),
            distance=jnp.where(inside, d, FAR).reshape(-1),
        )
        return i + READ, _merge(top, _distances(index, query, slots), k=k)

    read, top = lax.while_loop(
        lambda carry: (carry[0] < listed) & within_reach(*carry), step, (0, _nothing(k))
    )
    if listed == bounds.size:
        return top
    return lax.cond(
        (read < listed) | ~within_reach(listed, top),
        lambda top: top,
        lambda top: _read_tiles(index, query, walk, bounds, top, k=k),
        top,
    )


def _blocks_to_list(k: int) -> int:
    """Blocks sorted by bound for k neighbours, a power of two; mostly far fewer are read."""
    return max(READ, 1 << (4 * k - 1).bit_length())


def _smallest_blocks(bounds: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest of bounds [T, B] with their flat indices, by tiles first where it saves."""
    t, b = bounds.shape
    if t <= 2 * k:
        return hamming.smallest(bounds.reshape(-1), k)
    _, tile = hamming.smallest(jnp.min(bounds, axis=1), k)
    value, index = hamming.smallest(bounds[tile].reshape(-1), k)
    return value, tile[index // b] * b + index % b


def _reach(square: jax.Array, dims: int) -> jax.Array:
    """A distance that no row can have whose computed square is at most `square`."""
    return jnp.sqrt(square) * (1 + 2 * rerank.relative_error(dims)) + 1e-18 * dims


def _read_tiles(index, query, walk, bounds, top, *, k):
    """Read every tile whose bound is within reach of the K-th distance."""
    least = jnp.min(bounds, axis=1)

    def step(i, top):
        def read(top):
            t = walk.tile[i]
            position = t * TILE + jnp.arange(TILE, dtype=jnp.int32)
            ids = lax.dynamic_slice(index.ids, (t * TILE,), (TILE,))
            # What was read before is in `top` already, or has been beaten.
            fresh = ~jnp.any(ids[:, None] == top[1][None, :], axis=1)
            d = jnp.where(fresh, _tile_pool(index, query, t)[0], FAR)
            slots = hamming.Slots(jnp.zeros(TILE, jnp.int32), position, d)
            return _merge(top, _distances(index, query, slots), k=k)

        near = (least[i] <= _reach(top[0][-1], index.dims)) & (least[i] < jnp.inf)
        return lax.cond(near, read, lambda top: top, top)

    return lax.fori_loop(0, walk.steps, step, top)
