"""Distances by which every ranking orders a gallery, for a part of the queries at a time."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from inres import vocabulary
from inres.evaluation import metrics
from inres.evaluation.embedded import Embedded
from inres.evaluation.euclidean import Euclidean
from inres.evaluation.settings import Settings


def hamming_distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Number of bits in which codes bool [Q, h] and [N, h] differ, int16 [Q, N]."""
    a, b = (2 * bits.astype(np.float32) - 1 for bits in (queries, gallery))
    return ((queries.shape[1] - a @ b.T) / 2).astype(np.int16)  # integers: exact


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the class probabilities, float64 [N, C]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def disagreement(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Probability that two items are of different classes, by their softmax; float64 [Q, N].

    Probabilities [Q, C] and [N, C] are rounded to 24 binary digits, so that sums are exact and
    equal items tie regardless of their position.
    """
    a, b = (np.rint(np.ldexp(side, 24)) for side in (queries, gallery))
    return 1.0 - np.ldexp(a @ b.T, -48)


def two_stage(
    fine: np.ndarray, hamming: np.ndarray, *, limits: np.ndarray, excluded: np.ndarray
) -> np.ndarray:
    """The two-stage order of the whole gallery, expressed as distances, float64 [Q, N].

    Items of the pool (Hamming distance below `limits`, [Q]) come first, by `fine` distance; the
    others follow by Hamming distance. Ties are kept. Excluded items are +inf.
    """
    # 2^1000 exceeds any squared distance of float32 features, and its multiples are exact.
    behind = np.ldexp(1.0 + np.arange(int(hamming.max(initial=0)) + 1), 1000)
    order = behind[hamming]
    np.copyto(order, fine, where=hamming < limits[:, None])
    order[excluded] = np.inf
    return order


def pool_limits(
    hamming: np.ndarray, excluded: np.ndarray, *, threshold: int, least: int
) -> np.ndarray:
    """The Hamming threshold of each query, [Q]: raised until its pool holds `least` items.

    Args:
      hamming: numbers [Q, N].
      excluded: bool [Q, N], items that are in no pool.
      threshold: the least threshold.
      least: number of items; a query that can find fewer gets all of them.
    """
    if not least:
        return np.full(len(hamming), threshold)
    found = np.sort(np.where(excluded, np.inf, hamming), axis=1)
    last = np.minimum(least, (~excluded).sum(axis=1))
    farthest = np.take_along_axis(found, np.maximum(last - 1, 0)[:, None], axis=1)[:, 0]
    reached = np.where(last > 0, np.floor(farthest) + 1, threshold)
    return np.maximum(threshold, reached).astype(np.int64)


class Part(NamedTuple):
    """Distances that several rankings of some queries share."""

    rows: slice
    excluded: np.ndarray
    """bool [q, N]"""
    hamming: np.ndarray
    """int16 [q, N]"""
    fine: np.ndarray
    """float64 [q, N], squared."""
    limits: np.ndarray
    """int64 [q], Hamming thresholds of the pools."""


class Distances:
    """Distances of every ranking, for one part of the queries at a time."""

    def __init__(self, queries: Embedded, gallery: Embedded, settings: Settings):
        self.threshold, self.fine = settings.threshold, settings.fine
        self.least_pool, fine = settings.least_pool, self.fine
        ranked = vocabulary.ranking_names()
        shared = [n for n in queries.features if n in gallery.features and n in ranked]
        self.euclidean = {
            name: Euclidean(queries.features[name], gallery.features[name])
            for name in sorted({fine, *shared})
        }
        self.codes = {
            name: (code, gallery.all_codes[name])
            for name, code in queries.all_codes.items()
            if name in gallery.all_codes
        }
        self.softmax = None
        if "fc3" in shared:
            self.softmax = [
                np.exp(log_softmax(side.features["fc3"])) for side in (queries, gallery)
            ]

    def part(self, rows: slice, excluded: np.ndarray) -> Part:
        """Distances of the queries `rows` that rankings share."""
        hamming = self._hamming("hamming", rows)
        return Part(rows, excluded, hamming, self._squared(rows), self.limits(hamming, excluded))

    def limits(self, hamming: np.ndarray, excluded: np.ndarray) -> np.ndarray:
        """Hamming thresholds of the pools, int64 [q], for distances [q, N]."""
        least = math.ceil(self.least_pool * hamming.shape[1])
        return pool_limits(hamming, excluded, threshold=self.threshold, least=least)

    @property
    def bits(self) -> dict[str, int]:
        """Code length of each ranking by codes."""
        return {name: code.shape[1] for name, (code, _) in self.codes.items()}

    def _hamming(self, name: str, rows: slice) -> np.ndarray:
        queries, gallery = self.codes[name]
        return hamming_distances(queries[rows], gallery)

    def _squared(self, rows: slice) -> np.ndarray:
        return self.euclidean[self.fine].rows(rows)

    def each(self, part: Part) -> Iterator[tuple[str, np.ndarray]]:
        """Name and distances [q, N] of each possible ranking, `metrics.far` where excluded."""
        for name in vocabulary.ranking_names():
            distances = self._of(name, part)
            if distances is not None:
                distances[part.excluded] = metrics.far(distances.dtype)
                yield name, distances

    def _of(self, name: str, part: Part) -> np.ndarray | None:
        """Distances of one ranking, a new array [q, N]; None if its features are missing."""
        if name == "two_stage":
            excluded = part.excluded
            return two_stage(part.fine, part.hamming, limits=part.limits, excluded=excluded)
        if name == "hamming":
            return part.hamming.copy()
        if name == "chance":
            return np.zeros(part.excluded.shape, np.int8)
        if name == self.fine:
            return part.fine.copy()
        if name in self.euclidean:
            return self.euclidean[name].rows(part.rows)
        if name in self.codes:
            return self._hamming(name, part.rows)
        if name in ("softmax", "predicted_class") and self.softmax is not None:
            queries, gallery = self.softmax[0][part.rows], self.softmax[1]
            if name == "softmax":
                return disagreement(queries, gallery)
            differ = queries.argmax(axis=1)[:, None] != gallery.argmax(axis=1)
            return differ.astype(np.int8)
        return None
