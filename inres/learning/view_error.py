"""The loss of the view head: which plane of a cube an image shows."""

import jax
import jax.numpy as jnp
import optax


def view_error(logits: jax.Array, views: jax.Array, seen: jax.Array) -> jax.Array:
    """Mean negative log-likelihood of the views over all planes that are seen; a scalar.

    Args:
      logits: float32 [B, V, views].
      views: int [B, V], the view that each plane shows.
      seen: bool [B, V], at least one in all.
    """
    errors = optax.softmax_cross_entropy_with_integer_labels(logits, views)
    weights = seen.astype(errors.dtype)
    return jnp.sum(errors * weights) / jnp.maximum(jnp.sum(weights), 1.0)
