"""Encoders and segmenters of any number of images, from programs of batches of one size."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from inres.ct import lungs
from inres.encoding.encoded import Encoded
from inres.system.progress import progress
from inres.system.rows import Images
from inres.system.together import in_turn

Encoder = Callable[[Images], Encoded]
"""uint8 [N, S, S, C] -> `Encoded` of N images."""


class Encoders(NamedTuple):
    """The encoders of a trained network."""

    as_is: Encoder
    """Of images as they are, like those that the network was trained on."""
    unseen: Encoder
    """Of other images, such as queries, averaged over their views."""


Segmenter = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, S, S] slices -> uint8 [N, S, S] lung masks, 1 inside."""

BATCH = 64
"""Images per call of a network, over all views together."""


def check_images(images: Images, *, axes: int) -> None:
    """Check that images are uint8 and have the right number of axes.

    Other types are refused because they would be cut to 8 bits.

    Raises:
      ValueError: wrong dtype or number of axes.
    """
    if images.dtype != np.uint8 or images.ndim != axes:
        shape = "[N, S, S, C]" if axes == 4 else "[N, S, S]"
        raise ValueError(f"images are {images.dtype} {images.shape}, must be uint8 {shape}")


def encoder(
    layers: Callable[[np.ndarray], Sequence[np.ndarray]], *, batch: int, quiet: bool = False
) -> Encoder:
    """Build an encoder. Its program is compiled once for one image and once for full batches.

    Inside `together` the processes share the batches.

    Args:
      layers: the layers of `Encoded` for images uint8 [B, S, S, C].
      batch: B, except for a single image.
      quiet: show no progress.
    """

    def encode(images: Images) -> Encoded:
        check_images(images, axes=4)
        if not len(images):
            return encode(np.zeros((1, *images.shape[1:]), np.uint8)).rows(np.arange(0))
        each = 1 if len(images) == 1 else batch

        def layers_of(start: int) -> list[np.ndarray]:
            part = np.asarray(images[start : start + each])
            full = np.zeros((each, *part.shape[1:]), np.uint8)
            full[: len(part)] = part
            return [layer[: len(part)] for layer in layers(full)]

        starts = range(0, len(images), each)
        parts: Iterable[list[np.ndarray]] = in_turn(layers_of, starts)
        if len(starts) > 1 and not quiet:
            parts = progress(parts, name="encode", total=len(starts), unit="batch")
        return Encoded(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    return encode


def segmenter(
    masks: Callable[[np.ndarray], np.ndarray], *, spacing_mm: float = 0.0, batch: int = 8
) -> Segmenter:
    """Build a segmenter.

    Holes of up to a tenth of the lungs' area are filled, as in the masks that the U-Net learned
    from: a nodule is part of a lung.

    Args:
      masks: masks of the U-Net, uint8 [B, S, S], for slices uint8 [B, S, S].
      spacing_mm: pixel side of the slices. Masks are then repaired at the pleura like those that
        the U-Net learned from (`lungs.repair`, but without its margin, which is learned). 0 if
        unknown: no repair.
      batch: B, except for a single slice.
    """

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
            found = np.asarray(masks(full))[: len(part)]
            out[start : start + len(part)] = [finish(mask) for mask in found]
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
