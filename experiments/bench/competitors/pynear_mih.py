"""pynear: multi-index hashing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pynear
import threadpoolctl

from experiments.bench.competitors.hashing import Cut, Hashing


class PynearMih(Hashing):
    """`MIHBinaryIndex`, which is exact within a given radius.

    It answers a batch with OpenMP, or with one thread where that is faster. It returns a fixed
    number of neighbours per query, which grows until it holds every pool.
    """

    name = "pynear MIHBinaryIndex"
    distribution = "pynear"
    most_items = 1_000_000  # ten million would take a minute or more for each of the cuts tried

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        super().__init__(codes, bits, threads=threads)
        self._room = 1
        loaded = threadpoolctl.ThreadpoolController().lib_controllers
        self._openmp = [each for each in loaded if "pynear" in each.filepath]

    def _use(self, cut: Cut, radius: int, parallel: bool) -> None:
        super()._use(cut, radius, parallel)
        for library in self._openmp:
            library.set_num_threads(self.threads if parallel else 1)

    def _cuts(self) -> Sequence[Cut]:
        # Substrings are whole bytes, at most eight.
        size = self.octets.shape[1]
        parts = (m for m in range(1, size + 1) if size % m == 0)
        return [Cut(m, 8 * size // m) for m in parts if size // m <= 8]

    def _make(self, cut: Cut) -> Any:
        index = pynear.MIHBinaryIndex(cut.parts)
        index.set(self.octets)
        return index

    def _radius(self) -> int:
        return int(min(self._cut.reach(self._flips), 8 * self.octets.shape[1]))

    def _nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        return self._index.searchKNN_arrays(queries, k, self._radius())[1]

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """As in the base class."""
        self._room = 1
        return super().prepare_pools(codes, threshold)

    def _within(self, queries: np.ndarray, threshold: int) -> list[np.ndarray]:
        while True:
            room = min(self._room, len(self.octets))
            ids, distance = self._index.searchKNN_arrays(queries, room, threshold - 1)
            inside = (ids >= 0) & (distance < threshold)
            if room == len(self.octets) or not inside[:, -1].any():
                return [row[keep] for row, keep in zip(ids, inside, strict=True)]
            self._room *= 2
