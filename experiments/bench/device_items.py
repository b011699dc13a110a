"""Random items made on a device, for searches among more of them than are quick to sort."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inres.retrieval import codes as codes_lib
from inres.retrieval import rerank, tiling
from inres.retrieval.device_index import DeviceIndex, Each
from inres.retrieval.hamming import BLOCK, LANES, Tags
from inres.retrieval.tiling import TILE


def bytes_per_item(bits: int, dims: int) -> int:
    """Memory of an item of `random_index`, with a quarter more for temporary arrays."""
    fields = 8 * codes_lib.words(bits) + 5 * dims + 4 * (2 + 3 + 2 * (dims > 0))
    return fields * 5 // 4


def random_index(count: int, *, bits: int, dims: int, seed: int) -> DeviceIndex:
    """`count` items with random codes and standard normal features.

    Items are in the order of their ids instead of that of their codes; random codes hardly share
    tiles anyway. With `dims` of 0 there are no features, for a search by Hamming distance alone.

    Args:
      count: number of items.
      bits: code length, a multiple of 32.
      dims: length of a feature vector.
      seed: of both.
    """
    if bits % 32:
        raise ValueError(f"bits is {bits}, must be a multiple of 32 here")
    tiles = tiling.tiles(count)
    shape = tiles, codes_lib.words(bits), BLOCK, LANES
    code_key, feature_key = jax.random.split(jax.random.key(seed))
    by_id = jax.jit(functools.partial(jax.random.bits, shape=shape, dtype=jnp.uint32))(code_key)
    walked = jax.jit(lambda x: x.swapaxes(2, 3).reshape(*x.shape[:2], TILE))(by_id)
    normal = jax.jit(functools.partial(jax.random.normal, shape=(tiles * TILE, dims)))
    features = normal(feature_key) if dims else jnp.zeros((tiles * TILE, 0))
    number = jnp.arange(tiles * TILE, dtype=jnp.int32)
    n = jnp.asarray(count, jnp.int32)
    sketch: Any = rerank.make_sketch(features, n) if dims else None
    return DeviceIndex(
        codes=Each(
            codes=walked,
            codes_by_id=by_id,
            tags_by_id=Tags(jnp.full((tiles, BLOCK, LANES), -1, jnp.int32), None),
        ),
        features=features,
        ids=jnp.where(number < n, number, -1),
        tags=Tags(jnp.full((tiles, TILE), -1, jnp.int32), None),
        sketch=sketch,
        place=number,
        count=n,
        bits=bits,
    )


def host_codes(index: DeviceIndex) -> np.ndarray:
    """The codes of all items of `random_index`, uint32 [N, W]."""
    assert isinstance(index.codes, Each)
    by_id = np.asarray(index.codes.codes_by_id)
    return by_id.transpose(0, 3, 2, 1).reshape(-1, by_id.shape[1])[: len(index)]


def distances(codes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Hamming distances by NumPy, int16 [N], of one query, uint32 [W]; a part at a time."""
    parts = np.array_split(codes, -(-len(codes) // (1 << 22)))
    counted = [np.bitwise_count(part ^ query).sum(-1, dtype=np.int16) for part in parts]
    return np.concatenate(counted)


def nearest(distance: np.ndarray, k: int) -> np.ndarray:
    """The k smallest of [N] by (distance, id), found by NumPy: int64 [min(k, N)]."""
    last = np.partition(distance, k - 1)[k - 1] if k < len(distance) else distance.max()
    ids = np.flatnonzero(distance <= last)
    return ids[np.argsort(distance[ids], kind="stable")[:k]]


def in_pool(
    index: DeviceIndex, distance: np.ndarray, feature: np.ndarray, *, limit: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest items of a pool by NumPy: ids int64 [n], Euclidean distances float64 [n].

    Args:
      index: from `random_index`.
      distance: int16 [N], Hamming distances of all items.
      feature: float32 [D], of the query.
      limit: the pool is the items with a smaller Hamming distance.
      k: largest number.
    """
    ids = np.flatnonzero(distance < limit)
    rows = np.asarray(index.features[jnp.asarray(ids)], np.float64)
    far = np.sqrt(((rows - feature.astype(np.float64)) ** 2).sum(axis=1))
    order = np.argsort(far, kind="stable")[:k]
    return ids[order], far[order]
