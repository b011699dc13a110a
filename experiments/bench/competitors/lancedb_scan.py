"""lancedb: exhaustive scan of the codes."""

import tempfile
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from experiments.bench.competitors.interface import Competitor, octets


class LancedbScan(Competitor):
    """A table on disk without an index, Hamming distance, all threads."""

    name = "lancedb"
    distribution = "lancedb"
    limits_threads = False

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        super().__init__(codes, bits, threads=threads)
        self._folder = tempfile.TemporaryDirectory()
        values = pa.array(self.octets.reshape(-1))
        columns = {
            "id": pa.array(np.arange(len(self.octets))),
            "vector": pa.FixedSizeListArray.from_arrays(values, self.octets.shape[1]),
        }
        database = lancedb.connect(self._folder.name)
        self._table = database.create_table("codes", pa.table(columns))

    def _search(self, codes: np.ndarray, limit: int, threshold: int | None) -> pa.Table:
        """Rows `query_index`, `id` and `_distance`."""
        queries: Any = [*octets(codes, self.bits)]
        search = self._table.search(queries).distance_type("hamming").limit(limit)
        if threshold is not None:
            search = search.distance_range(None, threshold)
        return search.select(["id", "_distance"]).to_arrow()

    def prepare_top_k(self, codes: np.ndarray, k: int) -> str:
        """There is nothing to choose."""
        return ""

    def top_k(self, codes: np.ndarray, k: int) -> np.ndarray:
        """As in the base class."""
        found = self._search(codes, k, None)
        distance = found["_distance"].to_numpy().astype(np.int32)
        if len(codes) == 1:
            return np.sort(distance)[None]
        order = np.lexsort((distance, found["query_index"].to_numpy()))
        return distance[order].reshape(len(codes), k)

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """There is nothing to choose."""
        return ""

    def pools(self, codes: np.ndarray, threshold: int) -> list[np.ndarray]:
        """As in the base class."""
        found = self._search(codes, len(self.octets), threshold)
        ids = found["id"].to_numpy()
        if len(codes) == 1:
            return [ids]
        query = found["query_index"].to_numpy()
        return [ids[query == i] for i in range(len(codes))]
