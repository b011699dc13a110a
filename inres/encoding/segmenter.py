"""Lung masks computed by a trained U-Net."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from inres.encoding import in_batches
from inres.encoding.in_batches import Segmenter
from inres.learning.sight import to_input


def make_segmenter(
    model: nn.Module,
    variables: dict[str, Any],
    *,
    size: int,
    spacing_mm: float = 0.0,
    batch: int = 8,
) -> Segmenter:
    """Build a segmenter.

    Args:
      model, variables: the trained U-Net.
      size: side of its input, pixels.
      spacing_mm, batch: as of `in_batches.segmenter`, which finishes the masks.
    """
    masks = functools.partial(apply, model, size, variables)
    return in_batches.segmenter(masks, spacing_mm=spacing_mm, batch=batch)


@functools.partial(jax.jit, static_argnums=(0, 1))
def apply(model: nn.Module, size: int, variables: dict[str, Any], slices: jax.Array) -> jax.Array:
    """Masks of slices uint8 [B, S, S], same type and shape.

    Slices are resized to the U-Net's input and its logits back, on the device.
    """
    b, s, _ = slices.shape
    small = jax.image.resize(to_input(slices), (b, size, size), "linear")
    logits = model.apply(variables, small[..., None], train=False)
    return (jax.image.resize(logits, (b, s, s), "linear") > 0).astype(jnp.uint8)
