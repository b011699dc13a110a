"""What a network sees of an item: all planes as channels of one image, or each plane by itself."""

import jax
import jax.numpy as jnp

from inres.models.planes import cube_planes

VIEWS = {"three": 3, "nine": 9}
"""Number of planes of a cube by `config.model.planes`. Other ways to see the planes of an item are
`channels` and `each`."""


def to_input(images: jax.Array) -> jax.Array:
    """uint8 -> float32 in [0, 1], same shape; the floor of the window stays 0."""
    return images.astype(jnp.float32) / 255.0


def split(images: jax.Array, planes: str) -> tuple[jax.Array, jax.Array | None]:
    """The planes that a network sees, and which of them are known.

    Args:
      images: float32 [B, S, S, 2 C], as `inres.data.views.with_known`, or [B, S, S, 1].
      planes: `config.model.planes`.

    Returns:
      For `channels`, the images and None. For `each`, float32 [B, C, S, S, 1] and bool [B, C]. For
      V views of a cube, float32 [B, V, S, S, 2], the values and 1 where they are known, and bool
      [B, V]. A plane of which no pixel is known is unknown.
    """
    if planes == "channels" or images.shape[-1] == 1:
        return images, None
    values, known = jnp.split(images, 2, axis=-1)
    if planes not in VIEWS:
        return values.transpose(0, 3, 1, 2)[..., None], known.any(axis=(1, 2))
    shown, pixels = cube_planes(values, known > 0, VIEWS[planes])
    return jnp.stack([shown, pixels.astype(shown.dtype)], axis=-1), pixels.any(axis=(2, 3))


def draw(
    key: jax.Array, planes: jax.Array, seen: jax.Array, most: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A random choice of the known planes of each item, of random size.

    So a network learns to do with any part of them, and a step computes few planes.

    Args:
      key: randomness of this step.
      planes: float32 [B, V, S, S, C].
      seen: bool [B, V], at least one of an item.
      most: largest number of planes to choose.

    Returns:
      Planes [B, most, S, S, C], bool [B, most], which of them are seen (from 1 to `most` known
      planes, all different), and int [B, most], which of the V planes they are.
    """
    order_key, count_key = jax.random.split(key)
    rank = jnp.where(seen, jax.random.uniform(order_key, seen.shape), -1.0)
    _, chosen = jax.lax.top_k(rank, min(most, seen.shape[1]))
    count = jax.random.randint(count_key, (len(seen), 1), 1, chosen.shape[1] + 1)
    kept = jnp.take_along_axis(seen, chosen, axis=1) & (jnp.arange(chosen.shape[1]) < count)
    return jnp.take_along_axis(planes, chosen[:, :, None, None, None], axis=1), kept, chosen


def flatten(planes: jax.Array, seen: jax.Array | None) -> jax.Array:
    """What a network is called with: float32 [B V, S, S, C], or the images as they are."""
    return planes if seen is None else planes.reshape(-1, *planes.shape[2:])
