"""Rankings: candidates of the coarse stage ordered by Euclidean distance."""

import jax
import jax.numpy as jnp

from inres.retrieval import hamming, rerank
from inres.retrieval.device_index import DeviceIndex
from inres.retrieval.hamming import FAR
from inres.retrieval.padding import Queries

Ranking = tuple[jax.Array, ...]
"""(squared distance float32, id int32, Hamming distance int32), each [..., K]; inf, -1 and -1 after
the last item."""


def distances(index: DeviceIndex, queries: Queries, slots: hamming.Slots) -> Ranking:
    """The columns of a ranking for slots [S], in their order; inf, -1, -1 in empty slots."""
    found = slots.distance < FAR
    rows = index.features.at[slots.position].get(mode="promise_in_bounds")
    square = rerank.squared_distances(queries.features[slots.query], rows)
    return (
        jnp.where(found, square, jnp.inf),
        jnp.where(found, index.ids[slots.position], -1),
        jnp.where(found, slots.distance, -1),
    )


def nothing(k: int, *batch: int) -> Ranking:
    """Empty rankings [*batch, k]."""
    none = jnp.full((*batch, k), -1, jnp.int32)
    return jnp.full((*batch, k), jnp.inf, jnp.float32), none, none


def merged(top: Ranking, columns: Ranking, *, k: int) -> Ranking:
    """The k best of a ranking [k] and new columns [n]."""
    return rerank.best(*(jnp.concatenate(pair) for pair in zip(top, columns, strict=True)), k=k)
