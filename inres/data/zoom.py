"""Images zoomed in training together with the sizes that they are labelled by.

An image enlarged by a factor shows a nodule that is larger by this factor, so its diameter, its
size class and its code change with it. Training items then cover sizes that few of them have.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from inres.data.items import size_class
from inres.vocabulary import CLASS_NAMES

LEVELS = 5
"""Number of factors, from 1 / `train.zoom` to `train.zoom`."""


@dataclasses.dataclass(frozen=True)
class Zoomed:
    """N training items at several factors, M in all."""

    place: np.ndarray
    """int [M], which of the N items it is."""
    factor: np.ndarray
    """float32 [M]"""
    labels: np.ndarray
    """int32 [M]"""
    diameters_mm: np.ndarray
    """float64 [M], NaN where unknown."""


def zoom_items(
    labels: np.ndarray, diameters_mm: np.ndarray, names: tuple[str, ...], most: float
) -> Zoomed:
    """The items at all factors, with the labels that these give them.

    A nodule of unknown diameter has the factor 1 alone: its label might be another size, and other
    classes gain nothing. As many of the items without a nodule are zoomed, since zooming would tell
    nodules otherwise.

    Args:
      labels: int [N].
      diameters_mm: float [N], 0 for none, NaN where unknown.
      names: of the classes; labels change with the diameter if they are the size classes.
      most: largest factor; 1: no zoom.
    """
    factors = np.geomspace(1 / most, most, LEVELS) if most > 1 else np.ones(1)
    factors[len(factors) // 2] = 1.0
    zoomed = np.flatnonzero(_can_be_zoomed(diameters_mm))
    pairs = [
        np.stack([rows, np.full(len(rows), factor)])
        for factor in factors
        for rows in [np.arange(len(labels)) if factor == 1 else zoomed]
    ]
    place, factor = np.concatenate(pairs, axis=1)
    place = place.astype(np.int64)
    sizes = diameters_mm[place] * factor
    new = labels[place].astype(np.int32)
    if names == CLASS_NAMES:
        known = np.isfinite(sizes)
        new[known] = size_class(sizes[known])
    return Zoomed(place, factor.astype(np.float32), new, sizes)


def _can_be_zoomed(diameters_mm: np.ndarray) -> np.ndarray:
    """Items with known sizes, bool [N], and the same share of those without a nodule."""
    nodule = diameters_mm != 0  # also of unknown size
    known = np.isfinite(diameters_mm) & nodule
    share = known.sum() / nodule.sum() if nodule.any() else 1.0
    due = np.round(np.cumsum(~nodule) * share)  # of the items up to each one
    return known | (np.diff(due, prepend=0) > 0)


def zoom(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Images enlarged about their centres (linear), mirrored at their borders where they shrink.

    Args:
      images: float32 [B, S, S, C].
      factors: float32 [B].

    Returns:
      float32 [B, S, S, C]; images of factor 1 are unchanged.
    """
    side = images.shape[1]
    middle, last = (side - 1) / 2, side - 1
    place = (jnp.arange(side) - middle) / factors[:, None] + middle
    place = last - jnp.abs(last - jnp.abs(place))
    weights = jnp.maximum(0.0, 1.0 - jnp.abs(place[:, :, None] - jnp.arange(side)))
    rows = jnp.einsum("bij,bjkc->bikc", weights, images, precision="highest")
    return jnp.einsum("bkj,bijc->bikc", weights, rows, precision="highest")
