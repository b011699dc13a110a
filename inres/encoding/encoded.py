"""Outputs of a trained network: the layers of which codes and features are made."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Outputs of the network for N images, float32."""

    fc1: np.ndarray
    """[N, F]"""
    h: np.ndarray
    """[N, bits], activations in (0, 1)"""
    fc3: np.ndarray
    """[N, classes], logits"""
    properties: np.ndarray
    """[N, P], estimates of the properties on the scale of the training (`data.properties`)"""

    def __len__(self) -> int:
        return len(self.h)

    def rows(self, rows: np.ndarray) -> "Encoded":
        """The images `rows`, in that order."""
        return Encoded(*(layer[rows] for layer in vars(self).values()))

    def followed_by(self, *others: "Encoded") -> "Encoded":
        """These images, then those of `others`."""
        layers = zip(*(vars(one).values() for one in (self, *others)), strict=True)
        return Encoded(*(np.concatenate(layer) for layer in layers))

    def with_rows(self, rows: np.ndarray, values: "Encoded") -> "Encoded":
        """A copy in which `values` replace the images `rows`."""

        def replaced(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            out = old.copy()
            out[rows] = new
            return out

        pairs = zip(vars(self).values(), vars(values).values(), strict=True)
        return Encoded(*(replaced(old, new) for old, new in pairs))
