"""Baselines for learned codes: hand-made features, and codes that need no labels."""

from collections.abc import Sequence

import numpy as np
from skimage.feature import hog as skimage_hog

from inres.encoding.linear_codes import itq, lsh
from inres.evaluation.embedded import Embedded
from inres.system.together import agreed, in_turn

_BLOCK = 64
"""Images in each part of the work of `hog`."""


def hog(images: np.ndarray, *, cell_px: int = 8) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), uint8 [N, D].

    Nine orientations, cells of `cell_px` pixels, blocks of 2 x 2 cells, L2-Hys normalization. The
    values, which are in 0..1, are stored in 8 bits so that distances are exact.

    Args:
      images: uint8 [N, S, S], S at least two cells.
      cell_px: side of a cell in pixels; reduced if the image does not fit two.
    """
    cell = min(cell_px, images.shape[1] // 2)

    def block(start: int) -> list[np.ndarray]:
        return [
            skimage_hog(image, pixels_per_cell=(cell, cell), cells_per_block=(2, 2))
            for image in images[start : start + _BLOCK]
        ]

    rows = [row for rows in in_turn(block, range(0, len(images), _BLOCK)) for row in rows]
    return np.rint(255.0 * np.stack(rows)).astype(np.uint8)


def with_codes(
    queries: Embedded,
    gallery: Embedded,
    *,
    fitted: np.ndarray,
    bits: int,
    seed: int,
    sources: Sequence[str],
) -> tuple[Embedded, Embedded]:
    """Add ITQ and LSH codes of some features to both sides.

    Args:
      queries: test items.
      gallery: the archive.
      fitted: bool [N], gallery items on which codes are fitted: the training items.
      bits: code length.
      seed: random seed of the fits.
      sources: names of features; codes are named `itq_NAME` and `lsh_NAME`.
    """
    fits = {
        f"{method.__name__}_{name}": (
            name,
            method(gallery.features[name][fitted], bits=bits, seed=seed),
        )
        for name in sources
        for method in (itq, lsh)
    }
    planes = agreed(fits)  # the processes may differ in their last digits
    queries, gallery = (
        side.with_codes({code: p.encode(side.features[name]) for code, (name, p) in planes.items()})
        for side in (queries, gallery)
    )
    return queries, gallery
