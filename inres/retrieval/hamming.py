"""The coarse stage: Hamming distances, and the two scans that never hold one per item.

Items lie in tiles of 1024. Inside a tile, 16 items form a block, and a scan keeps only the
smallest distance of each block, so nothing of size [queries, items] exists. Two layouts differ in
which items share a block:

- walk order [T, W, 1024]: block b of a tile has the items b, b + 64, ..., b + 960;
- id order [T, W, 16, 64]: block b has the items 16 b ... 16 b + 15, consecutive ones, so that the
  K blocks smallest by (minimum, block) hold the K items smallest by (distance, item).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TILE = 1024
"""Items of a tile."""
BLOCK = 16
"""Items of a block."""
LANES = TILE // BLOCK
"""Blocks of a tile."""
FAR = 0x7FFF
"""Distance of what is no item: padding, and what a query excludes. Above any real distance."""
MAX_BITS = 16384
"""Distances and block counts share a uint32 word, and float32 keys stay exact."""


def distances(queries: jax.Array, codes: jax.Array) -> jax.Array:
    """Hamming distances of uint32 queries [Q, W] and codes [N, W]: int32 [Q, N]."""
    return _distance(queries[:, None, :], codes[None, :, :])


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """int32 [...] from uint32 [..., W] and [..., W]; bytes would wrap at 256 bits."""
    counts = lax.population_count(a ^ b).astype(jnp.int32)
    return jnp.sum(counts, axis=-1, dtype=jnp.int32)


def tiles(items: int) -> int:
    """Tiles of the smallest capacity that holds `items`.

    Capacities grow by at most a sixteenth, so that an index that grows changes shape seldom.
    """
    need = max(1, -(-items // TILE))
    step = max(1, 1 << max(0, need.bit_length() - 5))
    return -(-need // step) * step


def walk_layout(codes: np.ndarray, n_tiles: int) -> np.ndarray:
    """uint32 [N, W] to [T, W, 1024], zero-padded."""
    n, w = codes.shape
    out = np.zeros((n_tiles * TILE, w), np.uint32)
    out[:n] = codes
    return np.ascontiguousarray(out.reshape(n_tiles, TILE, w).transpose(0, 2, 1))


def id_layout(values: np.ndarray, n_tiles: int, fill: int = 0) -> np.ndarray:
    """[N, W] to [T, W, 16, 64], padded with `fill`: item 16 b + j of a tile is at [j, b]."""
    n, w = values.shape
    out = np.full((n_tiles * TILE, w), fill, values.dtype)
    out[:n] = values
    return np.ascontiguousarray(out.reshape(n_tiles, LANES, BLOCK, w).transpose(0, 3, 2, 1))


def _block_distances(
    codes: jax.Array,
    query: jax.Array,
    count: jax.Array,
    groups: jax.Array | None,
    query_group: jax.Array | None,
    offset: np.ndarray,
    j: int,
) -> jax.Array:
    """Distances uint32 [T, 64] of the j-th items of all blocks; FAR for what is no item.

    codes [T, W, 16, 64] and groups [T, 16, 64]; offset [64]: place of those items in a tile.
    """
    d = lax.population_count(codes[:, 0, j] ^ query[0])
    for w in range(1, codes.shape[1]):
        d = d + lax.population_count(codes[:, w, j] ^ query[w])
    left = count - TILE * lax.broadcasted_iota(jnp.int32, (codes.shape[0], 1), 0)
    keep = offset[None, :] < left
    if groups is not None and query_group is not None:
        keep &= (groups[:, j] != query_group) | (query_group < 0)
    return jnp.where(keep, d, jnp.uint32(FAR))


def scan_pool(
    codes: jax.Array,
    query: jax.Array,
    threshold: jax.Array,
    count: jax.Array,
    groups: jax.Array | None = None,
    query_group: jax.Array | None = None,
) -> jax.Array:
    """Block minima and block counts of one query, in one pass.

    Args:
      codes: uint32 [T, W, 1024], walk order.
      query: uint32 [W].
      threshold: int32 [], a candidate's distance is below it.
      count: int32 [], the valid items; those after are padding.
      groups: int32 [T, 1024], or None where nothing is excluded.
      query_group: int32 [], items of this group are excluded; -1 excludes none.

    Returns:
      uint32 [T, 64]: the block's smallest distance, plus 65536 times its candidates. One word,
      so that one loop makes both.
    """
    t, w, _ = codes.shape
    codes = codes.reshape(t, w, BLOCK, LANES)
    groups = None if groups is None else groups.reshape(t, BLOCK, LANES)
    limit = jnp.maximum(threshold, 0).astype(jnp.uint32)
    least = jnp.full((t, LANES), FAR, jnp.uint32)
    inside = jnp.zeros((t, LANES), jnp.uint32)
    for j in range(BLOCK):
        offset = np.arange(j * LANES, (j + 1) * LANES, dtype=np.int32)
        d = _block_distances(codes, query, count, groups, query_group, offset, j)
        least = jnp.minimum(least, d)
        inside += (d < limit).astype(jnp.uint32)
    return least | (inside << 16)


def scan_least(
    codes: jax.Array,
    query: jax.Array,
    count: jax.Array,
    groups: jax.Array | None = None,
    query_group: jax.Array | None = None,
) -> jax.Array:
    """Block minima uint32 [T, 64] of one query over codes in id order [T, W, 16, 64]."""
    least = jnp.full((codes.shape[0], LANES), FAR, jnp.uint32)
    for j in range(BLOCK):
        offset = np.arange(j, TILE, BLOCK, dtype=np.int32)
        d = _block_distances(codes, query, count, groups, query_group, offset, j)
        least = jnp.minimum(least, d)
    return least


def smallest(values: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest of float32 [..., n], ties by lowest index: values and int32 indices."""
    if values.dtype != jnp.float32:
        raise TypeError(f"keys are {values.dtype}, must be float32: top_k is slow for others")
    negative, index = lax.top_k(-values, k)
    return -negative, index


def nearest_blocks(least: jax.Array, k: int) -> jax.Array:
    """The k blocks smallest by (minimum, block) of block minima [T, 64]; int32 [k], ascending.

    Goes by tiles first: k tiles always hold them. `k` is capped at the number of blocks.
    """
    t = least.shape[0]
    k = min(k, t * LANES)
    least = least.astype(jnp.float32)
    if t <= 2 * k:
        return jnp.sort(smallest(least.reshape(-1), k)[1])
    tile = jnp.sort(smallest(jnp.min(least, axis=1), k)[1])
    _, index = smallest(least[tile].reshape(-1), k)
    return jnp.sort(tile[index // LANES] * LANES + index % LANES)


def top_k(
    codes: jax.Array,
    query: jax.Array,
    least: jax.Array,
    count: jax.Array,
    k: int,
    groups: jax.Array | None = None,
    query_group: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Exact top-k of one query by (distance, item) from its block minima in id order.

    Args:
      codes: uint32 [T, W, 16, 64], id order.
      query: uint32 [W].
      least: uint32 [T, 64], from `scan_least`.
      count: int32 [].
      k: result length, at most the capacity.
      groups: int32 [T, 16, 64] or None.
      query_group: int32 [] or None.

    Returns:
      (distance, item): int32 [k] each; distance FAR and item -1 where there are fewer than k.
    """
    block = nearest_blocks(least, k)
    tile, lane = block // LANES, block % LANES
    members = codes[tile, :, :, lane]  # [k, W, 16]
    d = _distance(jnp.moveaxis(members, 1, -1), query)  # [k, 16]
    item = block[:, None] * BLOCK + np.arange(BLOCK, dtype=np.int32)
    keep = item < count
    if groups is not None and query_group is not None:
        keep &= (groups[tile, :, lane] != query_group) | (query_group < 0)
    key = jnp.where(keep, d, FAR).reshape(-1).astype(jnp.float32)
    key, index = smallest(key, k)
    found = key < FAR
    return (
        jnp.where(found, key, FAR).astype(jnp.int32),
        jnp.where(found, item.reshape(-1)[index], -1),
    )


def candidates(
    codes: jax.Array,
    query: jax.Array,
    least: jax.Array,
    threshold: jax.Array,
    count: jax.Array,
    size: int,
    groups: jax.Array | None = None,
    query_group: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The pool of one query, if it has at most `size` items: positions and distances.

    Args:
      codes: uint32 [T, W, 1024], walk order.
      query: uint32 [W].
      least: uint32 [T, 64], block minima in walk order.
      threshold: int32 [].
      count: int32 [].
      size: the pool's capacity. A pool of more than `size` items is cut: count it first.
      groups: int32 [T, 1024] or None.
      query_group: int32 [] or None.

    Returns:
      (position, distance): int32 [size'] each, size' = min(size, capacity); distance FAR and
      position 0 where there are fewer.
    """
    block = nearest_blocks(least, size)
    tile, lane = block // LANES, block % LANES
    place = lane[:, None] + LANES * np.arange(BLOCK, dtype=np.int32)  # [size, 16]
    d = member_distances(codes, query, tile[:, None], place, count, groups, query_group)
    key = jnp.where(d < threshold, d, FAR).reshape(-1).astype(jnp.float32)
    key, index = smallest(key, min(size, key.size))
    found = key < FAR
    position = (tile[:, None] * TILE + place).reshape(-1)[index]
    return jnp.where(found, position, 0), jnp.where(found, key, FAR).astype(jnp.int32)


def member_distances(
    codes: jax.Array,
    query: jax.Array,
    tile: jax.Array,
    place: Any,
    count: jax.Array,
    groups: jax.Array | None = None,
    query_group: jax.Array | None = None,
) -> jax.Array:
    """Distances int32 of single items in walk order, FAR for what is no item.

    `tile` and `place` (the item in its tile) are int32 of shapes that broadcast.
    """
    words = [codes[tile, w, place] ^ query[w] for w in range(codes.shape[1])]
    d = sum(lax.population_count(word).astype(jnp.int32) for word in words)
    keep = tile * TILE + place < count
    if groups is not None and query_group is not None:
        keep &= (groups[tile, place] != query_group) | (query_group < 0)
    return jnp.where(keep, d, FAR)
