"""faiss: multi-index hashing."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import faiss
import numpy as np

from experiments.bench.competitors import hashing
from experiments.bench.competitors import threads as threads_lib
from experiments.bench.competitors.hashing import Cut, Hashing

T = TypeVar("T")


class FaissBuckets(Hashing):
    """What the hash indexes of faiss have in common.

    They use one thread for up to 100 queries, so a batch is split over Python threads where that is
    faster.
    """

    distribution = "faiss-cpu"

    def _each(self, answer: Callable[[np.ndarray], T], codes: np.ndarray) -> list[T]:
        return threads_lib.split(answer, codes, self.threads if self._parallel else 1)

    def _fill(self, index: faiss.IndexBinary) -> faiss.IndexBinary:
        # faiss reads eight bytes at a substring's start, also behind the last code: a spare row.
        spare = np.zeros((len(self.octets) + 1, self.octets.shape[1]), np.uint8)
        spare[:-1] = self.octets
        index.add(spare[:-1])
        return index

    def _nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        self._index.nflip = self._flips
        return self._index.search(queries, k)[0]

    def _within(self, queries: np.ndarray, threshold: int) -> list[np.ndarray]:
        self._index.nflip = self._flips
        ends, _, ids = self._index.range_search(queries, threshold)
        return [ids[ends[i] : ends[i + 1]] for i in range(len(queries))]


class FaissMultiHash(FaissBuckets):
    """`IndexBinaryMultiHash`."""

    name = "faiss IndexBinaryMultiHash"

    def _cuts(self) -> Sequence[Cut]:
        bits = 8 * self.octets.shape[1]
        return [
            Cut(parts, width)
            for parts in range(2, max(2, bits // 8) + 1)
            for width in hashing.useful_widths(len(self.octets), bits // parts)
        ]

    def _make(self, cut: Cut) -> faiss.IndexBinary:
        bits = 8 * self.octets.shape[1]
        return self._fill(faiss.IndexBinaryMultiHash(bits, cut.parts, cut.width))
