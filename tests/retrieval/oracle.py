"""Brute force in NumPy: what every search must equal."""

import numpy as np


def hamming(queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.bitwise_count(queries[:, None] ^ codes[None]).sum(-1, dtype=np.int64)


def search(codes, features, query_codes, query_features, *, threshold, k, groups, own, ids=None):
    """Ids, Hamming and squared distances, pool sizes. Exact where features are small integers."""
    n, q = len(codes), len(query_codes)
    ids = np.arange(n) if ids is None else np.asarray(ids)
    distance = hamming(query_codes, codes)
    out_ids = np.full((q, k), -1)
    out_hamming = np.full((q, k), -1)
    out_square = np.full((q, k), np.inf)
    pool_size = np.zeros(q, int)
    for row in range(q):
        inside = distance[row] < np.broadcast_to(threshold, q)[row]
        if own is not None and own[row] >= 0:
            inside &= groups != own[row]
        pool = np.flatnonzero(inside)
        wide = features[pool].astype(np.float64) - query_features[row].astype(np.float64)
        square = (wide**2).sum(1)
        order = np.lexsort((ids[pool], square))[:k]
        pool_size[row] = len(pool)
        out_ids[row, : len(order)] = ids[pool[order]]
        out_hamming[row, : len(order)] = distance[row, pool[order]]
        out_square[row, : len(order)] = square[order]
    return out_ids, out_hamming, out_square, pool_size


def search_hamming(codes, query_codes, *, k, groups=None, own=None, ids=None):
    n, q = len(codes), len(query_codes)
    ids = np.arange(n) if ids is None else np.asarray(ids)
    distance = hamming(query_codes, codes)
    out_ids, out_hamming = np.full((q, k), -1), np.full((q, k), -1)
    for row in range(q):
        pool = np.arange(n)
        if own is not None and own[row] >= 0:
            pool = pool[groups != own[row]]
        order = pool[np.lexsort((ids[pool], distance[row, pool]))[:k]]
        out_ids[row, : len(order)] = ids[order]
        out_hamming[row, : len(order)] = distance[row, order]
    return out_ids, out_hamming
