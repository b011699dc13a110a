"""faiss, as the peer of the search."""

from typing import Any

import faiss
import numpy as np

from inres.retrieval import search as search_lib


def octets(packed: np.ndarray, bits: int) -> np.ndarray:
    """Codes as faiss takes them: uint8 [N, ceil(bits / 8)]."""
    return np.ascontiguousarray(packed.view(np.uint8)[:, : -(-bits // 8)])


class Peer:
    """Two-stage search in faiss: binary range search, gather, exact distances, top-K."""

    def __init__(self, packed: np.ndarray, features: np.ndarray, bits: int):
        self.bits = bits
        self.features = features
        self.flat = faiss.IndexBinaryFlat(8 * -(-bits // 8))
        self.flat.add(octets(packed, bits))

    def top_k(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Hamming distances and ids [Q, k]."""
        return self.flat.search(octets(queries, self.bits), k)

    def search(self, queries: np.ndarray, wide: np.ndarray, threshold: int, k: int) -> list:
        """(squared distances, ids, pool size) of each query."""
        out = []
        for row, pool in enumerate(self.pools(queries, threshold)):
            if len(pool) == 0:
                out.append((np.zeros(0), pool, 0))
                continue
            square, place = faiss.knn(wide[row : row + 1], self.features[pool], min(k, len(pool)))
            out.append((square[0], pool[place[0]], len(pool)))
        return out

    def pools(self, queries: np.ndarray, threshold: int) -> list[np.ndarray]:
        """Ids of the items with a Hamming distance below `threshold`, per query."""
        ends, _, ids = self.flat.range_search(octets(queries, self.bits), threshold)
        return [ids[ends[row] : ends[row + 1]] for row in range(len(queries))]


class SelectingPeer:
    """The same with the features in a flat faiss index, searched with an ID selector."""

    def __init__(self, peer: Peer):
        self.peer = peer
        self.wide = faiss.IndexFlatL2(peer.features.shape[1])
        self.wide.add(peer.features)

    def search(self, queries: np.ndarray, wide: np.ndarray, threshold: int, k: int) -> list:
        """(squared distances, ids, pool size) of each query."""
        out = []
        for row, pool in enumerate(self.peer.pools(queries, threshold)):
            parameters: Any = faiss.SearchParameters
            selected = parameters(sel=faiss.IDSelectorBatch(pool))
            square, found = self.wide.search(wide[row : row + 1], k, params=selected)
            out.append((square[0], found[0], len(pool)))
        return out


def check_search(result: search_lib.Result, expected: list) -> None:
    """Check that pools and distances agree; ids may differ where rounding differs.

    Raises:
      AssertionError: they do not.
    """
    for row, (square, ids, size) in enumerate(expected):
        if result.pool_size[row] != size:
            raise AssertionError(f"query {row}: pool {result.pool_size[row]}, the peer has {size}")
        found = result.ids[row] >= 0
        distance = np.sqrt(np.maximum(square, 0))
        np.testing.assert_allclose(result.distance[row][found], distance, rtol=1e-3, atol=1e-2)
        if len(set(ids) - set(result.ids[row])) > max(1, len(ids) // 20):
            raise AssertionError(f"query {row}: more than 5 % of the peer's neighbours differ")
