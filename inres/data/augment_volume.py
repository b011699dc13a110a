"""Augmentation of cubes on the device: the 48 symmetries of the cube, and small shifts.

As for images, there is no zoom, since the diameter is the label, and no change of values.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

SYMMETRIES = tuple(
    itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3))
)
"""The 48 symmetries: for each axis of the result, the axis of the cube that it shows, and whether
it shows it backwards. The first one is the identity."""


def augment_volume(
    key: jax.Array, values: jax.Array, known: jax.Array, *, symmetries: bool, shift: int
) -> tuple[jax.Array, jax.Array]:
    """Turn, mirror and shift the cubes of a batch, each at random.

    Args:
      key: randomness of this step.
      values: float32 [B, D, D, D].
      known: bool [B, D, D, D], moved in the same way.
      symmetries: apply one of the 48 symmetries of the cube, all equally often.
      shift: move each cube by up to so many voxels along each axis.

    Returns:
      values and known of the same shapes; what is shifted in is unknown and 0.
    """
    symmetry_key, shift_key = jax.random.split(key)
    count = len(values)
    which, steps = jnp.zeros(count, int), jnp.zeros((count, 3), int)
    if symmetries:
        which = jax.random.randint(symmetry_key, (count,), 0, len(SYMMETRIES))
    if shift:
        steps = jax.random.randint(shift_key, (count, 3), -shift, shift + 1)
    return move(values, known, which, steps)


def move(
    values: jax.Array, known: jax.Array, which: jax.Array, steps: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Apply to each cube its symmetry, then its shift.

    Every voxel of the result is looked up once. Choosing between transposed copies, in contrast,
    is ten times as slow on CPUs: XLA merges the choices and computes all their combinations.

    Args:
      values: float [B, D, D, D].
      known: bool [B, D, D, D].
      which: int [B], indices into SYMMETRIES.
      steps: int [B, 3], shift along each axis of the result, in voxels.

    Returns:
      values and known, of the same shapes.
    """
    count, side = values.shape[:2]
    axes, backwards = (np.array(column) for column in zip(*SYMMETRIES, strict=True))
    strides = jnp.asarray(side ** (2 - axes))[which]  # [B, 3]
    at = jnp.arange(side) - steps[..., None]  # [B, 3, D]
    inside = (at >= 0) & (at < side)
    at = jnp.where(jnp.asarray(backwards)[which][..., None], side - 1 - at, at)
    first, second, third = jnp.moveaxis(jnp.clip(at, 0, side - 1) * strides[..., None], 1, 0)
    places = first[:, :, None, None] + second[:, None, :, None] + third[:, None, None, :]
    a, b, c = jnp.moveaxis(inside, 1, 0)
    visible = a[:, :, None, None] & b[:, None, :, None] & c[:, None, None, :]

    def look_up(cubes: jax.Array) -> jax.Array:
        flat = cubes.reshape(count, -1)
        found = jnp.take_along_axis(flat, places.reshape(count, -1), axis=1, mode="clip")
        return jnp.where(visible, found.reshape(cubes.shape), jnp.zeros((), cubes.dtype))

    return look_up(values), look_up(known)
