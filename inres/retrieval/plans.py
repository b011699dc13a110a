"""The jitted programs of the search: exact results with static shapes.

One pass over the codes marks the pool of each query, and the pool sizes decide the plan. A small
pool is compacted and its rows are read; a large, dense pool is walked (`inres.retrieval.walk`).
Nothing is truncated silently: every plan handles any pool that it is chosen for.

Capacities are padded and counts are data. After `warm`, no change in the number of items within the
capacity, of queries within the padded size, or of candidates compiles anything.
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

from inres.retrieval import hamming, rerank
from inres.retrieval.candidates import Ranking, distances, merged, nothing
from inres.retrieval.device_index import DeviceIndex
from inres.retrieval.padding import QUERIES, Queries, padded_size
from inres.retrieval.walk import read_walk, walk_tiles

TOGETHER_ONE = ((64, 64), (1024, 1024))
TOGETHER_MANY = ((1024, 64), (8192, 512))
"""(candidates per batch, per query): pools up to these sizes are ranked in one pass."""
CHUNK = 512
"""Candidates ranked at a time when a pool is ranked by itself."""
WALK_DENSITY = {1: 16, 4: 16, 16: 9, 64: 9}
"""By batch size: candidates per tile and query above which walking the tile is cheaper than
compacting them."""


def warm(
    index: DeviceIndex,
    *,
    k: int,
    queries: int = 1,
    exclude_group: bool = False,
    only_label: bool = False,
    min_pool: int = 0,
) -> None:
    """Compile every program that a search with up to `queries` queries may need.

    Afterwards no search with this k and at most as many queries of the same padded size compiles
    anything, for any pools. Without this call, each plan is compiled when it is first chosen.
    """
    size = min(padded_size(queries), QUERIES)
    nobody = np.full(size, -1, np.int32)
    batch = Queries(
        np.zeros((size, index.codes.shape[1]), np.uint32),
        np.zeros((size, index.dims), np.float32),
        nobody,
        hamming.Filters(nobody if exclude_group else None, nobody if only_label else None),
    )
    if min_pool:
        _raise_thresholds(index, batch, min_pool)
    pools = _count(_scan(index, batch))
    for slots, width in TOGETHER_ONE if size == 1 else TOGETHER_MANY:
        _together(index, batch, pools, slots=slots, width=width, k=k)
    _walked(index, batch, pools, _alone(index, batch, pools, k=k), k=k)


def programs() -> int:
    """Number of programs of the search that this process has compiled."""
    made: tuple[Any, ...] = (_raise_thresholds, _scan, _count, _together, _alone, _walked)
    return sum(function._cache_size() for function in made)


def search_batch(index: DeviceIndex, queries: Queries, *, k: int, min_pool: int) -> tuple:
    """Search one batch with several programs; the plan is chosen on the host.

    In a single program (see `ranked`) XLA's CPU backend would run everything inside a branch on one
    core, and repeat the scan for each of its readers.

    Returns:
      NumPy (ids, Hamming distances, squared distances) [Q, k], pool sizes [Q], thresholds [Q].
    """
    pools = _count(_scan(index, queries))
    sizes = np.asarray(pools.size)
    if (sizes[np.asarray(queries.threshold) >= 0] < min_pool).any():
        queries = dataclasses.replace(
            queries, threshold=_raise_thresholds(index, queries, min_pool)
        )
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
        top = nothing(k, len(sizes))
        if not by_walk[sizes > 0].all():
            top = _alone(index, queries, pools, k=k)
        if by_walk.any():
            top = _walked(index, queries, pools, top, k=k)
    square, ids, distance = (np.asarray(column) for column in top)
    return ids, distance, square, sizes, np.asarray(queries.threshold)


@functools.partial(jax.jit, static_argnames=("k",))
def nearest(
    index: DeviceIndex, queries: Queries, *, k: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The k nearest codes of a batch: ids, distances and places in id order, int32 [Q, k].

    -1 beyond the last item.
    """
    least = _each(
        lambda code, filters: hamming.scan_least(
            index.codes_by_id, code, index.count, index.tags_by_id, filters
        ),
        queries.codes,
        queries.filters,
    )
    depth = min(k, index.capacity)
    tile_least = jnp.min(least, axis=2).T

    def one(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        return hamming.top_k(
            index.codes_by_id, queries.codes, least, tile_least, i, index.count, depth,
            index.tags_by_id, queries.filters,
        )  # fmt: skip

    distance, place = lax.map(one, jnp.arange(len(queries)))
    found = place >= 0
    columns = (index.ids_by_id[jnp.maximum(place, 0)], distance, place)
    short = ((0, 0), (0, k - depth))
    ids, distance, place = (
        jnp.pad(jnp.where(found, column, -1), short, constant_values=-1) for column in columns
    )
    return ids, distance, place


@functools.partial(jax.jit, static_argnames=("k",))
def rank_given(
    index: DeviceIndex, queries: Queries, place: jax.Array, distance: jax.Array, *, k: int
) -> Ranking:
    """Rank given items, for any Q.

    Their places in id order and Hamming distances are int32 [Q, m]; -1: no item.
    """

    def one(columns: tuple[jax.Array, ...]) -> Ranking:
        feature, place, distance = columns
        position = index.place[jnp.maximum(place, 0)]
        square = rerank.squared_distances(feature, index.features[position])
        found = place >= 0
        return rerank.best(
            jnp.where(found, square, jnp.inf),
            jnp.where(found, index.ids[position], -1),
            jnp.where(found, distance, -1),
            k=k,
        )

    return lax.map(one, (queries.features, place, distance))


def ranked(index: DeviceIndex, queries: Queries, *, k: int) -> tuple[Ranking, jax.Array]:
    """Rankings [Q, k] and pool sizes [Q] in a single program; can be traced inside another one."""
    return _batches(lambda batch: _two_stages(index, batch, k), queries)


def nearest_of_all(index: DeviceIndex, queries: Queries, *, k: int) -> tuple[jax.Array, ...]:
    """`nearest` for any number of padded queries; can be traced inside another program."""
    return _batches(lambda batch: nearest(index, batch, k=k), queries)


def _batches(function: Callable, queries: Queries) -> Any:
    """Apply `function` to batches of at most QUERIES queries and concatenate the results."""
    q = len(queries)
    if q <= QUERIES:
        return function(queries)
    split = jax.tree.map(lambda c: c.reshape(q // QUERIES, QUERIES, *c.shape[1:]), queries)
    out = lax.map(function, split)
    return jax.tree.map(lambda x: x.reshape(q, *x.shape[2:]), out)


def raised(threshold: jax.Array, nearest: jax.Array) -> jax.Array:
    """Raise thresholds [Q] to include the `nearest` distances [Q, m] (-1: no item)."""
    last = jnp.max(nearest, axis=1)
    return jnp.where(threshold >= 0, jnp.maximum(threshold, last + 1), threshold)


def _each(function: Callable, *columns: Any) -> Any:
    """Map a scan, which gives [T, 64], over a batch: [T, Q, 64].

    All queries are processed tile by tile, so that the codes are read once. A batch of one is
    scanned without vmap, because XLA then divides the scan among the cores.
    """
    if len(columns[0]) > 1:
        return jax.vmap(function, out_axes=1)(*columns)
    return function(*jax.tree.map(lambda x: x[0], columns))[:, None]


@functools.partial(jax.jit, static_argnames=("min_pool",))
def _raise_thresholds(index: DeviceIndex, queries: Queries, min_pool: int) -> jax.Array:
    return raised(queries.threshold, nearest(index, queries, k=min_pool)[1])


@jax.jit
def _scan(index: DeviceIndex, queries: Queries) -> jax.Array:
    """Candidates as bit masks, uint16 [T, Q, 64] (see `hamming.scan_pool`)."""
    return _each(
        lambda code, limit, filters: hamming.scan_pool(
            index.codes, code, limit, index.count, index.tags, filters
        ),
        queries.codes,
        queries.threshold,
        queries.filters,
    )


@flax.struct.dataclass
class _Pools:
    """The pools of a batch, as counted after the scan."""

    masks: jax.Array  # uint16 [T, Q, 64]
    strips: jax.Array  # uint8 [T, Q, 8], candidates per strip of blocks
    ends: jax.Array  # int32 [Q, T], candidates up to the end of each tile
    size: jax.Array  # int32 [Q]
    dense: jax.Array  # bool [Q], whether the pool is walked


@jax.jit
def _count(masks: jax.Array) -> _Pools:
    """Count the pools and choose those to walk: dense ones, if together they justify a walk."""
    strips, per_tile = hamming.count_pool(masks)
    ends = jnp.cumsum(per_tile.T, axis=1)
    size = ends[:, -1]
    active = (per_tile > 0).T
    density = WALK_DENSITY[len(size)]
    dense = size > density * jnp.sum(active, axis=1)
    tiles = jnp.sum(jnp.any(active & dense[:, None], axis=0)).astype(jnp.float32)
    # As float32, because an int32 sum over queries might overflow.
    work = jnp.sum(jnp.where(dense, size, 0).astype(jnp.float32))
    worth = work > tiles * (density * max(3, len(size)))
    return _Pools(masks, strips, ends, size, dense & worth)


def _two_stages(index: DeviceIndex, queries: Queries, k: int) -> tuple[Ranking, jax.Array]:
    """Rankings [Q, k] and pool sizes [Q] of one batch."""
    pools = _count(_scan(index, queries))
    tiers = TOGETHER_ONE if len(queries.codes) == 1 else TOGETHER_MANY
    total = jnp.sum(pools.size.astype(jnp.float32))
    fits = [(total <= slots) & (jnp.max(pools.size) <= width) for slots, width in tiers]
    plans: list[Callable[[], Ranking]] = [
        functools.partial(_together, index, queries, pools, slots=slots, width=width, k=k)
        for slots, width in tiers
    ]

    def apart() -> Ranking:
        top = _alone(index, queries, pools, k=k)
        return lax.cond(
            jnp.any(pools.dense), lambda: _walked(index, queries, pools, top, k=k), lambda: top
        )

    plans.append(apart)
    plan = jnp.argmax(jnp.stack([*fits, jnp.asarray(True)]))
    return tuple(lax.switch(plan, plans)), pools.size


@functools.partial(jax.jit, static_argnames=("slots", "width", "k"))
def _together(
    index: DeviceIndex, queries: Queries, pools: _Pools, *, slots: int, width: int, k: int
) -> Ranking:
    """Rank a batch in one pass: at most `slots` candidates in total, `width` per query."""
    last = jnp.cumsum(pools.size)[:, None]
    first = jnp.pad(last[:-1], ((1, 0), (0, 0)))
    ends, slot = (first + pools.ends).reshape(-1), jnp.arange(slots, dtype=jnp.int32)
    found = hamming.compact(index.codes, queries.codes, pools.masks, pools.strips, ends, slot)
    columns = distances(index, queries, found)
    slot = first + jnp.arange(width, dtype=jnp.int32)
    inner = slot < last
    slot = jnp.minimum(slot, slots - 1)
    fills = (jnp.inf, -1, -1)
    return rerank.best(
        *(jnp.where(inner, c[slot], fill) for c, fill in zip(columns, fills, strict=True)), k=k
    )


@functools.partial(jax.jit, static_argnames=("k",))
def _alone(index: DeviceIndex, queries: Queries, pools: _Pools, *, k: int) -> Ranking:
    """Rank pools of any size one after the other, except those that are walked."""

    def one(i: jax.Array) -> Ranking:
        return lax.cond(
            pools.dense[i],
            lambda: nothing(k),
            lambda: _rank_alone(index, queries, pools, i, k=k),
        )

    return lax.map(one, jnp.arange(len(pools.size)))


@functools.partial(jax.jit, static_argnames=("k",))
def _walked(
    index: DeviceIndex, queries: Queries, pools: _Pools, others: Ranking, *, k: int
) -> Ranking:
    """Rank the dense pools in one walk; other queries keep their ranking in `others`."""
    active = jnp.diff(pools.ends, axis=1, prepend=0) > 0
    seen = walk_tiles(index, queries, active & pools.dense[:, None])

    def one(i: jax.Array) -> Ranking:
        return lax.cond(
            pools.dense[i],
            lambda: read_walk(index, queries.one(i), seen, i, k=k),
            lambda: tuple(column[i] for column in others),
        )

    return lax.map(one, jnp.arange(len(pools.size)))


def _rank_alone(
    index: DeviceIndex, queries: Queries, pools: _Pools, query: jax.Array, *, k: int
) -> Ranking:
    """Rank the pool of one query in chunks of CHUNK candidates."""
    ends = pools.ends[query]

    def step(i: jax.Array, top: Ranking) -> Ranking:
        slot = i * CHUNK + jnp.arange(CHUNK, dtype=jnp.int32)
        found = hamming.compact(
            index.codes, queries.codes, pools.masks, pools.strips, ends, slot, query
        )
        return merged(top, distances(index, queries, found), k=k)

    return lax.fori_loop(0, -(-ends[-1] // CHUNK), step, nothing(k))
