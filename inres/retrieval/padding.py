"""Queries for the jitted programs, padded to one of a few sizes and divided into batches."""

import dataclasses
import operator
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import lax

from inres.retrieval import queries as queries_lib
from inres.retrieval.hamming import Filters

QUERIES = 64
"""Largest batch; more queries are processed in several batches."""


def padded_size(q: int) -> int:
    """Padded number of queries: 1, 4, 16, 64, then 64 times a power of two."""
    if q > QUERIES:
        return QUERIES << (-(-q // QUERIES) - 1).bit_length()
    return next(size for size in (1, 4, 16, QUERIES) if q <= size)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Queries:
    """Padded queries, as NumPy or JAX arrays."""

    codes: Any
    """uint32 [Q, W]."""
    features: Any
    """float32 [Q, D]; None for a search by Hamming distance alone."""
    threshold: Any
    """int32 [Q]; -1 marks padding, whose pool is empty and never raised. None as above."""
    filters: Filters
    """Filters with arrays [Q]."""

    def one(self, i: jax.Array) -> "Queries":
        """A batch of only query `i`."""
        return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, i, 1), self)

    def __len__(self) -> int:
        return self.codes.shape[0]


def padded(queries: queries_lib.Queries) -> Queries:
    """Pad queries for the jitted programs."""
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
    """Divide padded columns [Q, ...] (a pytree) into batches of QUERIES."""
    for start in range(0, len(jax.tree.leaves(columns)[0]), QUERIES):
        yield jax.tree.map(operator.itemgetter(slice(start, start + QUERIES)), columns)
