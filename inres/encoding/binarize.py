"""From the network's outputs to binary codes, and the features that rank a pool."""

import dataclasses

import numpy as np

from inres.encoding.encoded import Encoded
from inres.encoding.linear_codes import Hyperplanes, itq, sample
from inres.retrieval.codes import binarize

_BLOCK = 1 << 14
"""Items whose H and FC1 are concatenated at once."""


def fit_hyperplanes(encoded: Encoded, *, fc1_weight: float, seed: int) -> Hyperplanes:
    """Rotate H and FC1 of training items jointly into as many bits as H has units.

    Uses iterative quantization (`linear_codes.itq`), without labels. Apply with `to_bits`.

    Args:
      encoded: training items.
      fc1_weight: root mean squared distance of FC1 from its mean, relative to that of H.
      seed: of the initial rotation.
    """
    scale = np.concatenate(
        [
            np.full(encoded.h.shape[1], 1.0 / _spread(encoded.h)),
            np.full(encoded.fc1.shape[1], fc1_weight / _spread(encoded.fc1)),
        ]
    )
    vectors = sample(np.concatenate([encoded.h, encoded.fc1], axis=1), seed)
    code = itq(vectors * scale, bits=encoded.h.shape[1], seed=seed, full=True)
    mean = np.divide(code.mean, scale, out=np.zeros_like(scale), where=scale > 0)
    return Hyperplanes(mean, scale[:, None] * code.planes)


def to_bits(encoded: Encoded, hyperplanes: Hyperplanes | None) -> np.ndarray:
    """Binary codes, bool [N, h].

    Args:
      encoded: outputs of the network for N images.
      hyperplanes: from `fit_hyperplanes`, applied to H and FC1 concatenated; None thresholds H at
        0.5 (paper, Eq. 1).
    """
    if hyperplanes is None:
        return binarize(encoded.h)
    out = np.empty(encoded.h.shape, bool)
    for start in range(0, len(out), _BLOCK):
        rows = slice(start, start + _BLOCK)
        joined = np.concatenate([encoded.h[rows], encoded.fc1[rows]], axis=1)
        out[rows] = hyperplanes.encode(joined)
    return out


@dataclasses.dataclass(frozen=True)
class FineScale:
    """Scales that give FC1 and FC3 equal weight when both rank a pool (paper, Fig. 8)."""

    fc1: float
    fc3: float

    @classmethod
    def of(cls, encoded: Encoded) -> "FineScale":
        """Each layer's root mean squared distance from its mean, over the given items."""
        return cls(_spread(encoded.fc1), _spread(encoded.fc3))

    def join(self, encoded: Encoded) -> np.ndarray:
        """FC1 and FC3, each divided by its scale, concatenated: float32 [N, F + classes]."""
        return np.concatenate([encoded.fc1 / self.fc1, encoded.fc3 / self.fc3], axis=1)

    def features(self, encoded: Encoded, kind: str) -> np.ndarray:
        """Features that rank a pool: `fc1`, or `fc1_fc3` for both. float32 [N, D]."""
        return encoded.fc1 if kind == "fc1" else self.join(encoded)


def _spread(x: np.ndarray) -> float:
    """Root mean squared distance of the rows of [N, D] from their mean; 1 if all are equal."""
    return float(np.sqrt(x.var(axis=0).sum()) or 1.0)
