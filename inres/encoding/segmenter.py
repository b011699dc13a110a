"""Lung masks computed by a trained U-Net."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from inres.ct import lungs
from inres.encoding.encoder import check_images
from inres.learning.sight import to_input

Segmenter = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, S, S] slices -> uint8 [N, S, S] lung masks, 1 inside."""


def make_segmenter(
    model: nn.Module,
    variables: dict[str, Any],
    *,
    size: int,
    spacing_mm: float = 0.0,
    batch: int = 8,
) -> Segmenter:
    """Build a segmenter.

    Slices are resized to the U-Net's input and its logits back, on the device. Holes of up to a
    tenth of the lungs' area are filled, as in the masks that it learned from: a nodule is part of
    a lung.

    Args:
      model, variables: the trained U-Net.
      size: side of its input, pixels.
      spacing_mm: pixel side of the slices. Masks are then repaired at the pleura like those that
        the U-Net learned from (`lungs.repair`, but without its margin, which is learned). 0 if
        unknown: no repair.
      batch: slices per call of the U-Net.
    """

    @jax.jit
    def apply(variables: dict[str, Any], slices: jax.Array) -> jax.Array:
        b, s, _ = slices.shape
        small = jax.image.resize(to_input(slices), (b, size, size), "linear")
        logits = model.apply(variables, small[..., None], train=False)
        return (jax.image.resize(logits, (b, s, s), "linear") > 0).astype(jnp.uint8)

    def finish(mask: np.ndarray) -> np.ndarray:
        mask = fill_small_holes(mask)
        if spacing_mm and mask.any():
            mask = lungs.repair(mask[None] > 0, spacing_mm, margin_mm=0.0)[0].astype(np.uint8)
        return mask

    def segment(slices: np.ndarray) -> np.ndarray:
        check_images(slices, axes=3)
        out = np.empty(slices.shape, np.uint8)
        width = min(batch, len(slices)) if len(slices) == 1 else batch
        for start in range(0, len(slices), width):
            part = np.asarray(slices[start : start + width])
            full = np.zeros((width, *part.shape[1:]), np.uint8)
            full[: len(part)] = part
            masks = np.asarray(apply(variables, full))[: len(part)]
            out[start : start + len(part)] = [finish(mask) for mask in masks]
        return out

    return segment


def fill_small_holes(mask: np.ndarray, *, share: float = 0.1) -> np.ndarray:
    """Fill the holes of a mask [S, S] that cover at most `share` of its area. uint8 [S, S]."""
    filled = ndimage.binary_fill_holes(mask)
    holes, count = ndimage.label(filled & ~(mask > 0))
    areas = np.bincount(holes.ravel(), minlength=count + 1)
    small = areas <= share * np.count_nonzero(mask)
    small[0] = False
    return ((mask > 0) | small[holes]).astype(np.uint8)
