"""What a network sees of an item: all planes as channels of one image, or each plane by itself."""

import jax
import jax.numpy as jnp

PLANES = ("channels", "each")
"""Ways to see the planes of an item (`config.model.planes`)."""


def to_input(images: jax.Array) -> jax.Array:
    """uint8 -> float32 in [0, 1], same shape; the floor of the window stays 0."""
    return images.astype(jnp.float32) / 255.0


def split(images: jax.Array, planes: str) -> tuple[jax.Array, jax.Array | None]:
    """The planes that a network sees, and which of them are known.

    Args:
      images: float32 [B, S, S, 2 C], as `inres.data.views.with_known`, or [B, S, S, 1].
      planes: one of `PLANES`.

    Returns:
      For `channels`, the images and None. For `each`, float32 [B, C, S, S] and bool [B, C]; a
      plane of which no pixel is known is unknown.
    """
    if planes == "channels" or images.shape[-1] == 1:
        return images, None
    count = images.shape[-1] // 2
    by_plane = images.transpose(0, 3, 1, 2)
    return by_plane[:, :count], by_plane[:, count:].any(axis=(2, 3))


def draw(
    key: jax.Array, planes: jax.Array, seen: jax.Array, most: int
) -> tuple[jax.Array, jax.Array]:
    """A random choice of the known planes of each item, of random size.

    So a network learns to do with any part of them, and a step computes few planes.

    Args:
      key: randomness of this step.
      planes: float32 [B, V, S, S].
      seen: bool [B, V], at least one of an item.
      most: largest number of planes to choose.

    Returns:
      Planes [B, most, S, S] and bool [B, most]: from 1 to `most` known planes, all different.
    """
    order_key, count_key = jax.random.split(key)
    rank = jnp.where(seen, jax.random.uniform(order_key, seen.shape), -1.0)
    _, chosen = jax.lax.top_k(rank, min(most, seen.shape[1]))
    count = jax.random.randint(count_key, (len(seen), 1), 1, chosen.shape[1] + 1)
    kept = jnp.take_along_axis(seen, chosen, axis=1) & (jnp.arange(chosen.shape[1]) < count)
    return jnp.take_along_axis(planes, chosen[:, :, None, None], axis=1), kept


def flatten(planes: jax.Array, seen: jax.Array | None) -> jax.Array:
    """What a network is called with: float32 [B V, S, S, 1], or the images as they are."""
    if seen is None:
        return planes
    return planes.reshape(-1, *planes.shape[2:], 1)
