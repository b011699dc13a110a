"""The walk: the plan for large, dense pools.

Items are sorted by code, so such a pool consists mostly of whole tiles. For each tile with a
candidate of any query in the batch, the int8 sketch of the features gives every query a lower bound
of its distance to each block of rows. Blocks are then read in full by ascending bound, until the
smallest unread bound exceeds the K-th distance. If the list of blocks ends before that, all tiles
that may contain a nearer row are read.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inres.retrieval import hamming, rerank
from inres.retrieval.candidates import Ranking, distances, merged, nothing
from inres.retrieval.device_index import DeviceIndex
from inres.retrieval.hamming import FAR
from inres.retrieval.padding import Queries
from inres.retrieval.tiling import TILE

READ = 32
"""Blocks read at a time."""
BOUND_BLOCKS = 128
"""Blocks per tile in the walk, of 8 rows each."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Walk:
    """Lower bounds found by a walk; step i visited `tile[i]`, and the first `steps` are valid."""

    bounds: jax.Array  # float32 [T, Q, BOUND_BLOCKS]
    size: Any  # int32 [Q], items of the pool in wanted tiles; None: not counted
    tile: jax.Array  # int32 [T]
    steps: jax.Array  # int32 []


def walk_tiles(index: DeviceIndex, queries: Queries, wanted: jax.Array, *, count: bool) -> Walk:
    """Compute the bounds in every tile that any query needs (`wanted`: bool [Q, T]).

    With `count` the pools are counted, which takes half as long again on a CPU.
    """
    n_tiles = wanted.shape[1]
    any_wanted = jnp.any(wanted, axis=0)
    (tile,) = jnp.nonzero(any_wanted, size=n_tiles, fill_value=0)
    tile = tile.astype(jnp.int32)
    steps = jnp.sum(any_wanted, dtype=jnp.int32)

    def step(i: jax.Array, carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        bounds, size = carry
        t = tile[i]
        mask = (_tile_pool(index, queries, t) < FAR) & wanted[:, t, None]
        found = rerank.lower_bounds(index.sketch, queries.features, t, mask, BOUND_BLOCKS)
        if size is not None:
            size += jnp.sum(mask, axis=1, dtype=jnp.int32)
        return bounds.at[i].set(found), size

    q = len(queries)
    size = jnp.zeros(q, jnp.int32) if count else None
    bounds = jnp.full((n_tiles, q, BOUND_BLOCKS), jnp.inf, jnp.float32)
    bounds, size = lax.fori_loop(0, steps, step, (bounds, size))
    return Walk(bounds, size, tile, steps)


def read_walk(index: DeviceIndex, query: Queries, walk: Walk, row: jax.Array, *, k: int) -> Ranking:
    """Rank one pool: read blocks by ascending bound until none can contain a nearer row."""
    bounds = walk.bounds[:, row]  # [T, BOUND_BLOCKS]
    per_block = TILE // BOUND_BLOCKS
    listed = min(_blocks_to_list(k), bounds.size // READ * READ)
    least, block = _smallest_blocks(bounds, min(listed + 1, bounds.size))

    def within_reach(i: Any, top: Ranking) -> jax.Array:
        return (least[i] <= _reach(top[0][-1], index.dims)) & (least[i] < jnp.inf)

    def step(carry: tuple[Any, Ranking]) -> tuple[Any, Ranking]:
        i, top = carry
        which = lax.dynamic_slice(block, (i,), (READ,))
        live = lax.dynamic_slice(least, (i,), (READ,)) < jnp.inf
        tile = walk.tile[which // BOUND_BLOCKS]
        place = (which % BOUND_BLOCKS)[:, None] + BOUND_BLOCKS * np.arange(
            per_block, dtype=np.int32
        )
        d = hamming.member_distances(
            index.item_words(tile[:, None], place), query.codes[:, None], tile[:, None], place,
            index.count, index.tags, jax.tree.map(lambda values: values[:, None], query.filters),
        )  # fmt: skip
        inside = (d < query.threshold[:, None]) & live[:, None]
        slots = hamming.Slots(
            query=jnp.zeros(READ * per_block, jnp.int32),
            position=(tile[:, None] * TILE + place).reshape(-1),
            distance=jnp.where(inside, d, FAR).reshape(-1),
        )
        return i + READ, merged(top, distances(index, query, slots), k=k)

    read, top = lax.while_loop(
        lambda carry: (carry[0] < listed) & within_reach(*carry), step, (0, nothing(k))
    )
    if listed == bounds.size:
        return top
    return lax.cond(
        (read < listed) | ~within_reach(listed, top),
        lambda top: top,
        lambda top: _read_tiles(index, query, walk, bounds, top, k=k),
        top,
    )


def _tile_pool(index: DeviceIndex, queries: Queries, tile: jax.Array) -> jax.Array:
    """Hamming distances int32 [Q, 1024] of a tile's items; FAR outside the query's pool."""
    d = hamming.tile_distances(
        index.tile_words(tile), queries.codes, tile, index.count, index.tags, queries.filters
    )
    return jnp.where(d < queries.threshold[:, None], d, FAR)


def _blocks_to_list(k: int) -> int:
    """Number of blocks to sort by bound for k neighbours, a power of two; most stay unread."""
    return max(READ, 1 << (4 * k - 1).bit_length())


def _smallest_blocks(bounds: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest of bounds [T, B] and their flat indices; of many tiles, the best first."""
    t, b = bounds.shape
    if t <= 2 * k:
        return hamming.smallest(bounds.reshape(-1), k)
    _, tile = hamming.smallest(jnp.min(bounds, axis=1), k)
    value, index = hamming.smallest(bounds[tile].reshape(-1), k)
    return value, tile[index // b] * b + index % b


def _reach(square: jax.Array, dims: int) -> jax.Array:
    """Upper bound of the true distance of a row whose computed square is at most `square`."""
    return jnp.sqrt(square) * (1 + 2 * rerank.relative_error(dims)) + 1e-18 * dims


def _read_tiles(
    index: DeviceIndex, query: Queries, walk: Walk, bounds: jax.Array, top: Ranking, *, k: int
) -> Ranking:
    """Read every tile whose bound does not exceed the K-th distance."""
    least = jnp.min(bounds, axis=1)

    def step(i: jax.Array, top: Ranking) -> Ranking:
        def read(top: Ranking) -> Ranking:
            t = walk.tile[i]
            position = t * TILE + jnp.arange(TILE, dtype=jnp.int32)
            ids = lax.dynamic_slice(index.ids, (t * TILE,), (TILE,))
            # Rows read before are in `top` already, or were displaced from it.
            fresh = ~jnp.any(ids[:, None] == top[1][None, :], axis=1)
            d = jnp.where(fresh, _tile_pool(index, query, t)[0], FAR)
            slots = hamming.Slots(jnp.zeros(TILE, jnp.int32), position, d)
            return merged(top, distances(index, query, slots), k=k)

        near = (least[i] <= _reach(top[0][-1], index.dims)) & (least[i] < jnp.inf)
        return lax.cond(near, read, lambda top: top, top)

    return lax.fori_loop(0, walk.steps, step, top)
