"""Losses of the U-Net on lung masks."""

import jax
import jax.numpy as jnp
import optax


def segmentation(logits: jax.Array, masks: jax.Array, *, dice_weight: float) -> jax.Array:
    """Mean cross-entropy of the pixels plus `dice_weight` times `dice_loss`."""
    return optax.sigmoid_binary_cross_entropy(logits, masks).mean() + dice_weight * dice_loss(
        logits, masks
    )


def dice_loss(logits: jax.Array, masks: jax.Array, *, smooth: float = 1.0) -> jax.Array:
    """One minus the mean soft Dice coefficient of B masks.

    Milletari et al. 2016, "V-Net", section 3, who sum squares in the denominator.

    Args:
      logits: float32 [B, ...].
      masks: same shape, in {0, 1}.
      smooth: pixels added to numerator and denominator, so that an empty mask has a gradient.
    """
    axes = tuple(range(1, logits.ndim))
    p = jax.nn.sigmoid(logits)
    inter = jnp.sum(p * masks, axis=axes)
    total = jnp.sum(p, axis=axes) + jnp.sum(masks, axis=axes)
    return jnp.mean(1.0 - (2.0 * inter + smooth) / (total + smooth))
