"""usearch: exhaustive scan of the codes."""

import numpy as np
from usearch.index import MetricKind, search

from experiments.bench.competitors.interface import Competitor, octets


class UsearchExact(Competitor):
    """`search(..., exact=True)` with bits (b1) and Hamming distance; it has no search by radius."""

    name = "usearch exact"
    distribution = "usearch"

    def prepare_top_k(self, codes: np.ndarray, k: int) -> str:
        """There is nothing to choose."""
        return ""

    def top_k(self, codes: np.ndarray, k: int) -> np.ndarray:
        """As in the base class."""
        found = search(
            self.octets, octets(codes, self.bits), k, MetricKind.Hamming,
            exact=True, threads=self.threads, dtype="b1",
        )  # fmt: skip
        return np.atleast_2d(found.distances).astype(np.int32)
