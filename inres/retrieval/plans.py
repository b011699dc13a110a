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

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inres.retrieval import codes as codes_lib
from inres.retrieval import hamming, rerank, runs
from inres.retrieval import nearest as nearest_lib
from inres.retrieval.candidates import Ranking, distances, merged, nothing
from inres.retrieval.device_index import DeviceIndex, Each
from inres.retrieval.hamming import FAR
from inres.retrieval.padding import QUERIES, Queries, padded_size
from inres.retrieval.runs import Runs
from inres.retrieval.tiling import TILE
from inres.retrieval.walk import read_walk, walk_tiles

Ranked = tuple[Ranking, jax.Array]
"""Rankings and the sizes of their pools, without hidden items, int32 [Q]."""
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
        np.zeros((size, codes_lib.words(index.bits)), np.uint32),
        np.zeros((size, index.dims), np.float32),
        nobody,
        hamming.Filters(nobody if exclude_group else None, nobody if only_label else None),
    )
    if min_pool:
        _raise_thresholds(index, batch, min_pool)
    pools = _find(index, batch)
    for slots, width in TOGETHER_ONE if size == 1 else TOGETHER_MANY:
        _together(index, batch, pools, slots=slots, width=width, k=k)
    _walked(index, batch, pools, *_alone(index, batch, pools, k=k), k=k)


def programs() -> int:
    """Number of programs of the search that this process has compiled."""
    made: tuple[Any, ...] = (
        _raise_thresholds, _scan_each, _scan_runs, _count_each, _count_runs, _together, _alone,
        _walked,
    )  # fmt: skip
    return sum(function._cache_size() for function in made)


def traced(index: DeviceIndex, queries: Queries, *, k: int) -> dict[str, jax.stages.Traced]:
    """Every program of a search for one batch by name, traced but not run.

    They can be lowered for any platform, to see what they do and what they cost. `scan`, `count`
    and `together` are a whole search with a small pool. Index and queries may have shapes
    (`jax.ShapeDtypeStruct`) in place of arrays.
    """
    codes, count = index.codes, index.count
    made: dict[str, jax.stages.Traced] = {}
    if isinstance(codes, Runs):
        made["scan"] = _scan_runs.trace(codes, queries)
        marks = jax.eval_shape(_scan_runs, codes, queries)
        made["count"] = _count_runs.trace(codes, marks, count)
        pools = jax.eval_shape(_count_runs, codes, marks, count)
    else:
        made["scan"] = _scan_each.trace(codes, index.tags, count, queries)
        masks = jax.eval_shape(_scan_each, codes, index.tags, count, queries)
        made["count"] = _count_each.trace(masks)
        pools = jax.eval_shape(_count_each, masks)
    tiers = TOGETHER_ONE if len(queries) == 1 else TOGETHER_MANY
    for name, (slots, width) in zip(("together", "together, many"), tiers, strict=True):
        made[name] = _together.trace(index, queries, pools, slots=slots, width=width, k=k)
    made["alone"] = _alone.trace(index, queries, pools, k=k)
    found = jax.eval_shape(functools.partial(_alone, k=k), index, queries, pools)
    made["walk"] = _walked.trace(index, queries, pools, *found, k=k)
    made["nearest"] = nearest.trace(index, queries, k=k)
    given = jax.ShapeDtypeStruct((len(queries), k), jnp.int32)
    made["rank given"] = rank_given.trace(index, queries, given, given, k=k)
    return made


def search_batch(index: DeviceIndex, queries: Queries, *, k: int, min_pool: int) -> tuple:
    """Search one batch with several programs; the plan is chosen on the host.

    In a single program (see `ranked`) XLA's CPU backend would run everything inside a branch on one
    core, and repeat the scan for each of its readers.

    Returns:
      NumPy (ids, Hamming distances, squared distances) [Q, k], pool sizes [Q], thresholds [Q].
    """
    pools = _find(index, queries)
    if not _short(queries, pools.most, min_pool):
        top, size = _rank(index, queries, pools, k=k)
        # Which items of runs are hidden is known only now.
        if not _short(queries, size, min_pool):
            return _on_host(queries, top, size)
    # As a NumPy array, for which the programs were compiled.
    limits = np.asarray(_raise_thresholds(index, queries, min_pool))
    queries = dataclasses.replace(queries, threshold=limits)
    return _on_host(queries, *_rank(index, queries, _find(index, queries), k=k))


def _short(queries: Queries, size: jax.Array, min_pool: int) -> bool:
    """Whether the pool of any query is smaller than requested."""
    limits = np.asarray(queries.threshold)
    return bool((np.asarray(size)[limits >= 0] < min_pool).any())


def _on_host(queries: Queries, top: Ranking, size: jax.Array) -> tuple:
    square, ids, distance = (np.asarray(column) for column in top)
    return ids, distance, square, np.asarray(size), np.asarray(queries.threshold)


def _rank(index: DeviceIndex, queries: Queries, pools: "_Pools", *, k: int) -> Ranked:
    """Rank the pools of a batch by one plan or two, chosen on the host."""
    sizes = np.asarray(pools.most)
    tiers = TOGETHER_ONE if len(sizes) == 1 else TOGETHER_MANY
    total, largest = sizes.sum(dtype=np.int64), sizes.max()
    for slots, width in tiers:
        if total <= slots and largest <= width:
            return _together(index, queries, pools, slots=slots, width=width, k=k)
    by_walk = np.asarray(pools.dense)
    found = nothing(k, len(sizes)), jnp.zeros(len(sizes), jnp.int32)
    if not by_walk[sizes > 0].all():
        found = _alone(index, queries, pools, k=k)
    if by_walk.any():
        found = _walked(index, queries, pools, *found, k=k)
    return found


@functools.partial(jax.jit, static_argnames=("k",))
def nearest(
    index: DeviceIndex, queries: Queries, *, k: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The k nearest codes of a batch: ids, distances and positions in walk order, int32 [Q, k].

    -1 beyond the last item.
    """
    depth = min(k, index.capacity)
    distance, position = nearest_lib.nearest(index, queries, k=depth)
    found = position >= 0
    short = ((0, 0), (0, k - depth))
    ids, distance, position = (
        jnp.pad(jnp.where(found, column, -1), short, constant_values=-1)
        for column in (index.ids[jnp.maximum(position, 0)], distance, position)
    )
    return ids, distance, position


@functools.partial(jax.jit, static_argnames=("k",))
def rank_given(
    index: DeviceIndex, queries: Queries, position: jax.Array, distance: jax.Array, *, k: int
) -> Ranking:
    """Rank given items, for any Q.

    Their positions in walk order and Hamming distances are int32 [Q, m]; -1: no item.
    """

    def one(columns: tuple[jax.Array, ...]) -> Ranking:
        feature, position, distance = columns
        found = position >= 0
        position = jnp.maximum(position, 0)
        square = rerank.squared_distances(feature, index.features[position])
        return rerank.best(
            jnp.where(found, square, jnp.inf),
            jnp.where(found, index.ids[position], -1),
            jnp.where(found, distance, -1),
            k=k,
        )

    return lax.map(one, (queries.features, position, distance))


def ranked(index: DeviceIndex, queries: Queries, *, k: int) -> Ranked:
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


@functools.partial(jax.jit, static_argnames=("min_pool",))
def _raise_thresholds(index: DeviceIndex, queries: Queries, min_pool: int) -> jax.Array:
    return raised(queries.threshold, nearest(index, queries, k=min_pool)[1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Pools:
    """The pools of a batch, as counted after the scan. Those of runs count hidden items as well."""

    marks: Any  # hamming.Marks or runs.Marks, as the codes of the index are
    ends: jax.Array  # int32 [Q, T], candidates up to the end of each tile
    most: jax.Array  # int32 [Q], size of the pool with hidden items
    dense: jax.Array  # bool [Q], whether the pool is walked


def _find(index: DeviceIndex, queries: Queries) -> _Pools:
    """Scan the codes and count the pools.

    In one program with the scan, XLA's CPU backend would repeat it for each of its readers.
    """
    codes = index.codes
    if isinstance(codes, Runs):
        return _count_runs(codes, _scan_runs(codes, queries), index.count)
    return _count_each(_scan_each(codes, index.tags, index.count, queries))


@jax.jit
def _scan_each(codes: Each, tags: hamming.Tags, count: jax.Array, queries: Queries) -> jax.Array:
    """Candidates as bit masks, uint16 [T, Q, 64] (see `hamming.scan_pool`)."""
    return hamming.over_queries(
        lambda code, limit, filters: hamming.scan_pool(
            codes.codes, code, limit, count, tags, filters
        ),
        queries.codes,
        queries.threshold,
        queries.filters,
    )


@jax.jit
def _scan_runs(codes: Runs, queries: Queries) -> runs.Marks:
    return runs.scan(codes, queries.codes, queries.threshold)


@jax.jit
def _count_each(masks: jax.Array) -> _Pools:
    strips, per_tile = hamming.count_pool(masks)
    ends = jnp.cumsum(per_tile.T, axis=1)
    return _with_plan(hamming.Marks(masks, strips, ends), ends)


@jax.jit
def _count_runs(codes: Runs, marks: runs.Marks, count: jax.Array) -> _Pools:
    return _with_plan(marks, runs.tile_ends(codes, marks, count))


def _with_plan(marks: Any, ends: jax.Array) -> _Pools:
    """Choose the pools to walk: dense ones, if together they justify a walk."""
    size = ends[:, -1]
    active = jnp.diff(ends, axis=1, prepend=0) > 0
    density = WALK_DENSITY[len(size)]
    dense = size > density * jnp.sum(active, axis=1)
    tiles = jnp.sum(jnp.any(active & dense[:, None], axis=0)).astype(jnp.float32)
    # As float32, because an int32 sum over queries might overflow.
    work = jnp.sum(jnp.where(dense, size, 0).astype(jnp.float32))
    worth = work > tiles * (density * max(3, len(size)))
    return _Pools(marks, ends, size, dense & worth)


def _compact(
    index: DeviceIndex,
    queries: Queries,
    pools: _Pools,
    ends: jax.Array,
    slot: jax.Array,
    single_query: jax.Array | None = None,
) -> hamming.Slots:
    """Find candidates by number (see `hamming.compact`); FAR in slots of hidden items."""
    codes, marks = index.codes, pools.marks
    if isinstance(codes, Each):
        return hamming.compact(codes.codes, queries.codes, marks, ends, slot, single_query)
    slots = runs.compact(codes, queries.codes, marks, ends, slot, single_query)
    tags = index.tags.at((slots.position // TILE, slots.position % TILE))
    distance = hamming.hide(slots.distance, tags, queries.filters.at(slots.query))
    return dataclasses.replace(slots, distance=distance)


def _two_stages(index: DeviceIndex, queries: Queries, k: int) -> Ranked:
    """Rankings [Q, k] and pool sizes [Q] of one batch."""
    pools = _find(index, queries)
    tiers = TOGETHER_ONE if len(queries.codes) == 1 else TOGETHER_MANY
    total = jnp.sum(pools.most.astype(jnp.float32))
    fits = [(total <= slots) & (jnp.max(pools.most) <= width) for slots, width in tiers]
    plans: list[Callable[[], Ranked]] = [
        functools.partial(_together, index, queries, pools, slots=slots, width=width, k=k)
        for slots, width in tiers
    ]

    def apart() -> Ranked:
        found = _alone(index, queries, pools, k=k)
        return lax.cond(
            jnp.any(pools.dense),
            lambda: _walked(index, queries, pools, *found, k=k),
            lambda: found,
        )

    plans.append(apart)
    plan = jnp.argmax(jnp.stack([*fits, jnp.asarray(True)]))
    return lax.switch(plan, plans)


@functools.partial(jax.jit, static_argnames=("slots", "width", "k"))
def _together(
    index: DeviceIndex, queries: Queries, pools: _Pools, *, slots: int, width: int, k: int
) -> Ranked:
    """Rank a batch in one pass: at most `slots` candidates in total, `width` per query."""
    last = jnp.cumsum(pools.most)[:, None]
    first = jnp.pad(last[:-1], ((1, 0), (0, 0)))
    ends, slot = (first + pools.marks.ends).reshape(-1), jnp.arange(slots, dtype=jnp.int32)
    columns = distances(index, queries, _compact(index, queries, pools, ends, slot))
    slot = first + jnp.arange(width, dtype=jnp.int32)
    inner = slot < last
    slot = jnp.minimum(slot, slots - 1)
    fills = (jnp.inf, -1, -1)
    found = tuple(jnp.where(inner, c[slot], fill) for c, fill in zip(columns, fills, strict=True))
    return rerank.best(*found, k=k), jnp.sum(found[1] >= 0, axis=1, dtype=jnp.int32)


@functools.partial(jax.jit, static_argnames=("k",))
def _alone(index: DeviceIndex, queries: Queries, pools: _Pools, *, k: int) -> Ranked:
    """Rank pools of any size one after the other, except those that are walked."""

    def one(i: jax.Array) -> Ranked:
        return lax.cond(
            pools.dense[i],
            lambda: (nothing(k), jnp.int32(0)),
            lambda: _rank_alone(index, queries, pools, i, k=k),
        )

    return lax.map(one, jnp.arange(len(pools.most)))


@functools.partial(jax.jit, static_argnames=("k",))
def _walked(
    index: DeviceIndex, queries: Queries, pools: _Pools, others: Ranking, size: jax.Array, *, k: int
) -> Ranked:
    """Rank the dense pools in one walk; other queries keep their ranking and their size."""
    active = jnp.diff(pools.ends, axis=1, prepend=0) > 0
    count = isinstance(index.codes, Runs) and index.hides(queries.filters)
    seen = walk_tiles(index, queries, active & pools.dense[:, None], count=count)

    def one(i: jax.Array) -> Ranking:
        return lax.cond(
            pools.dense[i],
            lambda: read_walk(index, queries.one(i), seen, i, k=k),
            lambda: tuple(column[i] for column in others),
        )

    top = lax.map(one, jnp.arange(len(pools.most)))
    return top, jnp.where(pools.dense, seen.size if count else pools.most, size)


def _rank_alone(
    index: DeviceIndex, queries: Queries, pools: _Pools, query: jax.Array, *, k: int
) -> Ranked:
    """Rank the pool of one query in chunks of CHUNK candidates."""
    ends = pools.marks.ends[query]

    def step(i: jax.Array, found: Ranked) -> Ranked:
        top, size = found
        slot = i * CHUNK + jnp.arange(CHUNK, dtype=jnp.int32)
        slots = _compact(index, queries, pools, ends, slot, query)
        size += jnp.sum(slots.distance < FAR, dtype=jnp.int32)
        return merged(top, distances(index, queries, slots), k=k), size

    return lax.fori_loop(0, -(-ends[-1] // CHUNK), step, (nothing(k), jnp.int32(0)))
