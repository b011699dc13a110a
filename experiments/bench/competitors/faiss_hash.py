"""faiss: one hash table over the first bits of the codes."""

from collections.abc import Sequence

import faiss

from experiments.bench.competitors import hashing
from experiments.bench.competitors.faiss_multi_hash import FaissBuckets
from experiments.bench.competitors.hashing import Cut


class FaissHash(FaissBuckets):
    """`IndexBinaryHash`: exact if as many bits are flipped as the radius has."""

    name = "faiss IndexBinaryHash"

    def _cuts(self) -> Sequence[Cut]:
        bits = 8 * self.octets.shape[1]
        return [Cut(1, width) for width in hashing.useful_widths(len(self.octets), bits)]

    def _make(self, cut: Cut) -> faiss.IndexBinary:
        return self._fill(faiss.IndexBinaryHash(8 * self.octets.shape[1], cut.width))
