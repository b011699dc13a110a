"""CT-sane augmentation on the device: what a lung may look like, sizes untouched.

No zoom: the diameter is the label. Values are windowed HU in [0, 1].
"""

import jax
import jax.numpy as jnp

from inres.config import Train


def drop_neighbours(key: jax.Array, images: jax.Array, share: float) -> jax.Array:
    """Of a random `share` of images, put the middle channel in place of the others.

    Args:
      images: [B, S, S, C], the slice amid its neighbours; C is odd.
    """
    dropped = jax.random.bernoulli(key, share, (len(images), 1, 1, 1))
    middle = images.shape[-1] // 2
    return jnp.where(dropped, images[..., middle : middle + 1], images)


def augment(key: jax.Array, images: jax.Array, config: Train) -> jax.Array:
    """Flip, turn, shift and jitter a batch, each image on its own.

    Args:
      key: randomness of this step.
      images: float32 [B, S, S, C] in [0, 1], of which all C move together; 0 is the window's
        floor, which shifts bring in.
      config: what to do, and how much.

    Returns:
      float32 [B, S, S, C]. Pixels at 0 (outside of a lung mask) stay 0.
    """
    b = len(images)
    flip_key, turn_key, shift_key, value_key, noise_key = jax.random.split(key, 5)

    def choose(bits: jax.Array, changed: jax.Array) -> jax.Array:
        return jnp.where(bits[:, None, None, None], changed, images)

    if config.flips:
        up, left = jax.random.bernoulli(flip_key, shape=(2, b))
        images = choose(up, images[:, ::-1, :])
        images = choose(left, images[:, :, ::-1])
    if config.quarter_turns:
        half, quarter = jax.random.bernoulli(turn_key, shape=(2, b))
        images = choose(half, images[:, ::-1, ::-1])
        images = choose(quarter, images.transpose(0, 2, 1, 3)[:, :, ::-1])
    if config.shift_px:
        reach, shape = config.shift_px, images.shape[1:]
        padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        starts = jax.random.randint(shift_key, (b, 2), 0, 2 * reach + 1)
        cut = lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), shape)  # noqa: E731
        images = jax.vmap(cut)(padded, starts)
    inside = images > 0
    if config.brightness or config.contrast:
        unit = jax.random.uniform(value_key, (2, b, 1, 1, 1), minval=-1.0, maxval=1.0)
        images = images * (1.0 + config.contrast * unit[0]) + config.brightness * unit[1]
    if config.noise:
        images = images + config.noise * jax.random.normal(noise_key, images.shape)
    return jnp.where(inside, jnp.clip(images, 0.0, 1.0), 0.0)
