"""Changes of a ranking by features stored in half precision."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench.random_items import RandomItems
from inres.evaluation import agreement
from inres.storage import shards, store

RANKS = (10, 100)


def all_rankings(config: ConfigDict, items: RandomItems) -> list[dict[str, Any]]:
    """Rows for the trained features as they are, and for random `items`.

    The last `config.ranked_queries` of the items are the queries, the others are searched.
    """
    rng = np.random.default_rng(config.seed + 1)
    rows = []
    if config.trained:
        wide = np.asarray(store.load(config.trained).features, np.float32)
        itself = rng.choice(len(wide), min(config.ranked_queries, len(wide)), replace=False)
        rows += rankings(config.dtypes, "trained", wide, wide[itself], itself)
    q = config.ranked_queries
    wide = np.concatenate(list(items.features()))
    name = "trained, tiled with noise" if config.trained else "clustered gaussians"
    return rows + rankings(config.dtypes, name, wide[:-q], wide[-q:], np.full(q, -1))


def rankings(
    dtypes: tuple[str, ...], data: str, wide: np.ndarray, queries: np.ndarray, itself: np.ndarray
) -> list[dict[str, Any]]:
    """Changes of the rankings of float32 queries, by stored type of the features.

    Args:
      dtypes: the stored types.
      data: description of the features, for the table.
      wide: float32 [N, D].
      queries: float32 [Q, D].
      itself: int [Q], row in `wide` of the query itself, which is left out; -1: none.
    """
    exact = wide.astype(np.float64)
    rows = []
    for dtype in dtypes:
        stored = wide.astype(shards.feature_type(dtype)).astype(np.float64)
        changes: dict[int, list[dict[str, float]]] = {k: [] for k in RANKS}
        for query, row in zip(queries.astype(np.float64), itself, strict=True):
            truth, found = distances(query, exact), distances(query, stored)
            if row >= 0:
                truth[row] = found[row] = np.inf
            for k in RANKS:
                changes[k].append(agreement.ranking_change(truth, found, k))
        for k, measured in changes.items():
            rows.append(
                {
                    "data": data,
                    "items": len(wide),
                    "queries": len(queries),
                    "dtype": dtype,
                    "k": k,
                    **{name: mean([one[name] for one in measured]) for name in measured[0]},
                    "largest_displacement": int(max(one["displacement"] for one in measured)),
                    "bytes_an_item": stored.shape[1] * shards.feature_type(dtype).itemsize,
                }
            )
    return rows


def distances(query: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances by direct difference, float64 [N]."""
    difference = features - query
    return np.einsum("nd,nd->n", difference, difference)


def mean(values: list[float]) -> float | None:
    """Mean of the values that are not NaN; None if there are none."""
    known = [value for value in values if value == value]
    return round(sum(known) / len(known), 5) if known else None
