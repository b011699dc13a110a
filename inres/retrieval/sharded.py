"""The same search over a mesh of devices: each holds a part of the items and ranks it, the parts'
winners are gathered and merged. The answer is that of one device, id for id.

A query costs (12 k + 8) bytes from each device: its k best (squared distance, id, Hamming
distance), its pool size and its nearest distance.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from inres.retrieval import index as index_lib
from inres.retrieval import rerank
from inres.retrieval.index import Index, Result

AXIS = "items"


def make_mesh(devices: Any = None) -> Mesh:
    """A mesh of one axis over `devices`; default: all, of all processes."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(devices), (AXIS,))


def build(
    codes: Any,
    features: Any,
    *,
    bits: int,
    mesh: Mesh,
    groups: Any = None,
    ids: Any = None,
    capacity: int = 0,
) -> Index:
    """An Index whose arrays have a leading axis of devices, item i on device i % P.

    Every process gives all items (memory-mapped arrays will do) and reads those of its devices.
    Arguments and errors as in `index.build`.
    """
    devices = list(mesh.devices.flat)
    n, p = len(codes), len(devices)
    ids = np.arange(n, dtype=np.int32) if ids is None else np.asarray(ids)
    if len(np.unique(ids)) != n:
        raise ValueError("ids must be 0 or more, each once")
    room = -(-max(n, capacity) // p)
    local = []
    for place, device in enumerate(devices):
        if device.process_index != jax.process_index():
            continue
        with jax.default_device(device):
            part = index_lib.build(
                codes[place::p],
                features[place::p],
                bits=bits,
                groups=None if groups is None else np.asarray(groups)[place::p],
                ids=ids[place::p],
                capacity=room,
            )
        local.append(jax.device_put(part, device))
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))

    def stack(*leaves):
        return jax.make_array_from_single_device_arrays(
            (p, *leaves[0].shape), sharding, [leaf[None] for leaf in leaves]
        )

    return jax.tree.map(stack, *local)


def search(
    index: Index,
    query_codes: Any,
    query_features: Any,
    *,
    mesh: Mesh,
    threshold: Any,
    k: int,
    exclude: Any = None,
    widen: bool = False,
) -> Result:
    """As `index.search`, over an Index of this module's `build`; every process must call it."""
    q, columns = index_lib.padded(
        query_codes,
        query_features,
        threshold,
        exclude,
        bits=index.bits,
        dims=index.features.shape[-1],
        k=k,
    )
    out = search_padded(index, *columns, mesh=mesh, k=k, widen=widen)
    return Result(*(np.asarray(column)[:q] for column in out))


@functools.partial(jax.jit, static_argnames=("mesh", "k", "widen"))
def search_padded(
    index: Index,
    codes: jax.Array,
    features: jax.Array,
    threshold: jax.Array,
    own: jax.Array | None,
    *,
    mesh: Mesh,
    k: int,
    widen: bool,
) -> tuple[jax.Array, ...]:
    """The program of `search`; the collectives stand outside of every branch and loop."""

    def local(index, codes, features, threshold, own):
        index = jax.tree.map(lambda leaf: leaf[0], index)
        if widen:
            nearest = index_lib.nearest_padded(index, codes, own)
            threshold = index_lib.widened(threshold, lax.pmin(nearest, AXIS))
        *top, pool = index_lib.ranked(index, codes, features, threshold, own, k=k)
        gathered = (lax.all_gather(column, AXIS, axis=1, tiled=True) for column in top)
        square, ids, distance = rerank.best(*gathered, k=k)
        pool = lax.psum(pool, AXIS)
        return ids, distance, jnp.sqrt(square), pool, jnp.maximum(threshold, 0)

    everywhere = PartitionSpec()
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(PartitionSpec(AXIS), everywhere, everywhere, everywhere, everywhere),
        out_specs=everywhere,
        check_vma=False,
    )(index, codes, features, threshold, own)
