"""The search over a mesh of devices.

Each device holds and ranks a part of the items; the best of every part are gathered and merged.
The result equals that of the jitted programs on one device, id for id. The CPU kernel's result may
differ by the rounding of a distance (see `search`).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from inres.retrieval import checks, device_index, padding, plans, rerank, runs
from inres.retrieval import codes as codes_lib
from inres.retrieval.device_index import DeviceIndex
from inres.retrieval.hamming import FAR
from inres.retrieval.search import Result

AXIS = "items"


def make_mesh(devices: Any = None) -> Mesh:
    """A mesh with one axis over `devices`; default: all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(devices), (AXIS,))


def bytes_exchanged(*, k: int, pool: int = 0) -> int:
    """Bytes that each device sends to every other device per query.

    These are the k best (squared distance, id, Hamming distance), the pool size and, for a pool of
    `pool` items requested by `nearest` or `min_pool`, an id and a Hamming distance per item.
    """
    return 12 * k + 4 + 8 * pool


def build(
    codes: Any,
    features: Any,
    *,
    bits: int,
    mesh: Mesh,
    groups: Any = None,
    labels: Any = None,
    ids: Any = None,
    capacity: int = 0,
) -> DeviceIndex:
    """Build a DeviceIndex whose arrays have a leading axis of devices, with item i on device i % P.

    Every process passes all items (memory-mapped arrays work) and reads those of its own devices.
    Other arguments and errors as in `index.build`.
    """
    codes, features, ids, groups, labels = checks.items(
        codes, features, bits=bits, ids=ids, groups=groups, labels=labels
    )
    devices = list(mesh.devices.flat)
    p = len(devices)
    distinct = len(codes_lib.firsts(codes[codes_lib.sort(codes, ids)]))
    code_tiles = runs.tiles_for(distinct, len(codes) // p)
    room = -(-max(len(codes), capacity) // p)
    local = []
    for place, device in enumerate(devices):
        if device.process_index != jax.process_index():
            continue
        with jax.default_device(device):
            part = device_index.build(
                codes[place::p],
                features[place::p],
                bits=bits,
                groups=None if groups is None else groups[place::p],
                labels=None if labels is None else labels[place::p],
                ids=ids[place::p],
                capacity=room,
                code_tiles=code_tiles,
            )
        local.append(jax.device_put(part, device))
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def stack(*leaves: jax.Array) -> jax.Array:
        return jax.make_array_from_single_device_arrays(
            (p, *leaves[0].shape), sharding, [leaf[None] for leaf in leaves]
        )

    return jax.tree.map(stack, *local)


def search(
    index: DeviceIndex,
    query_codes: Any,
    query_features: Any,
    *,
    mesh: Mesh,
    k: int,
    threshold: Any = None,
    nearest: int | None = None,
    min_pool: int = 0,
    exclude_group: Any = None,
    only_label: Any = None,
) -> Result:
    """As `search.search`, with an index from `build` of this module; every process must call it."""
    if query_features is None:
        raise TypeError("query_features are None")
    queries = checks.queries(
        query_codes, query_features, bits=index.bits, dims=index.features.shape[-1], k=k,
        threshold=threshold, nearest=nearest, min_pool=min_pool,
        exclude_group=exclude_group, only_label=only_label, labelled=index.tags.label is not None,
    )  # fmt: skip
    out = search_padded(
        index, padding.padded(queries), mesh=mesh, k=k, nearest=nearest, min_pool=min_pool
    )
    return Result(*(np.asarray(column)[: len(queries.codes)] for column in out))


@functools.partial(jax.jit, static_argnames=("mesh", "k", "nearest", "min_pool"))
def search_padded(
    index: DeviceIndex,
    queries: padding.Queries,
    *,
    mesh: Mesh,
    k: int,
    nearest: int | None,
    min_pool: int,
) -> tuple[jax.Array, ...]:
    """The jitted program of `search`, with all collectives outside of branches and loops."""
    everywhere = PartitionSpec()
    return jax.shard_map(
        functools.partial(_search_part, k=k, nearest=nearest, min_pool=min_pool),
        mesh=mesh,
        in_specs=(PartitionSpec(AXIS), everywhere),
        out_specs=everywhere,
        check_vma=False,
    )(index, queries)


def _search_part(
    index: DeviceIndex, queries: padding.Queries, *, k: int, nearest: int | None, min_pool: int
) -> tuple[jax.Array, ...]:
    """The search on one device, whose part of `index` has a leading axis of length 1."""
    index = jax.tree.map(lambda leaf: leaf[0], index)
    threshold, m = queries.threshold, nearest or min_pool
    if m:
        ids, distance, position = plans.nearest_of_all(index, queries, k=m)
        every_id, every_distance = _first(*_gather(ids, distance), k=m)
    if nearest:
        # Each device ranks those of its nearest that are among the nearest overall.
        last_id, last = every_id[:, -1:], every_distance[:, -1:]
        inside = (distance < last) | ((distance == last) & (ids <= last_id)) | (last < 0)
        inside &= position >= 0
        top = plans.rank_given(
            index, queries, jnp.where(inside, position, -1), jnp.where(inside, distance, -1), k=k
        )
        pool = jnp.sum(inside, axis=1, dtype=jnp.int32)
        threshold = jnp.max(every_distance, axis=1) + 1
    else:
        if min_pool:
            threshold = plans.raised(threshold, every_distance)
        queries = dataclasses.replace(queries, threshold=threshold)
        top, pool = plans.ranked(index, queries, k=k)
    square, ids, distance = rerank.best(*_gather(*top), k=k)
    return ids, distance, jnp.sqrt(square), lax.psum(pool, AXIS), jnp.maximum(threshold, 0)


def _gather(*columns: jax.Array) -> tuple[jax.Array, ...]:
    """Concatenate the columns [Q, n] of P devices to [Q, P n]."""
    return tuple(lax.all_gather(column, AXIS, axis=1, tiled=True) for column in columns)


def _first(ids: jax.Array, distance: jax.Array, *, k: int) -> tuple[jax.Array, jax.Array]:
    """The first k of columns [Q, n], sorted by (distance, id) with missing items (-1) last."""
    missing = jnp.where(distance < 0, FAR, distance)
    missing, ids = lax.sort((missing, ids), num_keys=2)
    return ids[:, :k], jnp.where(missing < FAR, missing, -1)[:, :k]
