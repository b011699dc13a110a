"""Augmentation on the device: symmetries and shifts that keep the size of what an image shows.

A zoom changes the diameter, so it is not among them (`inres.data.zoom`). There is no change of
values, since HU are calibrated.
"""

import jax
import jax.numpy as jnp

from inres.config import Train


def augment(key: jax.Array, images: jax.Array, config: Train) -> jax.Array:
    """Flip, rotate and shift the images of a batch, each at random.

    Args:
      key: randomness of this step.
      images: float32 [B, S, S, C] in [0, 1]; the C channels of an image move together. Shifts fill
        in 0, the floor of the window.
      config: which changes to make, and how large.

    Returns:
      float32 [B, S, S, C].
    """
    flip_key, turn_key, shift_key = jax.random.split(key, 3)
    if config.flips:
        up, left = jax.random.bernoulli(flip_key, shape=(2, len(images)))
        images = _where(up, images[:, ::-1, :], images)
        images = _where(left, images[:, :, ::-1], images)
    if config.quarter_turns:
        half, quarter = jax.random.bernoulli(turn_key, shape=(2, len(images)))
        images = _where(half, images[:, ::-1, ::-1], images)
        images = _where(quarter, images.transpose(0, 2, 1, 3)[:, :, ::-1], images)
    if config.shift_px:
        images = _shift(shift_key, images, config.shift_px)
    return images


def _where(chosen: jax.Array, changed: jax.Array, images: jax.Array) -> jax.Array:
    """`changed` for the chosen images, bool [B]."""
    return jnp.where(chosen[:, None, None, None], changed, images)


def _shift(key: jax.Array, images: jax.Array, reach: int) -> jax.Array:
    """Shift each image by up to `reach` pixels along each axis."""
    shape = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    starts = jax.random.randint(key, (len(images), 2), 0, 2 * reach + 1)

    def cut(image: jax.Array, at: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (*at, 0), shape)

    return jax.vmap(cut)(padded, starts)


def drop_neighbours(key: jax.Array, images: jax.Array, share: float) -> jax.Array:
    """In a random `share` of the images, make all planes but the middle one unknown.

    Args:
      images: [B, S, S, 2 C], as `inres.data.views.with_known`.
    """
    dropped = jax.random.bernoulli(key, share, (len(images), 1, 1, 1))
    middle = jnp.tile(jnp.arange(images.shape[-1] // 2) == images.shape[-1] // 4, 2)
    return jnp.where(dropped & ~middle, 0.0, images)
