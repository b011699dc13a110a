"""What the search is timed on, and against: random items of several kinds, and faiss."""

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from ml_collections import ConfigDict

from inres.retrieval import codes as codes_lib
from inres.retrieval import index as index_lib
from inres.retrieval import search as search_lib
from inres.storage import store

CHUNK = 1 << 18
"""Items made at a time."""


class Maker:
    """Random items of one kind: their codes at once, their features a part at a time."""

    def __init__(self, config: ConfigDict, kind: str, n: int, bits: int, dims: int):
        self.kind, self.bits, self.dims = kind, bits, dims
        self.rng = rng = np.random.default_rng([config.seed, n, bits, dims])
        shared = np.random.default_rng([config.seed, bits, dims])  # of items and queries
        if kind == "trained":
            stored = store.load(config.trained)
            self.bits, self.dims = stored.bits, stored.dims
            self.which = rng.integers(0, len(stored), n)
            clean = codes_lib.unpack(np.asarray(stored.codes), stored.bits)
            self.means = np.asarray(stored.features, np.float32)
            self.spread = 0.1 * self.means.std(axis=0)
            flips = 0.005
        elif kind == "uniform":
            self.which = np.zeros(n, np.int64)
            clean = np.zeros((1, bits), bool)
            self.means = np.zeros((1, dims), np.float32)
            self.spread = np.ones(dims, np.float32)
            flips = 0.5
        else:
            centres = int(kind.removeprefix("clustered-"))
            self.which = rng.integers(0, centres, n)
            clean = shared.random((centres, bits)) < 0.5
            self.means = 2 * shared.standard_normal((centres, dims), dtype=np.float32)
            self.spread = np.ones(dims, np.float32)
            flips = 0.05
        self.codes = np.concatenate(
            [
                codes_lib.pack(
                    clean[part] ^ (rng.random((len(part), self.bits), dtype=np.float32) < flips)
                )
                for part in np.split(self.which, range(CHUNK, n, CHUNK))
            ]
        )

    def sort(self) -> None:
        """Put the items in the order of their codes."""
        order = index_lib.sort_by_code(self.codes, np.arange(len(self.codes)))
        self.codes, self.which = self.codes[order], self.which[order]

    def features(self) -> Iterator[np.ndarray]:
        """float32 [n, D], some rows at a time."""
        for part in np.split(self.which, range(CHUNK, len(self.which), CHUNK)):
            noise = self.rng.standard_normal((len(part), self.dims), dtype=np.float32)
            yield self.means[part] + self.spread * noise


def octets(packed: np.ndarray, bits: int) -> np.ndarray:
    """Codes as faiss wants them: bytes, a whole number of them an item."""
    return np.ascontiguousarray(packed.view(np.uint8)[:, : -(-bits // 8)])


class Peer:
    """faiss: binary range search, gather, exact distances, top-K."""

    def __init__(self, packed: np.ndarray, features: np.ndarray, bits: int):
        self.bits = bits
        self.features = features
        self.flat = faiss.IndexBinaryFlat(8 * -(-bits // 8))
        self.flat.add(octets(packed, bits))

    def top_k(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Hamming distances and ids."""
        return self.flat.search(octets(queries, self.bits), k)

    def search(self, queries: np.ndarray, wide: np.ndarray, threshold: int, k: int) -> list:
        """(squared distances, ids, pool size) of each query."""
        ends, _, ids = self.flat.range_search(octets(queries, self.bits), threshold)
        out = []
        for row in range(len(queries)):
            pool = ids[ends[row] : ends[row + 1]]
            if len(pool) == 0:
                out.append((np.zeros(0), pool, 0))
                continue
            square, place = faiss.knn(wide[row : row + 1], self.features[pool], min(k, len(pool)))
            out.append((square[0], pool[place[0]], len(pool)))
        return out


class Selecting:
    """faiss with the features in an index of its own: range search, then a selective search."""

    def __init__(self, peer: Peer):
        self.peer = peer
        self.wide = faiss.IndexFlatL2(peer.features.shape[1])
        self.wide.add(peer.features)

    def search(self, queries: np.ndarray, wide: np.ndarray, threshold: int, k: int) -> list:
        """(squared distances, ids, pool size) of each query."""
        ends, _, ids = self.peer.flat.range_search(octets(queries, self.peer.bits), threshold)
        out = []
        for row in range(len(queries)):
            pool = ids[ends[row] : ends[row + 1]]
            parameters: Any = faiss.SearchParameters
            only = parameters(sel=faiss.IDSelectorBatch(pool))
            square, found = self.wide.search(wide[row : row + 1], k, params=only)
            out.append((square[0], found[0], len(pool)))
        return out


def check_search(result: search_lib.Result, expected: list) -> None:
    """Same pools and distances; ids may differ where the peer's sums round otherwise."""
    for row, (square, ids, size) in enumerate(expected):
        if result.pool_size[row] != size:
            raise AssertionError(f"query {row}: pool {result.pool_size[row]}, the peer has {size}")
        found = result.ids[row] >= 0
        distance = np.sqrt(np.maximum(square, 0))
        np.testing.assert_allclose(result.distance[row][found], distance, rtol=1e-3, atol=1e-2)
        if len(set(ids) - set(result.ids[row])) > max(1, len(ids) // 20):
            raise AssertionError(f"query {row}: the peer's neighbours are others")
