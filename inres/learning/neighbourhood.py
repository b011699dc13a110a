"""Loss of FC1, by which the fine stage ranks: similar images should be each other's neighbours."""

import jax
import jax.numpy as jnp


def neighbourhood(features: jax.Array, similarity: jax.Array, items: jax.Array) -> jax.Array:
    """Negative log expected similarity of a random neighbour, averaged over the images of a batch.

    Image j is drawn as the neighbour of i with a probability proportional to
    exp(-8 |f_i - f_j|^2 / D), so similar images cluster in Euclidean distance. Images without a
    similar one in the batch do not count; if there are no others, the loss is 0. With similarity 1
    within a class and 0 between classes, this is Goldberger et al. 2004, "Neighbourhood components
    analysis", Eq. 7.

    Args:
      features: float32 [B, D], FC1.
      similarity: float32 [B, B] in [0, 1], as from `similarity_of`.
      items: int [B]; draws of the same item are not each other's neighbours.
    """
    squares = jnp.sum(features**2, axis=1)
    inner = jnp.matmul(features, features.T, precision=jax.lax.Precision.HIGHEST)
    scores = -8.0 / features.shape[1] * (squares[:, None] + squares - 2.0 * inner)
    itself = items[:, None] == items
    scores = jnp.where(itself, -1e9, scores)
    similar = (similarity > 0) & ~itself
    weighted = jnp.where(similar, scores + jnp.log(jnp.where(similar, similarity, 1.0)), -1e9)
    gap = jax.nn.logsumexp(scores, axis=1) - jax.nn.logsumexp(weighted, axis=1)
    counts = similar.any(axis=1)
    return jnp.sum(jnp.where(counts, gap, 0.0)) / jnp.maximum(counts.sum(), 1)


def similarity_of(labels: jax.Array, diameters_mm: jax.Array, *, spread: float) -> jax.Array:
    """Similarity of all pairs of images, float32 [B, B]: 0 between classes; within a class 1 for
    equal diameters, and less the more the diameters differ.

    Args:
      labels: int [B].
      diameters_mm: float [B]; NaN where unknown, 0 for no nodule. An unknown diameter counts as
        equal to every other.
      spread: similarity falls to 1/e at a ratio of diameters of e^spread; 0: it is 1 within a
        class.
    """
    same_class = (labels[:, None] == labels).astype(jnp.float32)
    if not spread:
        return same_class
    known = diameters_mm > 0  # NaN compares false
    size = jnp.log(jnp.where(known, diameters_mm, 1.0))
    same_size = jnp.exp(-jnp.abs(size[:, None] - size) / spread)
    return same_class * jnp.where(known[:, None] & known, same_size, 1.0)


def graded_similarity(properties: jax.Array, weights: jax.Array) -> jax.Array:
    """Similarity of all pairs of images over all properties, float32 [B, B].

    It is the weighted mean of exp(-|difference|) over the properties that are known of both, and 0
    where there are none.

    Args:
      properties: float32 [B, P], standardised; NaN where unknown.
      weights: float32 [B, P], 0 or more; that of a pair is the product.
    """
    known = jnp.isfinite(properties)
    values, weights = jnp.where(known, properties, 0.0), jnp.where(known, weights, 0.0)
    total = jnp.zeros((len(properties), len(properties)))
    share = total
    for at in range(properties.shape[1]):  # one [B, B] at a time
        pair = weights[:, at, None] * weights[:, at]
        total += pair * jnp.exp(-jnp.abs(values[:, at, None] - values[:, at]))
        share += pair
    return jnp.where(share > 0, total / jnp.maximum(share, 1e-9), 0.0)
