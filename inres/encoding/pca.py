"""Principal components."""

import numpy as np
from scipy import linalg


def principal(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of `vectors` [N, D]: mean [D], axes [D, c] and variance shares [c].

    Components are ordered by variance, largest first; c is `count`, or less if the vectors span
    fewer dimensions. The sign of an axis makes its largest entry positive.
    """
    vectors = np.asarray(vectors, np.float64)
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    # Both Gram matrices have the same non-zero eigenvalues; use the smaller one.
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
