"""What a learned code must beat: hand-made features, and codes that need no labels.

The codes are fitted on training items alone and do not depend on their order.
"""

import dataclasses

import numpy as np
from scipy import linalg
from skimage.feature import hog as skimage_hog

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
        return (vectors - self.mean) @ self.planes >= 0


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


def principal(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of `vectors` [N, D]: mean [D], axes [D, c] and variance shares [c].

    The largest first; c is `count`, or less where the vectors span less. An axis points to where
    its largest entry is positive.
    """
    vectors = np.asarray(vectors, np.float64)
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    # Of the two Gram matrices, which have the same eigenvalues, the smaller.
    wide = centred.shape[1] > centred.shape[0]
    gram = centred @ centred.T if wide else centred.T @ centred
    size = len(gram)
    values, axes = linalg.eigh(gram, subset_by_index=(max(size - count, 0), size - 1))
    total = np.trace(gram)
    kept = values > 1e-12 * max(total, np.finfo(np.float64).tiny)
    values, axes = values[kept][::-1], axes[:, kept][:, ::-1]
    if wide:
        axes = centred.T @ axes / np.sqrt(values)
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return mean, axes * np.sign(largest), values / total if len(values) else values


def _sample(vectors: np.ndarray, seed: int) -> np.ndarray:
    """float64 [N or SAMPLE, D], in an order that the order of `vectors` does not decide."""
    rows = np.ascontiguousarray(vectors)
    octets = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    order = np.argsort(octets, kind="stable")
    if len(order) > SAMPLE:
        rng = np.random.default_rng([seed, 47])
        order = order[np.sort(rng.choice(len(order), SAMPLE, replace=False))]
    return rows[order].astype(np.float64)
