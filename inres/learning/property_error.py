"""Loss of the property head."""

import jax
import jax.numpy as jnp


def property_error(estimates: jax.Array, values: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted mean squared error over the known values of a batch; 0 if none is known.

    Args:
      estimates: float32 [B, P].
      values: float32 [B, P], on the scale of the estimates; NaN where unknown.
      weights: float32 [B, P], 0 or more.
    """
    known = jnp.isfinite(values)
    # Selected before the difference, because the gradient of a masked NaN is NaN.
    errors = estimates - jnp.where(known, values, 0.0)
    weights = jnp.where(known, weights, 0.0)
    return jnp.sum(weights * errors**2) / jnp.maximum(jnp.sum(weights), 1e-6)
