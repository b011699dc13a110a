"""Brute force in NumPy, the reference for every search."""

import numpy as np


def hamming(queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.bitwise_count(queries[:, None] ^ codes[None]).sum(-1, dtype=np.int64)


def search(
    codes,
    features,
    query_codes,
    query_features,
    *,
    k,
    threshold=None,
    nearest=None,
    min_pool=0,
    groups=None,
    exclude_group=None,
    labels=None,
    only_label=None,
    ids=None,
):
    """Ids, Hamming and squared distances, pool sizes. Exact where features are small integers."""
    n, q = len(codes), len(query_codes)
    ids = np.arange(n) if ids is None else np.asarray(ids)
    distance = hamming(query_codes, codes)
    out_ids = np.full((q, k), -1)
    out_hamming = np.full((q, k), -1)
    out_square = np.full((q, k), np.inf)
    pool_size = np.zeros(q, int)
    for row in range(q):
        seen = np.flatnonzero(visible(n, row, groups, exclude_group, labels, only_label))
        order = seen[np.lexsort((ids[seen], distance[row, seen]))]
        if nearest is not None:
            pool = order[:nearest]
        else:
            limit = np.broadcast_to(threshold, q)[row]
            if min_pool and len(order):
                limit = max(limit, distance[row, order[:min_pool][-1]] + 1)
            pool = np.sort(seen[distance[row, seen] < limit])
        wide = features[pool].astype(np.float64) - query_features[row].astype(np.float64)
        square = (wide**2).sum(1)
        order = np.lexsort((ids[pool], square))[:k]
        pool_size[row] = len(pool)
        out_ids[row, : len(order)] = ids[pool[order]]
        out_hamming[row, : len(order)] = distance[row, pool[order]]
        out_square[row, : len(order)] = square[order]
    return out_ids, out_hamming, out_square, pool_size


def visible(n, row, groups, exclude_group, labels, only_label):
    """bool [n]: the items that query `row` may find."""
    seen = np.ones(n, bool)
    if exclude_group is not None and exclude_group[row] >= 0:
        seen &= groups != exclude_group[row]
    if labels is not None:
        any_label = only_label is None or only_label[row] < 0
        seen &= labels >= 0 if any_label else labels == only_label[row]
    return seen


def search_hamming(
    codes,
    query_codes,
    *,
    k,
    groups=None,
    exclude_group=None,
    labels=None,
    only_label=None,
    ids=None,
):
    n, q = len(codes), len(query_codes)
    ids = np.arange(n) if ids is None else np.asarray(ids)
    distance = hamming(query_codes, codes)
    out_ids, out_hamming = np.full((q, k), -1), np.full((q, k), -1)
    for row in range(q):
        pool = np.flatnonzero(visible(n, row, groups, exclude_group, labels, only_label))
        order = pool[np.lexsort((ids[pool], distance[row, pool]))[:k]]
        out_ids[row, : len(order)] = ids[order]
        out_hamming[row, : len(order)] = distance[row, order]
    return out_ids, out_hamming
