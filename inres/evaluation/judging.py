"""Scores of one ranking for every query, and their means over queries."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from inres import vocabulary
from inres.evaluation import graded, metrics
from inres.evaluation.embedded import Embedded
from inres.evaluation.relevance import GAINS, MEANS

DEEP = 1000
"""Depth of the mAP that hashing papers report."""

HIT_SCORES: dict[str, Callable[[metrics.Hits, int], np.ndarray]] = {
    "relevant": lambda hits, k: hits.total,
    "average_precision_at_r": lambda hits, k: metrics.average_precision(hits, hits.total),
    f"average_precision_at_{DEEP}": lambda hits, k: metrics.average_precision(hits, DEEP),
    "precision_at_1": lambda hits, k: metrics.precision_at(hits, 1),
    "recall_at_1": lambda hits, k: metrics.recall_at(hits, 1),
    "precision_at_5": lambda hits, k: metrics.precision_at(hits, 5),
    "recall_at_5": lambda hits, k: metrics.recall_at(hits, 5),
}
"""Scores by column, as functions of the relevant items and k; each gives float [q].

A new score is one function here and one row in `vocabulary.METRICS`.
"""
TIE_SCORES: dict[str, Callable[[metrics.Hits, int], np.ndarray]] = {
    "average_precision": lambda hits, k: metrics.average_precision(hits),
    "precision": metrics.precision_at,
    "recall": metrics.recall_at,
}
"""Scores that are also computed for the worst and the best order of ties."""
TIE_ORDERS = ("", "_worst", "_best")
"""Suffixes of columns: expectation over all orders of ties, least and most favourable order."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """Known properties of q queries and of the N items of the gallery."""

    queries: Mapping[str, np.ndarray]
    """Columns [q]; those without any known value are absent."""
    gallery: Mapping[str, np.ndarray]
    """Columns [N]."""
    excluded: np.ndarray
    """bool [q, N]: items that a query must not find."""
    relevance: np.ndarray
    """bool [q, N]: the item's class is the query's."""
    ideals: Mapping[str, np.ndarray]
    """Ideal discounted gain [q] of the first k, by kind of nDCG."""

    @classmethod
    def of(
        cls,
        queries: Mapping[str, np.ndarray],
        gallery: Mapping[str, np.ndarray],
        excluded: np.ndarray,
        k: int,
    ) -> "Truth":
        """Compute relevance and ideal gains."""
        ideals = {}
        for name, (column, gain) in GAINS.items():
            if column in queries:
                gains = gain(queries[column][:, None], gallery[column])
                gains[excluded] = 0
                ideals[name] = graded.ideal_gain(gains, k)
        relevance = queries["labels"][:, None] == gallery["labels"]
        return cls(queries, gallery, excluded, relevance, ideals)

    def at(
        self, top: graded.Top, column: str, value: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """A graded value [C] of the candidates `top`."""
        return value(self.queries[column][top.query], self.gallery[column][top.items])


def shared_columns(
    queries: Embedded, gallery: Embedded
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Labels, diameters and ratings, [Q] and [N]; those of the queries that both sides know."""
    ours, theirs = _columns(queries), _columns(gallery)
    return {name: column for name, column in ours.items() if name in theirs}, theirs


def _columns(side: Embedded) -> dict[str, np.ndarray]:
    """Labels [N], and diameters and malignancy [N] if any value is known."""
    known = {"labels": np.asarray(side.labels)}
    for name in ("diameters_mm", "malignancy"):
        values = getattr(side, name)
        if values is not None and (np.asarray(values) > 0).any():  # NaN compares false
            known[name] = np.asarray(values, np.float64)
    return known


@dataclasses.dataclass(frozen=True)
class Order:
    """One ranking of the gallery for q queries, prepared for scoring."""

    ranking: metrics.Ranking
    hits: metrics.Hits
    top: graded.Top

    @classmethod
    def of(cls, distances: np.ndarray, truth: Truth, k: int) -> "Order":
        """Sort by `distances` [q, N]; excluded items are at `metrics.far`."""
        ranking = metrics.rank(distances)
        return cls(ranking, metrics.find(ranking, truth.relevance), graded.candidates(ranking, k))

    def tie_orders(self) -> dict[str, metrics.Hits]:
        """The relevant items by suffix in `TIE_ORDERS`; the same object if nothing ties."""
        if not (self.hits.size > self.hits.inside).any():
            return dict.fromkeys(TIE_ORDERS, self.hits)
        orders = (self.hits, metrics.worst(self.hits), metrics.best(self.hits))
        return dict(zip(TIE_ORDERS, orders, strict=True))


def scores(order: Order, truth: Truth, k: int) -> dict[str, np.ndarray]:
    """All scores of one ranking by column, each [q]."""
    out = {name: score(order.hits, k) for name, score in HIT_SCORES.items()}
    for suffix, hits in order.tie_orders().items():
        for name, score in TIE_SCORES.items():
            untied = suffix and hits is order.hits
            out[name + suffix] = out[name] if untied else score(hits, k)
    return out | graded_gains(order.top, truth) | graded_means(order.top, truth)


def graded_gains(top: graded.Top, truth: Truth) -> dict[str, np.ndarray]:
    """nDCG of the first k [q] by kind of gain; NaN if the graded property is unknown."""
    out = {}
    for name, (column, gain) in GAINS.items():
        if name not in truth.ideals:
            out[name] = np.full(len(truth.excluded), np.nan)
            continue
        gains, ideal = truth.at(top, column, gain), truth.ideals[name]
        out[name] = graded.ndcg(top, gains, ideal)
        if name == "ndcg":
            for suffix, best in (("_worst", False), ("_best", True)):
                place = graded.tie_order(top, gains, descending=best)
                untied = dataclasses.replace(
                    top, items=top.items[place], groups=np.arange(len(place))
                )
                out[name + suffix] = graded.ndcg(untied, gains[place], ideal)
    return out


def graded_means(top: graded.Top, truth: Truth) -> dict[str, np.ndarray]:
    """Means of graded values over the first k [q]; NaN if the property is unknown."""
    return {
        name: graded.mean_top(top, truth.at(top, column, value))
        if column in truth.queries
        else np.full(len(truth.excluded), np.nan)
        for name, (column, value) in MEANS.items()
    }


def curve_sums(order: Order, labels: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Sums over the queries of each class of the precision-recall curves.

    Sums take far less memory than the curves. Undefined curves count as 0.

    Args:
      order: the ranking of q queries.
      labels: int [q].
      classes: number of classes.

    Returns:
      [1, classes, G] by suffix in `TIE_ORDERS`.
    """
    member = labels == np.arange(classes)[:, None]
    out: dict[str, np.ndarray] = {}
    for suffix, hits in order.tie_orders().items():
        if suffix and hits is order.hits:
            out[suffix] = out[""]
            continue
        known = np.nan_to_num(metrics.precision_recall(hits))
        out[suffix] = np.stack([known[rows].sum(axis=0) for rows in member])[None]
    return out


def summary(
    values: Mapping[str, np.ndarray], labels: np.ndarray, k: int
) -> dict[str, float | None]:
    """The numbers of one ranking from its scores [Q], by key in `metrics.json`."""
    return {
        mean.key.format(k=k): metrics.macro(values[metric.column], labels)
        if mean.macro
        else metrics.micro(values[metric.column])
        for metric, mean in vocabulary.means()
    }
