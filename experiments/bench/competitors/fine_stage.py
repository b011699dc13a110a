"""The second stage for all competitors: rank pools by Euclidean distance.

Features are gathered in blocks that fit into the cache, and faiss computes the distances. With
several threads, a batch is split by queries and a large pool of a single query into parts.
"""

import threading
from typing import NamedTuple

import faiss
import numpy as np

from experiments.bench.competitors import threads as threads_lib

SMALL = 512
"""Rows up to which a pool is gathered without a buffer."""
BLOCK_BYTES = 2 << 20
LEAST_VALUES = 1 << 20
"""Feature values below which starting threads takes longer than the work."""
_local = threading.local()


class Ranked(NamedTuple):
    """The neighbours of one query, nearest first."""

    square: np.ndarray
    """float32 [n], squared Euclidean distances; n is at most k and at most the pool's size."""
    ids: np.ndarray
    """int [n], positions of the items."""
    size: int
    """Number of items in the pool."""


def rank(
    pools: list[np.ndarray], features: np.ndarray, queries: np.ndarray, k: int, *, threads: int
) -> list[Ranked]:
    """Rank each pool; arrays as in `nearest`, float32 [Q, D] for `queries`."""
    count = len(pools)
    values = sum(map(len, pools)) * features.shape[1]
    if threads == 1 or values < LEAST_VALUES:
        return [nearest(pools[i], features, queries[i : i + 1], k) for i in range(count)]
    workers = threads_lib.executor(threads)
    parts = 1 if count >= threads else threads
    jobs = [
        [
            workers.submit(nearest, part, features, queries[i : i + 1], k)
            for part in np.array_split(pools[i], parts)
        ]
        for i in range(count)
    ]
    return [_merged([part.result() for part in job], k) for job in jobs]


def nearest(pool: np.ndarray, features: np.ndarray, query: np.ndarray, k: int) -> Ranked:
    """Rank one pool.

    Args:
      pool: int [n], positions.
      features: float32 [N, D].
      query: float32 [1, D].
      k: number of neighbours.
    """
    if len(pool) == 0:
        return Ranked(np.zeros(0, np.float32), pool, 0)
    if len(pool) <= SMALL:
        return _block(pool, features[pool], query, k)
    buffer = _buffer(features.shape[1])
    parts = []
    for start in range(0, len(pool), len(buffer)):
        part = pool[start : start + len(buffer)]
        rows = np.take(features, part, axis=0, out=buffer[: len(part)], mode="clip")
        parts.append(_block(part, rows, query, k))
    return _merged(parts, k)


def _block(pool: np.ndarray, rows: np.ndarray, query: np.ndarray, k: int) -> Ranked:
    square, place = faiss.knn(query, rows, min(k, len(pool)))
    return Ranked(square[0], pool[place[0]], len(pool))


def _merged(parts: list[Ranked], k: int) -> Ranked:
    square = np.concatenate([part.square for part in parts])
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(square, kind="stable")[:k]
    return Ranked(square[order], ids[order], sum(part.size for part in parts))


def _buffer(dims: int) -> np.ndarray:
    """A block of rows, kept for the thread's next call: float32 [rows, D]."""
    buffer = getattr(_local, "buffer", None)
    if buffer is None or buffer.shape[1] != dims:
        buffer = np.empty((max(1, BLOCK_BYTES // (4 * dims)), dims), np.float32)
        _local.buffer = buffer
    return buffer
