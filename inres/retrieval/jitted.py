"""The interface to the jitted programs (`plans`): padded batches of queries, results as arrays.

Importing it imports JAX.
"""

import numpy as np

from inres.retrieval import padding, plans
from inres.retrieval.device_index import DeviceIndex
from inres.retrieval.queries import Queries


def search(
    index: DeviceIndex, queries: Queries, *, k: int, min_pool: int
) -> tuple[np.ndarray, ...]:
    """Two-stage search: ids, Hamming and Euclidean distances [Q, k], pool sizes, thresholds [Q].

    The thresholds are those of `queries`, raised for pools with less than `min_pool` items.
    """
    parts = [
        plans.search_batch(index, batch, k=k, min_pool=min_pool)
        for batch in padding.batches(padding.padded(queries))
    ]
    ids, near, square, sizes, limits = _join(parts, len(queries.codes))
    return ids, near, np.sqrt(square), sizes, limits


def nearest(
    index: DeviceIndex, queries: Queries, *, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest codes: ids, Hamming distances and positions in walk order, int32 [Q, k]."""
    batches = padding.batches(padding.padded(queries))
    parts = [plans.nearest(index, batch, k=k) for batch in batches]
    ids, distance, position = _join(parts, len(queries.codes))
    return ids, distance, position


def rank(
    index: DeviceIndex, queries: Queries, position: np.ndarray, distance: np.ndarray, *, k: int
) -> tuple[np.ndarray, ...]:
    """Rank items given as by `nearest`, int32 [Q, m] (-1: none): ids and both distances [Q, k]."""
    q = len(position)
    short = ((0, padding.padded_size(q) - q), (0, 0))
    given = [np.pad(column, short, constant_values=-1) for column in (position, distance)]
    parts = [
        plans.rank_given(index, *batch, k=k)
        for batch in padding.batches((padding.padded(queries), *given))
    ]
    square, ids, found = _join(parts, q)
    return ids, found, np.sqrt(square)


def _join(parts: list[tuple], q: int) -> list[np.ndarray]:
    """Concatenate the columns of batches and drop the padding."""
    return [np.concatenate(column)[:q] for column in zip(*parts, strict=True)]
