"""The nearest codes without sorting: a threshold found by counting, then compaction.

On an accelerator, sorting even a thousandth of the items takes longer than reading all codes. A
distance, however, is one of few integers. Counting the values up to each of them gives the k-th
smallest; prefix sums then number those below it and the first of those equal to it.

This is done three times, with fewer and fewer values: the minima of tiles, those of the blocks of
the chosen tiles, and the distances of the items of the chosen blocks. The k smallest by
(minimum, number) of each contain the k nearest items, so static shapes suffice and nothing is
truncated. All codes are read once; nothing of the size of the items is written; the largest array
that is sorted has k values.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inres.retrieval import hamming
from inres.retrieval.hamming import BLOCK, FAR, LANES, Filters, Tags
from inres.retrieval.tiling import TILE

WORDS_AT_ONCE = 1 << 27
"""Words of codes gathered from the chosen tiles at a time (512 MB). If they are more, for a large
k, queries are processed in groups."""
TOGETHER = 8
"""Queries that a code is compared with once it has been read."""


def smallest(values: jax.Array, k: int, *, largest: int) -> jax.Array:
    """Indices of the k smallest of uint32 or int32 [n] by (value, index): int32 [k], ascending.

    Values are at least 0; those above `largest` count as equal. k is at most n.
    """
    values = jnp.minimum(values.astype(jnp.int32), largest + 1)
    levels = np.arange(largest + 1, dtype=np.int32)
    up_to = jnp.sum(values <= levels[:, None], axis=1, dtype=jnp.int32)
    last = jnp.sum(up_to < k, dtype=jnp.int32)  # the k-th smallest value
    nearer = jnp.max(jnp.where(up_to < k, up_to, 0))  # number of smaller ones
    kinds = jnp.stack([values < last, values == last]).astype(jnp.int32)
    below, tied = jnp.cumsum(kinds, axis=1)
    ends = below + jnp.minimum(tied, k - nearer)
    slot = jnp.arange(1, k + 1, dtype=jnp.int32)
    return jnp.searchsorted(ends, slot, method="scan_unrolled").astype(jnp.int32)


def nearest(
    codes: jax.Array,
    queries: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
    *,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """Exact top-k of queries [Q, W], (distance, item) int32 [Q, k] each, all queries at once.

    Arguments and results as in `hamming.top_k`. For accelerators; see `hamming.nearest`.
    """
    t, w = codes.shape[:2]
    largest = 32 * w
    # One block more, because the minimum of one block may be that of padding.
    blocks = min(k + 1, t * LANES)

    def one(
        columns: tuple[jax.Array, Filters, jax.Array | None],
    ) -> tuple[jax.Array, jax.Array]:
        query, hides, tile = columns
        of_tiles = (codes, tags) if tile is None else jax.tree.map(lambda x: x[tile], (codes, tags))
        least = hamming.scan_least(of_tiles[0], query, count, of_tiles[1], hides, tile)
        block = smallest(least.reshape(-1), blocks, largest=largest)
        if tile is not None:
            block = tile[block // LANES] * LANES + block % LANES
        d, item = hamming.members(codes, query, block, count, tags, hides)
        index = smallest(d, k, largest=largest)
        d, item = lax.sort((d[index], item[index]), num_keys=2)
        return d, jnp.where(d < FAR, item, -1)

    tile = None
    if t > blocks:
        tile = _tiles(codes, queries, count, tags, filters, k=blocks, largest=largest)
    columns = (queries, filters, tile)
    group = max(1, WORDS_AT_ONCE // (min(blocks, t) * TILE * w))
    if group >= len(queries):
        return jax.vmap(one)(columns)
    return lax.map(one, columns, batch_size=group)


def _tiles(
    codes: jax.Array,
    queries: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
    *,
    k: int,
    largest: int,
) -> jax.Array:
    """The k tiles smallest by (minimum, number): int32 [Q, k], ascending."""
    starts = range(0, len(queries), TOGETHER)
    parts = [slice(start, start + TOGETHER) for start in starts]
    least = jnp.stack(
        [
            row
            for part in parts
            for row in _tile_minima(
                codes, queries[part], count, tags, jax.tree.map(lambda x, p=part: x[p], filters)
            )
        ]
    )
    return jax.vmap(lambda values: smallest(values, k, largest=largest))(least)


def _tile_minima(
    codes: jax.Array, queries: jax.Array, count: jax.Array, tags: Tags, filters: Filters
) -> tuple[jax.Array, ...]:
    """Smallest distance of each tile, uint32 [T] for each of a few queries; FAR without items.

    One reduction has a result for each query. So it reads the codes once, and a code that was read
    is compared with all queries.
    """
    t, w = codes.shape[:2]
    codes = codes.reshape(t, w, TILE)
    tags = jax.tree.map(lambda tag: tag.reshape(t, TILE), tags)
    place = np.arange(TILE, dtype=np.int32)
    number = lax.broadcasted_iota(jnp.int32, (t, TILE), 0)
    item = TILE * number + (place % LANES * BLOCK + place // LANES)
    # FAR has all bits of any distance.
    padding = jnp.where(item < count, jnp.uint32(0), jnp.uint32(FAR))

    def one(query: int) -> jax.Array:
        counts = [lax.population_count(codes[:, i] ^ queries[query, i]) for i in range(w)]
        d = functools.reduce(jnp.add, counts) | padding
        return hamming.hide(d, tags, filters.at(query))

    distances = [one(query) for query in range(len(queries))]
    return lax.reduce(
        distances,
        [jnp.uint32(FAR)] * len(distances),
        lambda a, b: [jnp.minimum(x, y) for x, y in zip(a, b, strict=True)],
        (1,),
    )
