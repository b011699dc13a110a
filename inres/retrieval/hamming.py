"""The coarse stage: scans that compute Hamming distances without an array of [queries, items].

Items are stored in tiles of 1024, and 16 items of a tile form a block. `scan_pool` keeps one bit
per item, `scan_least` the smallest distance of each block. The two layouts differ in which items
share a block:

- walk order [T, W, 1024]: block b of a tile has the items b, b + 64, ..., b + 960;
- id order [T, W, 16, 64]: block b has the consecutive items 16 b ... 16 b + 15, so that the K
  blocks smallest by (minimum, block) contain the K items smallest by (distance, item).
"""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inres.retrieval.tiling import TILE

BLOCK = 16
"""Items per block."""
LANES = TILE // BLOCK
"""Blocks per tile."""
STRIP = 8
"""Blocks per strip, and strips per tile."""
FAR = 0x7FFF
"""Distance of padding and hidden items; larger than any real distance."""
ALIGNMENT = 64
"""Alignment in bytes that lets JAX use NumPy memory on a CPU without a copy."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tags:
    """The properties by which items are hidden from queries; a field is None if unused."""

    group: Any
    """int32 [...], group of the item, such as its scan; -1: no group."""
    label: Any
    """int32 [...], label of the item; negative: hidden from every query."""

    def at(self, index: Any) -> "Tags":
        """Index all tags; the index must be within bounds."""
        return jax.tree.map(lambda tag: tag.at[index].get(mode="promise_in_bounds"), self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Filters:
    """What each query hides; a field is None if no query uses it."""

    exclude_group: Any
    """int32 [...], group whose items are hidden; -1: none."""
    only_label: Any
    """int32 [...], the only label that is not hidden; -1: all labels."""

    def at(self, index: Any) -> "Filters":
        """Index all filters."""
        return jax.tree.map(lambda values: values[index], self)


def hidden(tags: Tags, filters: Filters) -> jax.Array | None:
    """Whether items are hidden from queries, bool of the broadcast shape; None: nothing is."""
    out = None
    if tags.group is not None and filters.exclude_group is not None:
        out = (tags.group == filters.exclude_group) & (filters.exclude_group >= 0)
    if tags.label is not None:
        away = tags.label < 0
        if filters.only_label is not None:
            away = jnp.where(filters.only_label >= 0, tags.label != filters.only_label, away)
        out = away if out is None else out | away
    return out


def hide(distance: jax.Array, tags: Tags, filters: Filters) -> jax.Array:
    """Set the distances of hidden items to FAR."""
    away = hidden(tags, filters)
    return distance if away is None else jnp.where(away, distance.dtype.type(FAR), distance)


def distances(queries: jax.Array, codes: jax.Array) -> jax.Array:
    """Hamming distances int32 [Q, N] between uint32 queries [Q, W] and codes [N, W]."""
    return _distance(queries[:, None, :], codes[None, :, :])


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """int32 [...] from uint32 [..., W] and [..., W]; uint8 counts would wrap at 256 bits."""
    counts = lax.population_count(a ^ b).astype(jnp.int32)
    return jnp.sum(counts, axis=-1, dtype=jnp.int32)


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros aligned to ALIGNMENT bytes, which JAX uses on a CPU without a copy."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + ALIGNMENT, np.uint8)
    skip = -room.ctypes.data % ALIGNMENT
    return room[skip : skip + size].view(dtype).reshape(shape)


def walk_layout(codes: np.ndarray, n_tiles: int) -> np.ndarray:
    """Codes uint32 [N, W] as [T, W, 1024], padded with zeros."""
    n, w = codes.shape
    out = np.zeros((n_tiles * TILE, w), np.uint32)
    out[:n] = codes
    return _laid(out.reshape(n_tiles, TILE, w).transpose(0, 2, 1))


def id_layout(values: np.ndarray, n_tiles: int, fill: int = 0) -> np.ndarray:
    """[N, W] as [T, W, 16, 64], padded with `fill`; item 16 b + j of a tile is at [j, b]."""
    n, w = values.shape
    out = np.full((n_tiles * TILE, w), fill, values.dtype)
    out[:n] = values
    return _laid(out.reshape(n_tiles, LANES, BLOCK, w).transpose(0, 3, 2, 1))


def _laid(view: np.ndarray) -> np.ndarray:
    out = aligned(view.shape, view.dtype)
    out[...] = view
    return out


def over_queries(scan: Callable, *columns: Any) -> Any:
    """Map a scan, which gives arrays [T, 64], over a batch: [T, Q, 64].

    All queries are processed tile by tile, so that the codes are read once. A batch of one is
    scanned without vmap, because XLA then divides the scan among the cores.
    """
    if len(columns[0]) > 1:
        return jax.vmap(scan, out_axes=1)(*columns)
    one = scan(*jax.tree.map(operator.itemgetter(0), columns))
    return jax.tree.map(lambda found: found[:, None], one)


def block_distances(
    codes: jax.Array, query: jax.Array, tags: Tags, filters: Filters, j: int
) -> jax.Array:
    """Distances uint32 [T, 64] of slot j of every block; FAR where hidden.

    `codes` is [T, W, 16, 64] and `tags` [T, 16, 64].
    """
    d = lax.population_count(codes[:, 0, j] ^ query[0])
    for w in range(1, codes.shape[1]):
        d = d + lax.population_count(codes[:, w, j] ^ query[w])
    return hide(d, jax.tree.map(lambda tag: tag[:, j], tags), filters)


def scan_pool(
    codes: jax.Array,
    query: jax.Array,
    threshold: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
) -> jax.Array:
    """Candidates of one query: uint16 [T, 64], bit j is set if item j of the block is one.

    Args:
      codes: uint32 [T, W, 1024], walk order.
      query: uint32 [W].
      threshold: int32 []; candidates have a smaller distance.
      count: int32 [], number of items; the slots after them are padding.
      tags: the items' tags [T, 1024].
      filters: the query's filters [].
    """
    t, w, _ = codes.shape
    codes = codes.reshape(t, w, BLOCK, LANES)
    tags = jax.tree.map(lambda tag: tag.reshape(t, BLOCK, LANES), tags)
    limit = jnp.maximum(threshold, 0).astype(jnp.uint32)
    masks = jnp.zeros((t, LANES), jnp.uint32)
    for j in range(BLOCK):
        d = block_distances(codes, query, tags, filters, j)
        masks |= (d < limit).astype(jnp.uint32) << j
    # Padding comes last. Clearing its bits here keeps the check out of the loop.
    left = count - TILE * lax.broadcasted_iota(jnp.int32, (t, LANES), 0)
    lane = lax.broadcasted_iota(jnp.int32, (t, LANES), 1)
    items = lax.div(left - lane + (LANES - 1), jnp.int32(LANES))
    full = jnp.clip(items, 0, BLOCK)  # items in the block
    return (masks & ((jnp.uint32(1) << full.astype(jnp.uint32)) - 1)).astype(jnp.uint16)


def count_pool(masks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Count candidates per strip, uint8 [T, Q, 8], and per tile, int32 [T, Q].

    `masks` is uint16 [T, Q, 64]. Sums of slices: reductions over a short axis are slow on CPUs.
    """
    t, q, _ = masks.shape
    pairs = masks.reshape(t, q, LANES // STRIP, STRIP // 2, 2)
    hits = lax.population_count(lax.bitcast_convert_type(pairs, jnp.uint32))
    strips = functools.reduce(jnp.add, (hits[..., i] for i in range(STRIP // 2)))
    per_tile = functools.reduce(jnp.add, (strips[..., i] for i in range(LANES // STRIP)))
    return strips.astype(jnp.uint8), per_tile.astype(jnp.int32)


def scan_least(
    codes: jax.Array,
    query: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
    tile: jax.Array | None = None,
) -> jax.Array:
    """Smallest distance of each block, uint32 [T, 64], for codes in id order [T, W, 16, 64].

    Blocks without items get FAR. In the one block with both items and padding, padding counts as
    code zero, so its minimum may be too small. `tile` is int32 [T], the numbers of the tiles, if
    they are not all tiles in order.
    """
    t = codes.shape[0]
    least = jnp.full((t, LANES), FAR, jnp.uint32)
    for j in range(BLOCK):
        least = jnp.minimum(least, block_distances(codes, query, tags, filters, j))
    number = lax.broadcasted_iota(jnp.int32, (t, LANES), 0) if tile is None else tile[:, None]
    block = LANES * number + lax.broadcasted_iota(jnp.int32, (t, LANES), 1)
    return jnp.where(BLOCK * block < count, least, jnp.uint32(FAR))


def smallest(values: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest of float32 [..., n] and their int32 indices; ties go to the lowest index."""
    if values.dtype != jnp.float32:
        raise TypeError(f"keys are {values.dtype}, must be float32: top_k is slow for others")
    negative, index = lax.top_k(-values, k)
    return -negative, index


def nearest_blocks(least: jax.Array, tile_least: jax.Array, query: jax.Array, k: int) -> jax.Array:
    """The k blocks smallest by (minimum, block) for one of Q queries; int32 [k], ascending.

    If there are many tiles, the k smallest tiles are found first; they contain these blocks.

    Args:
      least: uint32 [T, Q, 64], minimum of each block.
      tile_least: uint32 [Q, T], minimum of each tile.
      query: int32 [], row of the query.
      k: number of blocks; at most all.
    """
    t = least.shape[0]
    k = min(k, t * LANES)
    if t <= 2 * k:
        return jnp.sort(smallest(least[:, query].reshape(-1).astype(jnp.float32), k)[1])
    tile = jnp.sort(smallest(tile_least[query].astype(jnp.float32), k)[1])
    _, index = smallest(least[tile, query].reshape(-1).astype(jnp.float32), k)
    return jnp.sort(tile[index // LANES] * LANES + index % LANES)


def members(
    codes: jax.Array,
    query: jax.Array,
    block: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
) -> tuple[jax.Array, jax.Array]:
    """Distances and numbers of the items of some blocks, for codes in id order [T, W, 16, 64].

    Args:
      codes: uint32 [T, W, 16, 64].
      query: uint32 [W].
      block: int32 [n], the blocks.
      count: int32 [], number of items.
      tags: the items' tags [T, 16, 64].
      filters: the query's filters [].

    Returns:
      (distance, item): int32 [16 n] each, in the order of the blocks; FAR for padding and hidden
      items.
    """
    tile, lane = block // LANES, block % LANES
    words = codes[tile, :, :, lane]  # [n, W, 16]
    d = _distance(jnp.moveaxis(words, 1, -1), query)
    d = hide(d, jax.tree.map(lambda tag: tag[tile, :, lane], tags), filters)
    item = block[:, None] * BLOCK + np.arange(BLOCK, dtype=np.int32)
    return jnp.where(item < count, d, FAR).reshape(-1), item.reshape(-1)


def top_k(
    codes: jax.Array,
    queries: jax.Array,
    least: jax.Array,
    tile_least: jax.Array,
    query: jax.Array,
    count: jax.Array,
    k: int,
    tags: Tags,
    filters: Filters,
) -> tuple[jax.Array, jax.Array]:
    """Exact top-k of one of Q queries by (distance, item), from the block minima in id order.

    Args:
      codes: uint32 [T, W, 16, 64], id order.
      queries: uint32 [Q, W].
      least: uint32 [T, Q, 64], from `scan_least`.
      tile_least: uint32 [Q, T], minimum of each tile.
      query: int32 [], row of the query.
      count: int32 [], number of items.
      k: length of the result, at most the capacity.
      tags: the items' tags [T, 16, 64].
      filters: the queries' filters [Q].

    Returns:
      (distance, item): int32 [k] each; FAR and -1 beyond the last item.
    """
    # One block more, because the minimum of one block may be that of padding.
    block = nearest_blocks(least, tile_least, query, k + 1)
    d, item = members(codes, queries[query], block, count, tags, filters.at(query))
    key = d.astype(jnp.float32)
    key, index = smallest(key, k)
    found = key < FAR
    return (
        jnp.where(found, key, FAR).astype(jnp.int32),
        jnp.where(found, item[index], -1),
    )


def nearest(
    codes: jax.Array,
    queries: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
    *,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """Exact top-k of queries [Q, W], (distance, item) int32 [Q, k] each, one query at a time.

    Arguments and results as in `top_k`. For CPUs; see `counting.nearest`.
    """
    least = over_queries(
        lambda query, hides: scan_least(codes, query, count, tags, hides), queries, filters
    )
    tile_least = jnp.min(least, axis=2).T

    def one(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        return top_k(codes, queries, least, tile_least, i, count, k, tags, filters)

    return lax.map(one, jnp.arange(len(queries)))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Slots:
    """Numbered candidates: slot i is candidate i of all pools, concatenated in query order."""

    query: jax.Array
    """int32 [S], row of the query."""
    position: jax.Array
    """int32 [S], position in walk order; 0 in slots beyond the last candidate."""
    distance: jax.Array
    """int32 [S]; FAR in slots beyond the last candidate."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Marks:
    """The candidates of a batch."""

    masks: jax.Array
    """uint16 [T, Q, 64], from `scan_pool`."""
    strips: jax.Array
    """uint8 [T, Q, 8], from `count_pool`."""
    ends: jax.Array
    """int32 [Q, T], candidates up to the end of each tile."""


def cells(
    ends: jax.Array, per_query: int, slot: jax.Array, single_query: jax.Array | None
) -> tuple[jax.Array, ...]:
    """Find numbered candidates in the cells that they were counted in, by bisection.

    Args:
      ends: int32 [Q * per_query], candidates up to the end of each cell; [per_query] with
        `single_query`.
      per_query: number of cells per query.
      slot: int32 [S], the candidates' numbers.
      single_query: int32 [], number only the candidates of this query.

    Returns:
      int32 [S] each: query, cell of the query and rank in the cell; bool [S]: whether the candidate
      exists.
    """
    cell = jnp.searchsorted(ends, slot, side="right", method="scan").astype(jnp.int32)
    valid = cell < ends.size
    cell = jnp.minimum(cell, ends.size - 1)
    rank = slot - jnp.where(cell > 0, ends[cell - 1], 0)
    if single_query is not None:
        return jnp.full_like(cell, single_query), cell, rank, valid
    # jnp's integer division would add a dozen operations for negative numbers.
    n = jnp.int32(per_query)
    return lax.div(cell, n), lax.rem(cell, n), rank, valid


def compact(
    codes: jax.Array,
    queries: jax.Array,
    marks: Marks,
    ends: jax.Array,
    slot: jax.Array,
    single_query: jax.Array | None = None,
) -> Slots:
    """Find candidates by number in the results of the scan.

    Tile, strip, block and item are found by bisection, so the cost depends on the number of slots.

    Args:
      codes: uint32 [T, W, 1024], walk order.
      queries: uint32 [Q, W].
      marks: the candidates.
      ends: int32 [Q * T], candidates up to the end of each query's tile; [T] with `single_query`.
      slot: int32 [S], the candidates' numbers.
      single_query: int32 [], number only the candidates of this query.
    """
    n_tiles, q, _ = marks.masks.shape
    query, tile, rank, valid = cells(ends, n_tiles, slot, single_query)
    strip, rank = _find(marks.strips.at[tile, query].get(mode="promise_in_bounds"), rank)
    blocks = marks.masks.reshape(n_tiles, q, LANES // STRIP, STRIP)
    blocks = blocks.at[tile, query, strip].get(mode="promise_in_bounds")  # [S, 8]
    lane, rank = _find(lax.population_count(blocks), rank)
    mask = jnp.take_along_axis(blocks, lane[:, None], axis=1)[:, 0].astype(jnp.int32)
    j = jnp.zeros_like(rank)
    for step in (8, 4, 2, 1):
        below = lax.population_count((mask >> j) & ((1 << step) - 1))
        passed = below <= rank
        rank = jnp.where(passed, rank - below, rank)
        j = jnp.where(passed, j + step, j)
    place = strip * STRIP + lane + LANES * j
    distance = jnp.zeros_like(rank)
    for w in range(codes.shape[1]):
        word = codes.at[tile, w, place].get(mode="promise_in_bounds") ^ queries[query, w]
        distance += lax.population_count(word).astype(jnp.int32)
    return Slots(
        query=query,
        position=jnp.where(valid, tile * TILE + place, 0),
        distance=jnp.where(valid, distance, FAR),
    )


def _find(counts: jax.Array, rank: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The column of counts [S, 8] that contains item `rank` [S], and the rank within the column.

    Beyond the last item the column is arbitrary.
    """
    upper = np.triu(np.ones((STRIP, STRIP), np.float32))
    sums = jnp.matmul(counts.astype(jnp.float32), upper, precision=lax.Precision.HIGHEST)
    sums = sums.astype(jnp.int32)
    row, column = jnp.arange(len(rank)), jnp.zeros(len(rank), jnp.int32)
    for step in (4, 2, 1):
        passed = sums.at[row, column + step - 1].get(mode="promise_in_bounds") <= rank
        column = jnp.where(passed, column + step, column)
    before = sums.at[row, jnp.maximum(column - 1, 0)].get(mode="promise_in_bounds")
    return column, rank - jnp.where(column > 0, before, 0)


def member_distances(
    words: jax.Array,
    query: jax.Array,
    tile: jax.Array,
    place: Any,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
) -> jax.Array:
    """Distances int32 of single items in walk order; FAR for padding and hidden items.

    `words` is uint32 [W, ...], the items' codes; `tile` and `place` (the slot in the tile) are
    int32 of broadcastable shapes, within bounds; `query` is uint32 [..., W] and `filters` [...] of
    such shapes; `tags` are [T, 1024].
    """
    counts = (
        lax.population_count(word ^ query[..., w]).astype(jnp.int32) for w, word in enumerate(words)
    )
    d = functools.reduce(jnp.add, counts)
    d = hide(d, tags.at((tile, place)), filters)
    return jnp.where(tile * TILE + place < count, d, FAR)


def tile_distances(
    words: jax.Array,
    queries: jax.Array,
    tile: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
) -> jax.Array:
    """Distances int32 [Q, 1024] between queries [Q, W] and the items of one tile.

    FAR for padding and hidden items; `words` is uint32 [W, 1024], the codes of the tile; `tags` are
    [T, 1024], `filters` [Q].
    """
    d = jnp.zeros((len(queries), TILE), jnp.uint32)
    for w, word in enumerate(words):
        d += lax.population_count(word[None] ^ queries[:, w, None])
    theirs = jax.tree.map(lambda tag: lax.dynamic_index_in_dim(tag, tile), tags)  # [1, 1024]
    d = hide(d.astype(jnp.int32), theirs, jax.tree.map(lambda values: values[:, None], filters))
    return jnp.where(np.arange(TILE, dtype=np.int32) < count - tile * TILE, d, FAR)
