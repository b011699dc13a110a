"""The items of an Index on a device, in the layouts that the jitted programs read."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from inres.retrieval import checks, hamming, rerank, runs, tiling
from inres.retrieval import codes as codes_lib
from inres.retrieval.hamming import Filters, Tags
from inres.retrieval.runs import Runs
from inres.retrieval.tiling import TILE


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Each:
    """A code for each item, where few items share one."""

    codes: jax.Array
    """uint32 [T, W, 1024], in walk order."""
    codes_by_id: jax.Array
    """uint32 [T, W, 16, 64], in id order."""
    tags_by_id: Tags
    """[T, 16, 64], in id order."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DeviceIndex:
    """Items in C = 1024 T slots, of which `count` hold items. Created by `build`.

    Walk order is sorted by (code, id), and empty slots come last.
    """

    codes: Each | Runs
    """A code for each item, or the distinct codes where items share them."""
    features: jax.Array
    """float32 [C, D], in walk order."""
    ids: jax.Array
    """int32 [C], in walk order; -1 in empty slots."""
    tags: Tags
    """[T, 1024], in walk order."""
    sketch: rerank.Sketch
    """int8 copy of the features."""
    place: jax.Array
    """int32 [C]: for each item in id order, its position in walk order."""
    count: jax.Array
    """int32 [], number of items."""
    bits: int = dataclasses.field(metadata={"static": True})

    @property
    def dims(self) -> int:
        """Number of values per feature vector."""
        return self.features.shape[1]

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.features.shape[0]

    def __len__(self) -> int:
        return int(self.count)

    def hides(self, filters: Filters) -> bool:
        """Whether items can be hidden from queries with such filters."""
        by_group = self.tags.group is not None and filters.exclude_group is not None
        return by_group or self.tags.label is not None

    def tile_words(self, tile: jax.Array) -> jax.Array:
        """The codes of the items of one tile, uint32 [W, 1024]."""
        if isinstance(self.codes, Each):
            return lax.dynamic_index_in_dim(self.codes.codes, tile, keepdims=False)
        return runs.words(self.codes, lax.dynamic_index_in_dim(self.codes.code_of, tile, 0, False))

    def item_words(self, tile: jax.Array, place: Any) -> jax.Array:
        """The codes of single items, uint32 [W, ...], by tiles and slots in them (broadcast)."""
        if isinstance(self.codes, Runs):
            code = self.codes.code_of.at[tile, place].get(mode="promise_in_bounds")
            return runs.words(self.codes, code)
        codes = self.codes.codes
        found = (codes.at[tile, w, place] for w in range(codes.shape[1]))
        return jnp.stack([word.get(mode="promise_in_bounds") for word in found])

    def by_id(self) -> tuple[jax.Array, Tags]:
        """Codes [T, W, 16, 64] and tags [T, 16, 64] in id order, gathered from runs if need be."""
        if isinstance(self.codes, Each):
            return self.codes.codes_by_id, self.codes.tags_by_id
        code = self.codes.code_of.reshape(-1)[self._laid(self.place)]
        tags = jax.tree.map(lambda tag: self._laid(tag.reshape(-1)[self.place]), self.tags)
        return jnp.moveaxis(runs.words(self.codes, code), 0, 1), tags

    def _laid(self, values: jax.Array) -> jax.Array:
        """Values in id order, [C] to [T, 16, 64]."""
        return values.reshape(-1, hamming.LANES, hamming.BLOCK).transpose(0, 2, 1)


def _sorted_rows(features: np.ndarray, order: np.ndarray, capacity: int) -> jax.Array:
    """Rows in walk order, float32 [C, D], copied in parts so that mapped features stay on disk.

    Raises:
      ValueError: a row is not finite.
    """
    rows = hamming.aligned((capacity, features.shape[1]), np.float32)
    for start in range(0, len(order), 1 << 16):
        part = order[start : start + (1 << 16)]
        rows[start : start + len(part)] = features[part]
        checks.finite(rows[start : start + len(part)], "features", part)
    return jnp.asarray(rows)


def _tile(values: np.ndarray | None, tiles: int) -> jax.Array | None:
    """Tags in walk order, [N] to [T, 1024], padded with -1."""
    if values is None:
        return None
    spare = (0, tiles * TILE - len(values))
    return jnp.asarray(np.pad(values, spare, constant_values=-1).reshape(tiles, TILE))


def _tile_by_id(values: np.ndarray | None, tiles: int) -> jax.Array | None:
    """Tags in id order, [N] to [T, 16, 64], padded with -1."""
    if values is None:
        return None
    return jnp.asarray(hamming.id_layout(values[:, None], tiles, -1)[:, 0])


def build(
    codes: Any,
    features: Any,
    *,
    bits: int,
    groups: Any = None,
    labels: Any = None,
    ids: Any = None,
    capacity: int = 0,
    code_tiles: int | None = None,
) -> DeviceIndex:
    """Put N items on the default device; arguments and errors as in `index.build`.

    Args:
      codes: uint32 [N, words(bits)], as returned by `codes.pack`.
      features: float32 [N, D]; float16 and bfloat16 are widened. Memory-mapped arrays work.
      bits: code length h.
      groups: int [N], for instance the scan of each item; a query can exclude one group. -1: no
        group.
      labels: int [N]; a query can be restricted to one label. Items with -1 are never found.
      ids: int [N], unique and at least 0; default 0 ... N - 1.
      capacity: minimum number of items that the shapes allow; an index that grows within it needs
        no new compilation. 0: N.
      code_tiles: tiles of distinct codes, 0 for a code per item; default as the codes are
        (`runs.tiles_for`).

    Raises:
      TypeError: a dtype is wrong.
      ValueError: widths or lengths disagree, ids repeat, or features are not finite.
    """
    codes, features, ids, groups, labels = checks.items(
        codes, features, bits=bits, ids=ids, groups=groups, labels=labels
    )
    n = len(codes)
    groups = np.full(n, -1, np.int32) if groups is None else groups
    by_id = np.argsort(ids, kind="stable")
    tiles = tiling.tiles(max(n, capacity))
    order = codes_lib.sort(codes, ids)
    in_order = codes[order]
    if code_tiles is None:
        code_tiles = runs.tiles_for(len(codes_lib.firsts(in_order)), n)
    spare = (0, tiles * TILE - n)
    place = np.empty(n, np.int32)
    place[order] = np.arange(n, dtype=np.int32)  # by input row
    count = jnp.asarray(n, jnp.int32)
    walked = _sorted_rows(features, order, tiles * TILE)
    return DeviceIndex(
        codes=runs.build(in_order, ids[order], tiles=tiles, room=code_tiles)
        if code_tiles
        else Each(
            codes=jnp.asarray(hamming.walk_layout(in_order, tiles)),
            codes_by_id=jnp.asarray(hamming.id_layout(codes[by_id], tiles)),
            tags_by_id=Tags(
                _tile_by_id(groups[by_id], tiles),
                None if labels is None else _tile_by_id(labels[by_id], tiles),
            ),
        ),
        features=walked,
        ids=jnp.asarray(np.pad(ids[order], spare, constant_values=-1)),
        tags=Tags(
            _tile(groups[order], tiles), None if labels is None else _tile(labels[order], tiles)
        ),
        sketch=rerank.make_sketch(walked, count),
        place=jnp.asarray(np.pad(place[by_id], spare)),
        count=count,
        bits=bits,
    )


def with_labels(index: DeviceIndex, labels: Any) -> DeviceIndex:
    """A copy of the Index with other labels; all other arrays are shared.

    Args:
      index: the index.
      labels: int [N], in ascending order of the items' ids, the order of `Records.column`. Items
        with -1 are never found. None: no labels.

    Raises:
      ValueError: the length is not N, or a value is below -1.
    """
    n, tiles, codes = len(index), index.capacity // TILE, index.codes
    walked = None
    if labels is not None:
        labels = checks.integers(labels, n, "labels")
        walked = np.empty(n, np.int32)
        walked[np.asarray(index.place)[:n]] = labels
    if isinstance(codes, Each):
        by_id = Tags(codes.tags_by_id.group, _tile_by_id(labels, tiles))
        codes = dataclasses.replace(codes, tags_by_id=by_id)
    return dataclasses.replace(
        index, codes=codes, tags=Tags(index.tags.group, _tile(walked, tiles))
    )
