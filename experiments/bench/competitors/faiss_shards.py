"""faiss: exhaustive scan of the codes by several threads for one query."""

from typing import Any

import faiss
import numpy as np

from experiments.bench.competitors import threads as threads_lib
from experiments.bench.competitors.interface import Competitor, NotApplicable, octets


class FaissShards(Competitor):
    """`IndexBinaryShards` over one `IndexBinaryFlat` per thread.

    It has no range search, so the shards are searched by as many Python threads, during which faiss
    releases the interpreter.
    """

    name = "faiss IndexBinaryShards"
    distribution = "faiss-cpu"

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        super().__init__(codes, bits, threads=threads)
        self._parts: list[Any] = []
        self._index: Any = None

    def _prepare(self, queries: int) -> str:
        if self.threads == 1:
            raise NotApplicable("with one thread it is IndexBinaryFlat")
        if queries >= self.threads:
            raise NotApplicable("IndexBinaryFlat uses all threads for a batch")
        if len(self._parts) != self.threads:
            width = 8 * self.octets.shape[1]
            self._parts = [faiss.IndexBinaryFlat(width) for _ in range(self.threads)]
            threaded, successive_ids = True, True
            shards: Any = faiss.IndexBinaryShards
            self._index = shards(width, threaded, successive_ids)
            for part, rows in zip(self._parts, self._rows(), strict=True):
                part.add(np.ascontiguousarray(rows))
                self._index.add_shard(part)
        return f"{self.threads} shards"

    def _rows(self) -> list[np.ndarray]:
        return np.array_split(self.octets, self.threads)

    def prepare_top_k(self, codes: np.ndarray, k: int) -> str:
        """One shard per thread.

        Raises:
          NotApplicable: `IndexBinaryFlat` is as good.
        """
        return self._prepare(len(codes))

    def top_k(self, codes: np.ndarray, k: int) -> np.ndarray:
        """As in the base class."""
        return self._index.search(octets(codes, self.bits), k)[0]

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """One shard per thread.

        Raises:
          NotApplicable: `IndexBinaryFlat` is as good.
        """
        return self._prepare(len(codes))

    def pools(self, codes: np.ndarray, threshold: int) -> list[np.ndarray]:
        """As in the base class."""
        queries = octets(codes, self.bits)
        found = threads_lib.executor(self.threads).map(
            lambda part: part.range_search(queries, threshold), self._parts
        )
        starts = np.cumsum([0, *map(len, self._rows())])
        pools: list[list[np.ndarray]] = [[] for _ in codes]
        for start, (ends, _, ids) in zip(starts, found, strict=False):
            for i, pool in enumerate(pools):
                pool.append(ids[ends[i] : ends[i + 1]] + start)
        return [np.concatenate(pool) for pool in pools]
