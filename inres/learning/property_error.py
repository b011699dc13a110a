"""Loss of the property head."""

import jax
import jax.numpy as jnp


def property_error(estimates: jax.Array, values: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted mean error over the known values of a batch; 0 if none is known.

    Errors e count e^2 up to one standard deviation and 2 |e| - 1 beyond (Huber 1964, "Robust
    estimation of a location parameter", with the corner at 1). Rare ratings are far from the mean,
    and the gradient of their square makes training diverge.

    Args:
      estimates: float32 [B, P].
      values: float32 [B, P], on the scale of the estimates; NaN where unknown.
      weights: float32 [B, P], 0 or more.
    """
    known = jnp.isfinite(values)
    # Selected before the difference, because the gradient of a masked NaN is NaN.
    errors = jnp.abs(estimates - jnp.where(known, values, 0.0))
    costs = jnp.where(errors <= 1.0, errors**2, 2.0 * errors - 1.0)
    weights = jnp.where(known, weights, 0.0)
    return jnp.sum(weights * costs) / jnp.maximum(jnp.sum(weights), 1e-6)
