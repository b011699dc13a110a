"""From the network's outputs to what a search compares: codes, and features that rank a pool."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy import special

from inres.data.properties import PropertyScale
from inres.encoding.binarize import FineScale, fit_hyperplanes, to_bits
from inres.encoding.encoded import Encoded
from inres.encoding.linear_codes import Hyperplanes, itq, sample


@dataclasses.dataclass(frozen=True)
class Known:
    """What the records say of N items of the archive. Of a query nothing is known."""

    labels: np.ndarray
    """int [N], -1 where unknown."""
    properties: np.ndarray
    """float32 [N, P], standardised, NaN where unknown."""

    def rows(self, rows: np.ndarray) -> "Known":
        """The items `rows`, in that order."""
        return Known(self.labels[rows], self.properties[rows])


@dataclasses.dataclass(frozen=True)
class Weights:
    """Shares of the parts of the `joined` features in their squared distance."""

    classes: float
    """Of the class probabilities, next to 1 for all properties together."""
    fc1: float
    """Of FC1, whose mean squared distance from its mean is scaled to 1."""
    properties: np.ndarray
    """float [P], sums to 1 (or P is 0)."""

    @classmethod
    def of(
        cls,
        scale: PropertyScale,
        *,
        classes: float,
        fc1: float,
        size: float,
        given: Mapping[str, float],
    ) -> "Weights":
        """Weights of properties from `given`, 1 by default, times `size` for the diameter."""
        each = [
            given.get(name, 1.0) * (size if name == "diameter_mm" else 1.0) for name in scale.names
        ]
        total = sum(each)
        return cls(classes, fc1, np.array(each) / total if total else np.zeros(len(each)))


@dataclasses.dataclass(frozen=True)
class Representation:
    """How outputs of a network become codes and features, with everything fitted for it."""

    code: str
    """`latent`, `rotated` or `joined` (`config.hash.code`)."""
    features: str
    """`fc1`, `fc1_fc3` or `joined` (`config.search.features`)."""
    scale: FineScale
    weights: Weights
    no_nodule: int
    """The class of items without a nodule, whose properties mean nothing; -1 if there is none."""
    hyperplanes: Hyperplanes | None = None
    """Of `rotated` and `joined` codes."""

    def joined(self, encoded: Encoded, known: Known | None = None) -> np.ndarray:
        """Class probabilities, properties and FC1 side by side, float32 [N, C + P + F].

        The squared Euclidean distance of a query to an item is the sum of three parts, weighted by
        `weights`: that of the class probabilities, which orders items of known class by the
        probability that the query is of their class; that of the properties; and that of FC1.
        Properties are those of a nodule, so they are multiplied by its probability.

        Args:
          encoded: outputs for N images.
          known: replaces the classes and properties that are known; None for queries.
        """
        classes = special.softmax(encoded.fc3.astype(np.float64), axis=1)
        properties = encoded.properties.astype(np.float64)
        if known is not None:
            labelled = known.labels >= 0
            classes[labelled] = np.eye(classes.shape[1])[known.labels[labelled]]
            properties = np.where(np.isfinite(known.properties), known.properties, properties)
        if self.no_nodule >= 0:
            properties *= 1.0 - classes[:, [self.no_nodule]]
        parts = (
            np.sqrt(self.weights.classes) * classes,
            np.sqrt(self.weights.properties) * properties,
            np.sqrt(self.weights.fc1) / self.scale.fc1 * encoded.fc1,
        )
        return np.concatenate(parts, axis=1).astype(np.float32)

    def to_features(self, encoded: Encoded, known: Known | None = None) -> np.ndarray:
        """The features that rank a pool, float32 [N, D]."""
        if self.features == "joined":
            return self.joined(encoded, known)
        return self.scale.features(encoded, self.features)

    def to_bits(self, encoded: Encoded, known: Known | None = None) -> np.ndarray:
        """Codes, bool [N, h]; `known` as in `joined`, without effect on other codes."""
        if self.code != "joined":
            return to_bits(encoded, self.hyperplanes)
        assert self.hyperplanes is not None
        return self.hyperplanes.encode(self.joined(encoded, known))

    def fitted(
        self, encoded: Encoded, known: Known | None, *, bits: int, fc1_weight: float, seed: int
    ) -> "Representation":
        """A copy with the hyperplanes of its code, fitted on training items.

        Args:
          encoded: outputs for the training items.
          known: what their records say, if the archive uses it.
          bits: length of the codes.
          fc1_weight: for `rotated`, as in `fit_hyperplanes`.
          seed: of the initial rotation.
        """
        if self.code == "latent":
            return self
        if self.code == "rotated":
            planes = fit_hyperplanes(encoded, fc1_weight=fc1_weight, seed=seed)
        else:
            vectors = sample(self.joined(encoded, known), seed)
            planes = itq(vectors, bits=bits, seed=seed, full=True)
        return dataclasses.replace(self, hyperplanes=planes)
