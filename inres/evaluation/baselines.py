"""What a learned code must beat: hand-made features, and codes that need no labels.

The codes are fitted on training items alone and do not depend on their order.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import linalg
from skimage.feature import hog as skimage_hog

from inres.evaluation import metrics
from inres.evaluation.embedded import Embedded
from inres.evaluation.pca import principal

SAMPLE = 20_000
"""Most training items that a code is fitted on; more are sampled."""


def hog(images: np.ndarray, *, cell_px: int = 8) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), uint8 [N, D].

    Nine orientations, cells of `cell_px` pixels, blocks of 2 x 2 cells, L2-Hys; each value, which
    lies in 0..1, is stored in 8 bits, so that distances are exact.

    Args:
      images: uint8 [N, S, S], S at least two cells.
      cell_px: side of a cell; smaller where the image has no room for two.
    """
    cell = min(cell_px, images.shape[1] // 2)
    rows = [
        skimage_hog(image, pixels_per_cell=(cell, cell), cells_per_block=(2, 2)) for image in images
    ]
    return np.rint(255.0 * np.stack(rows)).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Hyperplanes:
    """A linear code: bit j is 1 where (x - mean) . planes[:, j] >= 0."""

    mean: np.ndarray
    """float64 [D]"""
    planes: np.ndarray
    """float64 [D, h]"""

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """bool [N, h], the codes of `vectors` [N, D]."""
        out = np.empty((len(vectors), self.planes.shape[1]), bool)
        for rows in metrics.chunks(*vectors.shape, cells=1 << 22):
            out[rows] = (vectors[rows] - self.mean) @ self.planes >= 0
        return out


def lsh(vectors: np.ndarray, *, bits: int, seed: int) -> Hyperplanes:
    """Random hyperplanes through the mean of `vectors` [N, D] (Charikar, STOC 2002)."""
    vectors = _sample(vectors, seed)
    rng = np.random.default_rng([seed, 41])
    return Hyperplanes(vectors.mean(axis=0), rng.normal(size=(vectors.shape[1], bits)))


def itq(vectors: np.ndarray, *, bits: int, seed: int, rounds: int = 50) -> Hyperplanes:
    """Iterative quantization (Gong and Lazebnik, CVPR 2011): PCA, then the rotation that brings
    the projections nearest to their signs.

    Args:
      vectors: numbers [N, D].
      bits: code length; at most N - 1 and D of them are independent, and no more are made.
      seed: of the first rotation.
      rounds: alternations of signs and rotation.
    """
    vectors = _sample(vectors, seed)
    mean, components, _ = principal(vectors, bits)
    projected = (vectors - mean) @ components
    width = projected.shape[1]
    rotation, _ = linalg.qr(np.random.default_rng([seed, 43]).normal(size=(width, width)))
    for _ in range(rounds):
        signs = np.where(projected @ rotation >= 0, 1.0, -1.0)
        # Orthogonal Procrustes: the rotation R that minimizes |signs - projected R|.
        left, _, right = linalg.svd(projected.T @ signs)
        rotation = left @ right
    return Hyperplanes(mean, components @ rotation)


def _sample(vectors: np.ndarray, seed: int) -> np.ndarray:
    """float64 [N or SAMPLE, D], in an order that the order of `vectors` does not decide."""
    rows = np.ascontiguousarray(vectors)
    octets = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    order = np.argsort(octets, kind="stable")
    if len(order) > SAMPLE:
        rng = np.random.default_rng([seed, 47])
        order = order[np.sort(rng.choice(len(order), SAMPLE, replace=False))]
    return rows[order].astype(np.float64)


def with_codes(
    queries: Embedded,
    gallery: Embedded,
    *,
    fitted: np.ndarray,
    bits: int,
    seed: int,
    sources: Sequence[str],
) -> tuple[Embedded, Embedded]:
    """Both sides with ITQ and LSH codes over some of their features.

    Args:
      queries, gallery: what is searched.
      fitted: bool [N], the gallery items on which codes are fitted: those that train.
      bits: code length.
      seed: of the fits.
      sources: names of features; codes are named `itq_NAME` and `lsh_NAME`.
    """
    codes: tuple[dict[str, np.ndarray], ...] = (dict(queries.codes), dict(gallery.codes))
    for name in sources:
        for method in (itq, lsh):
            planes = method(gallery.features[name][fitted], bits=bits, seed=seed)
            for side, out in zip((queries, gallery), codes, strict=True):
                out[f"{method.__name__}_{name}"] = planes.encode(side.features[name])
    return (
        dataclasses.replace(queries, codes=codes[0]),
        dataclasses.replace(gallery, codes=codes[1]),
    )
