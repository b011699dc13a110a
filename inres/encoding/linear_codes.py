"""Binary codes by hyperplanes: random ones, or turned to where quantization costs least (ITQ).

Fitted codes do not depend on the order of the vectors.
"""

import dataclasses

import numpy as np
from scipy import linalg

from inres.encoding.pca import principal

SAMPLE = 20_000
"""Most vectors that a code is fitted on; more are sampled."""
_CELLS = 1 << 22
"""Numbers that are projected at once."""


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
    """Iterative quantization (Gong and Lazebnik, CVPR 2011): PCA, then the rotation that brings
    the projections nearest to their signs.

    Args:
      vectors: numbers [N, D], D >= `bits` where `full`.
      bits: code length; at most N - 1 and D of them are independent, and no more are made, but
        always one: vectors that are all the same have the same code.
      seed: of the first rotation.
      rounds: alternations of signs and rotation.
      full: make all `bits`, whatever the vectors span: axes of nothing are turned in.
    """
    vectors = sample(vectors, seed)
    mean, components, _ = principal(vectors, bits)
    lacking = max(0, (bits if full else 1) - components.shape[1])
    components = np.pad(components, ((0, 0), (0, lacking)))
    projected = (vectors - mean) @ components
    return Hyperplanes(mean, components @ _turn(projected, seed=seed, rounds=rounds))


def _turn(centred: np.ndarray, *, seed: int, rounds: int) -> np.ndarray:
    """The orthogonal [D, D] that brings `centred` [N, D] nearest to its signs."""
    width = centred.shape[1]
    found, _ = linalg.qr(np.random.default_rng([seed, 43]).normal(size=(width, width)))
    for _ in range(rounds):
        signs = np.where(centred @ found >= 0, 1.0, -1.0)
        # Orthogonal Procrustes: the R that minimizes |signs - centred R|.
        left, _, right = linalg.svd(centred.T @ signs)
        found = left @ right
    return found


def sample(vectors: np.ndarray, seed: int) -> np.ndarray:
    """At most `SAMPLE` of `vectors` [N, D], float64: which, and in what order, their own order
    does not decide."""
    rows = np.ascontiguousarray(vectors)
    octets = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    order = np.argsort(octets, kind="stable")
    if len(order) > SAMPLE:
        rng = np.random.default_rng([seed, 47])
        order = order[np.sort(rng.choice(len(order), SAMPLE, replace=False))]
    return rows[order].astype(np.float64)
