"""The distances by which every ranking orders a gallery, for a part of the queries at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from inres.evaluation import metrics
from inres.evaluation.embedded import RANKINGS, Embedded
from inres.evaluation.euclidean import Euclidean


def hamming_distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """int16 [Q, N]: bits in which codes bool [Q, h] and [N, h] differ."""
    a, b = (2 * bits.astype(np.float32) - 1 for bits in (queries, gallery))
    return ((queries.shape[1] - a @ b.T) / 2).astype(np.int16)  # whole numbers: exact


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the class probabilities, float64 [N, C]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def disagreement(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """float64 [Q, N]: the chance that two items are of different classes, by their softmax.

    Probabilities [Q, C] and [N, C] are rounded to 24 binary digits, so that sums are exact and
    equal items tie wherever they stand.
    """
    a, b = (np.rint(np.ldexp(side, 24)) for side in (queries, gallery))
    return 1.0 - np.ldexp(a @ b.T, -48)


def two_stage(
    fine: np.ndarray, hamming: np.ndarray, *, threshold: int, excluded: np.ndarray
) -> np.ndarray:
    """The two-stage order of the whole gallery as distances, float64 [Q, N].

    Items of the pool (Hamming distance below `threshold`) come first, by `fine` distance; all
    others follow by Hamming distance, ties kept. Excluded items are +inf.
    """
    # 2^1000 is above any squared distance of float32 features, and its multiples are exact.
    behind = np.ldexp(1.0 + np.arange(int(hamming.max(initial=0)) + 1), 1000)
    order = behind[hamming]
    np.copyto(order, fine, where=hamming < threshold)
    order[excluded] = np.inf
    return order


class Part(NamedTuple):
    """What several rankings of some queries share."""

    rows: slice
    excluded: np.ndarray
    """bool [q, N]"""
    hamming: np.ndarray
    """int16 [q, N]"""
    fine: np.ndarray
    """float64 [q, N], squared."""


class Distances:
    """The distances of every ranking, for one part of the queries at a time."""

    def __init__(self, queries: Embedded, gallery: Embedded, *, threshold: int, fine: str):
        self.threshold, self.fine = threshold, fine
        shared = [n for n in queries.features if n in gallery.features and n in RANKINGS]
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
        """The distances that rankings share."""
        return Part(rows, excluded, self._hamming("hamming", rows), self._squared(rows))

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
        """Name and distances [q, N] of each ranking, `metrics.far` where excluded."""
        for name in RANKINGS:
            if name == "two_stage":
                yield (
                    name,
                    two_stage(
                        part.fine, part.hamming, threshold=self.threshold, excluded=part.excluded
                    ),
                )
                continue
            if name == "hamming":
                distances = part.hamming.copy()
            elif name == "chance":
                distances = np.zeros(part.excluded.shape, np.int8)
            elif name in ("softmax", "predicted_class"):
                if self.softmax is None:
                    continue
                queries, gallery = self.softmax[0][part.rows], self.softmax[1]
                if name == "softmax":
                    distances = disagreement(queries, gallery)
                else:
                    differ = queries.argmax(axis=1)[:, None] != gallery.argmax(axis=1)
                    distances = differ.astype(np.int8)
            elif name == self.fine:
                distances = part.fine.copy()
            elif name in self.euclidean:
                distances = self.euclidean[name].rows(part.rows)
            elif name in self.codes:
                distances = self._hamming(name, part.rows)
            else:
                continue
            distances[part.excluded] = metrics.far(distances.dtype)
            yield name, distances


def same_scan(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers [Q] and [N] that are equal where the scans are the same and known."""
    both = np.concatenate([np.asarray(queries, str), np.asarray(gallery, str)])
    known, number = np.unique(both, return_inverse=True)
    left, right = number[: len(queries)].copy(), number[len(queries) :].copy()
    unknown = np.flatnonzero(known == "")
    left[np.isin(left, unknown)] = -1
    right[np.isin(right, unknown)] = -2
    return left, right


def columns(side: Embedded) -> dict[str, np.ndarray]:
    """What is known of the items, [N] each: labels, and diameters and malignancy where any is."""
    known = {"labels": np.asarray(side.labels)}
    for name in ("diameters_mm", "malignancy"):
        values = getattr(side, name)
        if values is not None and (np.asarray(values) > 0).any():  # NaN compares false
            known[name] = np.asarray(values, np.float64)
    return known
