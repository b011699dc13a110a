"""pynear: Burkhard-Keller tree."""

import numpy as np
import pynear

from experiments.bench.competitors.interface import Competitor, octets


class PynearBk(Competitor):
    """`BKTreeBinaryIndex`, which searches by radius only, with one thread."""

    name = "pynear BKTreeBinaryIndex"
    distribution = "pynear"
    most_items = 1_000_000

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        super().__init__(codes, bits, threads=threads)
        self._tree = pynear.BKTreeBinaryIndex()
        self._tree.set(self.octets)

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """There is nothing to choose."""
        return ""

    def pools(self, codes: np.ndarray, threshold: int) -> list[np.ndarray]:
        """As in the base class."""
        # Its threshold is the largest distance found.
        ids = self._tree.find_threshold(octets(codes, self.bits), threshold - 1)[0]
        return [np.array(pool, np.int64) for pool in ids]
