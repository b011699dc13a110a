"""The nearest items by (Hamming distance, lowest id), without those that a query does not see."""

import jax
import jax.numpy as jnp
from jax import lax

from inres.retrieval import coarse, hamming, runs
from inres.retrieval.device_index import DeviceIndex, Each
from inres.retrieval.hamming import FAR
from inres.retrieval.padding import Queries
from inres.retrieval.tiling import TILE

Found = tuple[jax.Array, jax.Array]
"""(distance, position in walk order), int32 [Q, k] each; FAR and -1 beyond the last item."""


def nearest(index: DeviceIndex, queries: Queries, *, k: int) -> Found:
    """The k nearest items of a batch; k is at most the capacity."""
    if isinstance(index.codes, Each):
        return _of_all(index, queries, k)
    if not index.hides(queries.filters):
        return runs.nearest(index.codes, index.ids, queries.codes, k=k)
    # Enough for queries that see most items. If one does not, all items are scanned.
    wide = min(3 * k + 64, index.capacity)
    distance, position = runs.nearest(index.codes, index.ids, queries.codes, k=wide)
    place = jnp.maximum(position, 0)
    filters = jax.tree.map(lambda values: values[:, None], queries.filters)
    tags = index.tags.at((place // TILE, place % TILE))
    distance = jnp.where(position >= 0, hamming.hide(distance, tags, filters), FAR)
    seen = jnp.cumsum(distance < FAR, axis=1)
    complete = (seen[:, -1] >= k) | (position[:, -1] < 0)

    def first() -> Found:
        rank = jnp.arange(1, k + 1)
        at = jax.vmap(lambda row: jnp.searchsorted(row, rank, method="scan"))(seen)
        found, at = at < wide, jnp.minimum(at, wide - 1)
        return (
            jnp.where(found, jnp.take_along_axis(distance, at, axis=1), FAR),
            jnp.where(found, jnp.take_along_axis(position, at, axis=1), -1),
        )

    return lax.cond(jnp.all(complete), first, lambda: _of_all(index, queries, k))


def _of_all(index: DeviceIndex, queries: Queries, k: int) -> Found:
    """The k nearest items, by a scan of the codes of all items in id order."""
    codes, tags = index.by_id()
    distance, item = coarse.nearest(codes, queries.codes, index.count, tags, queries.filters, k=k)
    return distance, jnp.where(item >= 0, index.place[jnp.maximum(item, 0)], -1)
