"""faiss: exhaustive scan of the codes."""

from typing import Any

import faiss
import numpy as np

from experiments.bench import timing
from experiments.bench.competitors.interface import Competitor, octets


class FaissFlat(Competitor):
    """`IndexBinaryFlat`; parallel over the queries of a batch, one thread for one query."""

    name = "faiss IndexBinaryFlat"
    distribution = "faiss-cpu"

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        super().__init__(codes, bits, threads=threads)
        self.index: Any = faiss.IndexBinaryFlat(8 * self.octets.shape[1])
        self.index.add(self.octets)

    def prepare_top_k(self, codes: np.ndarray, k: int) -> str:
        """Whether the nearest are kept in a heap or counted by distance."""

        def attempt(use_heap: bool) -> None:
            self.index.use_heap = use_heap
            self.top_k(codes, k)

        self.index.use_heap = timing.fastest((True, False), attempt)
        return "heap" if self.index.use_heap else "counting"

    def top_k(self, codes: np.ndarray, k: int) -> np.ndarray:
        """As in the base class."""
        return self.index.search(octets(codes, self.bits), k)[0]

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """There is nothing to choose."""
        return ""

    def pools(self, codes: np.ndarray, threshold: int) -> list[np.ndarray]:
        """As in the base class."""
        ends, _, ids = self.index.range_search(octets(codes, self.bits), threshold)
        return [ids[ends[i] : ends[i + 1]] for i in range(len(codes))]
