"""Linear binary codes without labels: random hyperplanes (LSH) and iterative quantization (ITQ).

The fitted hyperplanes do not depend on the order of the vectors.
"""

import dataclasses

import numpy as np
from scipy import linalg

from inres.encoding.pca import principal

SAMPLE = 20_000
"""Maximum number of vectors used for fitting; a larger set is sampled."""
_CELLS = 1 << 22
"""Matrix entries projected at once."""


@dataclasses.dataclass(frozen=True)
class Hyperplanes:
    """A linear code: bit j of x is 1 if (x - mean) . planes[:, j] >= 0."""

    mean: np.ndarray
    """float64 [D]"""
    planes: np.ndarray
    """float64 [D, h]"""

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Codes of `vectors` [N, D], bool [N, h]."""
        out = np.empty((len(vectors), self.planes.shape[1]), bool)
        step = max(1, _CELLS // vectors.shape[1])
        for start in range(0, len(vectors), step):
            rows = slice(start, start + step)
            out[rows] = (vectors[rows] - self.mean) @ self.planes >= 0
        return out


def lsh(vectors: np.ndarray, *, bits: int, seed: int) -> Hyperplanes:
    """Random hyperplanes through the mean of `vectors` [N, D] (Charikar, STOC 2002)."""
    vectors = sample(vectors, seed)
    rng = np.random.default_rng([seed, 41])
    return Hyperplanes(vectors.mean(axis=0), rng.normal(size=(vectors.shape[1], bits)))


def itq(
    vectors: np.ndarray, *, bits: int, seed: int, rounds: int = 50, full: bool = False
) -> Hyperplanes:
    """Iterative quantization (Gong and Lazebnik, CVPR 2011).

    Projects on the principal components, then finds the rotation that brings the projections
    closest to their signs.

    Args:
      vectors: numbers [N, D]; D >= `bits` with `full`.
      bits: code length. At most min(N - 1, D) bits are independent; without `full`, no more are
        returned, but at least one. Equal vectors have equal codes.
      seed: of the initial rotation.
      rounds: alternations between signs and rotation.
      full: return all `bits` even if the vectors span fewer dimensions, by rotating in zero axes.
    """
    vectors = sample(vectors, seed)
    mean, components, _ = principal(vectors, bits)
    lacking = max(0, (bits if full else 1) - components.shape[1])
    components = np.pad(components, ((0, 0), (0, lacking)))
    projected = (vectors - mean) @ components
    return Hyperplanes(mean, components @ _rotation(projected, seed=seed, rounds=rounds))


def _rotation(centred: np.ndarray, *, seed: int, rounds: int) -> np.ndarray:
    """Orthogonal matrix [D, D] that brings `centred` [N, D] closest to its signs."""
    width = centred.shape[1]
    found, _ = linalg.qr(np.random.default_rng([seed, 43]).normal(size=(width, width)))
    for _ in range(rounds):
        signs = np.where(centred @ found >= 0, 1.0, -1.0)
        # Orthogonal Procrustes: the R that minimizes |signs - centred R|.
        left, _, right = linalg.svd(centred.T @ signs)
        found = left @ right
    return found


def sample(vectors: np.ndarray, seed: int) -> np.ndarray:
    """At most `SAMPLE` of `vectors` [N, D], float64.

    Neither the choice nor its order depends on the order of the vectors.
    """
    rows = np.ascontiguousarray(vectors)
    octets = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    order = np.argsort(octets, kind="stable")
    if len(order) > SAMPLE:
        rng = np.random.default_rng([seed, 47])
        order = order[np.sort(rng.choice(len(order), SAMPLE, replace=False))]
    return rows[order].astype(np.float64)
