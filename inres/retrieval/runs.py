"""The distinct codes of the items on a device, scanned in place of all codes.

Items in walk order that share a code form a run. A scan of the distinct codes gives the runs of a
pool; its items are found by bisection over the lengths of these runs. Filters are not known here: a
run is found as a whole, and hidden items are left out when its items are read.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inres.retrieval import coarse, hamming
from inres.retrieval import codes as codes_lib
from inres.retrieval.hamming import BLOCK, FAR, LANES, Filters, Slots, Tags
from inres.retrieval.tiling import TILE

ANYTHING = Tags(None, None), Filters(None, None)
"""Nothing is hidden."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Runs:
    """U distinct codes in C' = 1024 T' slots, and the runs of n items in 1024 T slots."""

    codes: jax.Array
    """uint32 [T', W, 16, 64], ascending; code 16 b + j of a tile is at [j, b]."""
    starts: jax.Array
    """int32 [C' + 1], position in walk order of the first item of each code; n after the last."""
    codes_by_id: jax.Array
    """uint32 [T', W, 16, 64], by ascending id of the code's first item."""
    number: jax.Array
    """int32 [C']: for each of `codes_by_id`, its number in `codes`."""
    code_of: jax.Array
    """int32 [T, 1024], number of the code of each item in walk order."""
    count: jax.Array
    """int32 [], U."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Marks:
    """The codes of the pools of a batch."""

    masks: jax.Array
    """uint16 [T', Q, 64], bit j is set if code j of the block is one."""
    ends: jax.Array
    """int32 [Q, 64 T'], items up to the end of each block of codes, also hidden ones."""


def tiles_for(distinct: int, items: int) -> int:
    """Number of tiles T' for this many distinct codes; 0: a scan of all codes is as good.

    A power of two, so that a growing index rarely changes shape.
    """
    if not 0 < 4 * distinct <= items:
        return 0
    return 1 << (-(-distinct // TILE) - 1).bit_length()


def build(codes: np.ndarray, ids: np.ndarray, *, tiles: int, room: int) -> Runs:
    """The runs of items in walk order.

    Args:
      codes: uint32 [n, W], ascending.
      ids: int32 [n], ascending where codes are equal.
      tiles: T.
      room: T', with at least as many slots as there are distinct codes.
    """
    firsts = codes_lib.firsts(codes)
    count, spare = len(firsts), room * TILE - len(firsts)
    distinct, lengths = codes[firsts], np.diff(firsts, append=len(codes))
    by_id = np.argsort(ids[firsts])
    code_of = np.zeros(tiles * TILE, np.int32)
    code_of[: len(codes)] = np.repeat(np.arange(count, dtype=np.int32), lengths)
    return Runs(
        codes=jnp.asarray(hamming.id_layout(distinct, room)),
        starts=jnp.asarray(np.pad(firsts, (0, spare + 1), constant_values=len(codes)), jnp.int32),
        codes_by_id=jnp.asarray(hamming.id_layout(distinct[by_id], room)),
        number=jnp.asarray(np.pad(by_id, (0, spare)), jnp.int32),
        code_of=jnp.asarray(code_of.reshape(tiles, TILE)),
        count=jnp.asarray(count, jnp.int32),
    )


def words(runs: Runs, code: jax.Array) -> jax.Array:
    """Codes by their numbers [...], uint32 [W, ...]."""
    tile, rest = lax.div(code, jnp.int32(TILE)), lax.rem(code, jnp.int32(TILE))
    lane, j = lax.div(rest, jnp.int32(BLOCK)), lax.rem(rest, jnp.int32(BLOCK))
    return jnp.stack(
        [
            runs.codes.at[tile, w, j, lane].get(mode="promise_in_bounds")
            for w in range(runs.codes.shape[1])
        ]
    )


def scan(runs: Runs, queries: jax.Array, threshold: jax.Array) -> Marks:
    """Mark the codes whose distance from queries [Q, W] is smaller than the thresholds [Q]."""
    t = runs.codes.shape[0]
    length = jnp.diff(runs.starts).reshape(t, LANES, BLOCK)

    def one(query: jax.Array, limit: jax.Array) -> tuple[jax.Array, jax.Array]:
        limit = jnp.maximum(limit, 0).astype(jnp.uint32)
        masks, items = jnp.zeros((t, LANES), jnp.uint32), jnp.zeros((t, LANES), jnp.int32)
        for j in range(BLOCK):
            inside = hamming.block_distances(runs.codes, query, *ANYTHING, j) < limit
            masks |= inside.astype(jnp.uint32) << j
            items += jnp.where(inside, length[:, :, j], 0)
        return masks.astype(jnp.uint16), items

    masks, items = hamming.over_queries(one, queries, threshold)
    per_block = jnp.moveaxis(items, 1, 0).reshape(len(queries), -1)
    return Marks(masks, jnp.cumsum(per_block, axis=1))


def tile_ends(runs: Runs, marks: Marks, count: jax.Array) -> jax.Array:
    """Items of the pools up to the end of each tile in walk order, int32 [Q, T].

    `count` is int32 [], the number of items.
    """
    n_tiles = runs.code_of.shape[0]
    end = jnp.minimum(TILE * (1 + jnp.arange(n_tiles, dtype=jnp.int32)), count)
    last = runs.code_of.reshape(-1)[jnp.maximum(end - 1, 0)]  # code of the last item in the tile
    block, j = last // BLOCK, last % BLOCK
    mask = marks.masks[block // LANES, :, block % LANES].astype(jnp.int32)  # [T, Q]
    inside = jnp.where(block > 0, marks.ends[:, jnp.maximum(block - 1, 0)], 0).T
    for i in range(BLOCK):
        start, stop = runs.starts[BLOCK * block + i], runs.starts[BLOCK * block + i + 1]
        length = jnp.where(i <= j, jnp.minimum(stop, end) - start, 0)
        inside += ((mask >> i) & 1) * length[:, None]
    return inside.T


def compact(
    runs: Runs,
    queries: jax.Array,
    marks: Marks,
    ends: jax.Array,
    slot: jax.Array,
    single_query: jax.Array | None = None,
) -> Slots:
    """Find candidates by number: the block of codes, the code and the item of its run.

    Arguments as in `hamming.compact`, with the items up to the end of each block in `ends`. Hidden
    items are found as well.
    """
    query, block, rank, valid = hamming.cells(ends, marks.ends.shape[1], slot, single_query)
    tile, lane = lax.div(block, jnp.int32(LANES)), lax.rem(block, jnp.int32(LANES))
    mask = marks.masks.at[tile, query, lane].get(mode="promise_in_bounds").astype(jnp.int32)
    end, before, j = (jnp.zeros_like(rank) for _ in range(3))
    first = runs.starts.at[BLOCK * block].get(mode="promise_in_bounds")
    for i in range(BLOCK):
        next_first = runs.starts.at[BLOCK * block + i + 1].get(mode="promise_in_bounds")
        end += jnp.where((mask >> i) & 1 == 1, next_first - first, 0)
        before = jnp.where(end <= rank, end, before)
        j += end <= rank
        first = next_first
    code = BLOCK * block + jnp.minimum(j, BLOCK - 1)
    distance = jnp.zeros_like(rank)
    for w, word in enumerate(words(runs, code)):
        distance += lax.population_count(word ^ queries[query, w]).astype(jnp.int32)
    start = runs.starts.at[code].get(mode="promise_in_bounds")
    return Slots(
        query=query,
        position=jnp.where(valid, start + rank - before, 0),
        distance=jnp.where(valid, distance, FAR),
    )


def nearest(
    runs: Runs, ids: jax.Array, queries: jax.Array, *, k: int
) -> tuple[jax.Array, jax.Array]:
    """The k nearest items, whether hidden or not, by (Hamming distance, lowest id).

    The k codes smallest by (distance, id of the first item) contain them: each of these codes has
    an item smaller than any item of another code. Of codes at the k-th distance, only the items up
    to some id are taken; that id is found by bisection.

    Args:
      runs: the codes.
      ids: int32 [C], in walk order.
      queries: uint32 [Q, W].
      k: length of the result.

    Returns:
      (distance, position in walk order): int32 [Q, k] each, FAR and -1 beyond the last item.
    """
    distance, code, length = _nearest_codes(runs, queries, min(k, len(runs.number)))
    length = jnp.minimum(length, k)
    start = runs.starts[code]
    last = jnp.min(jnp.where(jnp.cumsum(length, axis=1) >= k, distance, FAR), axis=1)[:, None]
    nearer = jnp.where(distance < last, length, 0)
    tied = (distance == last) & (last < FAR)
    missing = k - jnp.sum(nearer, axis=1)

    def up_to(limit: jax.Array) -> jax.Array:
        """Number of tied items of each code whose ids are at most `limit` [Q]."""
        found = jnp.zeros_like(length)
        for step in reversed(range(k.bit_length())):
            more = found + (1 << step)
            id_ = ids[jnp.minimum(start + more - 1, len(ids) - 1)]
            found = jnp.where((more <= length) & (id_ <= limit[:, None]), more, found)
        return jnp.where(tied, found, 0)

    def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + ((high - low) >> 1)
        enough = jnp.sum(up_to(middle), axis=1) >= missing
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    highest = jnp.where(tied, ids[jnp.clip(start + length - 1, 0, len(ids) - 1)], 0)
    bounds = jnp.zeros(len(queries), jnp.int32), jnp.max(highest, axis=1)
    limit = lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), halve, bounds)[1]
    ends = jnp.cumsum(nearer + up_to(limit), axis=1)
    slot = jnp.arange(k, dtype=jnp.int32)
    cell = jax.vmap(lambda row: jnp.searchsorted(row, slot, side="right", method="scan"))(ends)
    found = cell < ends.shape[1]
    cell = jnp.minimum(cell, ends.shape[1] - 1)

    def at(column: jax.Array) -> jax.Array:
        return jnp.take_along_axis(column, cell, axis=1)

    rank = slot - jnp.where(cell > 0, jnp.take_along_axis(ends, jnp.maximum(cell - 1, 0), 1), 0)
    position = jnp.where(found, at(start) + rank, -1)
    far = jnp.where(found, at(distance), FAR)
    far, _, position = lax.sort((far, ids[jnp.maximum(position, 0)], position), num_keys=2)
    return far, position


def _nearest_codes(
    runs: Runs, queries: jax.Array, k: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Distances, numbers and run lengths of the k codes smallest by (distance, first id).

    int32 [Q, k] each, ascending; FAR, any number, and 0 beyond the last code.
    """
    distance, place = coarse.nearest(runs.codes_by_id, queries, runs.count, *ANYTHING, k=k)
    code = runs.number[jnp.maximum(place, 0)]
    length = runs.starts[code + 1] - runs.starts[code]
    return distance, code, jnp.where(place >= 0, length, 0)
