"""Queries as the jitted programs take them: padded to a few sizes, and in batches."""

import operator
from collections.abc import Iterator
from typing import Any

import flax.struct
import jax
import numpy as np
from jax import lax

from inres.retrieval import native
from inres.retrieval.hamming import Filters

QUERIES = 64
"""Queries of one batch; more are worked off in batches."""


def padded_size(q: int) -> int:
    """Size to which `q` queries are padded: 1, 4, 16, 64, then whole batches by powers of two."""
    if q > QUERIES:
        return QUERIES << (-(-q // QUERIES) - 1).bit_length()
    return next(size for size in (1, 4, 16, QUERIES) if q <= size)


@flax.struct.dataclass
class Queries:
    """Queries as the programs take them, padded. NumPy arrays or JAX's."""

    codes: Any
    """uint32 [Q, W]."""
    features: Any
    """float32 [Q, D]; None in a search by Hamming distance alone."""
    threshold: Any
    """int32 [Q]; -1 marks padding: an empty pool that is never widened. None as above."""
    filters: Filters
    """[Q]."""

    def one(self, i: jax.Array) -> "Queries":
        """The batch of query `i` alone."""
        return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, i, 1), self)

    def __len__(self) -> int:
        return self.codes.shape[0]


def padded(queries: native.Queries) -> Queries:
    """Queries as the programs take them."""
    size = padded_size(len(queries.codes))
    codes, features, threshold, exclude_group, only_label = (
        None if column is None else _pad(column, size, fill)
        for column, fill in zip(queries, (0, 0, -1, -1, -1), strict=True)
    )
    return Queries(codes, features, threshold, Filters(exclude_group, only_label))


def _pad(values: np.ndarray, size: int, fill: int) -> np.ndarray:
    out = np.full((size, *values.shape[1:]), fill, values.dtype)
    out[: len(values)] = values
    return out


def batches(columns: Any) -> Iterator[Any]:
    """Padded columns [Q, ...] (a pytree), QUERIES at a time."""
    for start in range(0, len(jax.tree.leaves(columns)[0]), QUERIES):
        yield jax.tree.map(operator.itemgetter(slice(start, start + QUERIES)), columns)
