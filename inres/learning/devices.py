"""Sharding over devices: parameters are replicated, batches are split."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def data_mesh(devices: int = 0) -> Mesh:
    """A mesh with one axis, `data`, over the first `devices` devices; 0: all of them."""
    count = devices or jax.device_count()
    return jax.make_mesh(
        (count,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:count]
    )


def local_mesh() -> Mesh:
    """A mesh of one device of this process."""
    return Mesh(np.array(jax.local_devices()[:1]), ("data",))


def local(tree: Any) -> Any:
    """The arrays of a tree, which are equal on all devices, on one device of this process."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """An equal part of the first axis on every device."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Put this process's part of a batch on its devices, split along the first axis."""
    sharding = split(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def require_divisible(batch: int, mesh: Mesh, field: str) -> None:
    """Check that a batch can be split over the devices; `field` is the config's name of its size.

    Raises:
      ValueError: it cannot; names the field.
    """
    if batch % mesh.size:
        raise ValueError(f"{field} = {batch}: must be divisible by {mesh.size} devices")
