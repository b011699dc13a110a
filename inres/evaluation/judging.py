"""What is measured of one ranking, and how measures of queries become its numbers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from inres.evaluation import metrics
from inres.evaluation.relevance import GAINS, MEANS

DEEP = 1000
"""Depth of the mAP that hashing papers report."""


class Measure(NamedTuple):
    """One number of a ranking: a mean over queries."""

    key: str
    """In `Evaluation.rankings`; `{k}` stands for the length of the result list."""
    column: str
    """In `Evaluation.per_query`."""
    macro: bool
    """The mean over classes of the class mean, else the mean over queries."""


MEASURES = (
    Measure("map_macro", "average_precision", True),
    Measure("map_micro", "average_precision", False),
    Measure("map_macro_worst", "average_precision_worst", True),
    Measure("map_macro_best", "average_precision_best", True),
    Measure("map_at_r_macro", "average_precision_at_r", True),
    Measure(f"map_at_{DEEP}_macro", f"average_precision_at_{DEEP}", True),
    Measure("precision_at_{k}_macro", "precision", True),
    Measure("precision_at_{k}_micro", "precision", False),
    Measure("precision_at_{k}_macro_worst", "precision_worst", True),
    Measure("precision_at_{k}_macro_best", "precision_best", True),
    Measure("precision_at_1_macro", "precision_at_1", True),
    Measure("precision_at_5_macro", "precision_at_5", True),
    Measure("recall_at_{k}", "recall", True),
    Measure("recall_at_{k}_worst", "recall_worst", True),
    Measure("recall_at_{k}_best", "recall_best", True),
    Measure("recall_at_1", "recall_at_1", True),
    Measure("recall_at_5", "recall_at_5", True),
    Measure("ndcg_at_{k}", "ndcg", True),
    Measure("ndcg_at_{k}_worst", "ndcg_worst", True),
    Measure("ndcg_at_{k}_best", "ndcg_best", True),
    Measure("ndcg_mm_at_{k}", "ndcg_mm", True),
    Measure("ndcg_malignancy_at_{k}", "ndcg_malignancy", False),
    Measure("diameter_error_mm_at_{k}", "diameter_error_mm", False),
    Measure("malignancy_error_at_{k}", "malignancy_error", False),
    Measure("malignancy_agreement_at_{k}", "malignancy_agreement", False),
)
"""Every number of a ranking."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all judging shares."""

    classes: int
    threshold: int
    """Of the two-stage search."""
    fine: str
    """The feature that orders its pool."""
    k: int
    """Length of the result list."""
    bits: Mapping[str, int]
    """Code length of each ranking by codes."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is known of q queries and the N items of the gallery."""

    queries: Mapping[str, np.ndarray]
    """Columns [q]; those that are nowhere known are absent."""
    gallery: Mapping[str, np.ndarray]
    """Columns [N]."""
    excluded: np.ndarray
    """bool [q, N]"""
    relevance: np.ndarray
    """bool [q, N]"""
    ideals: Mapping[str, np.ndarray]
    """The ideal discounted gain [q], by measure."""

    @classmethod
    def of(
        cls,
        queries: Mapping[str, np.ndarray],
        gallery: Mapping[str, np.ndarray],
        excluded: np.ndarray,
        k: int,
    ) -> "Truth":
        """With the ideal gains of the first k."""
        ideals = {}
        for name, (column, gain) in GAINS.items():
            if column in queries:
                gains = gain(queries[column][:, None], gallery[column])
                gains[excluded] = 0
                ideals[name] = metrics.ideal_gain(gains, k)
        relevance = queries["labels"][:, None] == gallery["labels"]
        return cls(queries, gallery, excluded, relevance, ideals)

    def at(self, top: metrics.Top, column: str, value: Callable) -> np.ndarray:
        """A graded value [C] of the candidates."""
        return value(self.queries[column][top.query], self.gallery[column][top.items])


@dataclasses.dataclass(frozen=True)
class Judge:
    """Some queries with all that judging their rankings takes."""

    truth: Truth
    hamming: np.ndarray
    """int16 [q, N]"""
    fine: np.ndarray
    """float64 [q, N], squared."""
    setting: Setting

    def judge(self, name: str, found: np.ndarray) -> dict[str, np.ndarray]:
        """Every measure of one ranking by its distances [q, N]: each [q] or [q, ...]."""
        truth, k = self.truth, self.setting.k
        ranking = metrics.rank(found)
        hits = metrics.find(ranking, truth.relevance)
        top = metrics.top(ranking, k)
        out = {
            "relevant": hits.total,
            "average_precision_at_r": metrics.average_precision(hits, hits.total),
            f"average_precision_at_{DEEP}": metrics.average_precision(hits, DEEP),
        }
        for depth in (1, 5):
            out[f"precision_at_{depth}"] = metrics.precision_at(hits, depth)
            out[f"recall_at_{depth}"] = metrics.recall_at(hits, depth)
        tied = (hits.size > hits.inside).any()
        for suffix, order in (("", None), ("_worst", metrics.worst), ("_best", metrics.best)):
            if order is not None and not tied:
                out |= {name + suffix: out[name] for name in _ORDERED}
                continue
            one = hits if order is None else order(hits)
            values = (
                metrics.average_precision(one),
                metrics.precision_at(one, k),
                metrics.recall_at(one, k),
                self._class_sums(metrics.precision_recall(one)),
            )
            out |= {name + suffix: v for name, v in zip(_ORDERED, values, strict=True)}
        out |= self._graded(top)
        if name == "two_stage":
            out |= self._returned(hits, top)
        if name == self.setting.fine:
            bits = self.setting.bits["hamming"]
            out["neighbours_kept"] = metrics.neighbours_kept(ranking, self.hamming, k, bits=bits)
        if name in self.setting.bits:
            out["lookup_sizes"], out["lookup_hits"] = metrics.lookup(
                found,
                truth.relevance,
                truth.excluded,
                bits=self.setting.bits[name],
            )
        if name == "hamming":
            out["class_hamming"] = self._class_hamming()
        return out

    def _class_sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of [q, G] by class, undefined ones as 0: [1, classes, G], far less to keep."""
        member = self.truth.queries["labels"] == np.arange(self.setting.classes)[:, None]
        known = np.nan_to_num(values)
        return np.stack([known[rows].sum(axis=0) for rows in member])[None]

    def _graded(self, top: metrics.Top) -> dict[str, np.ndarray]:
        """nDCG by each kind of gain, and means over the first k; NaN where nothing is known."""
        rows, out = len(self.hamming), {}
        for name, (column, gain) in GAINS.items():
            out[name] = np.full(rows, np.nan)
            if name not in self.truth.ideals:
                continue
            gains, ideal = self.truth.at(top, column, gain), self.truth.ideals[name]
            out[name] = metrics.ndcg(top, gains, ideal)
            if name == "ndcg":
                for suffix, best in (("_worst", False), ("_best", True)):
                    order = metrics.tie_order(top, gains, descending=best)
                    untied = dataclasses.replace(
                        top, items=top.items[order], groups=np.arange(len(order))
                    )
                    out[name + suffix] = metrics.ndcg(untied, gains[order], ideal)
        for name, (column, value) in MEANS.items():
            out[name] = np.full(rows, np.nan)
            if column in self.truth.queries:
                out[name] = metrics.mean_top(top, self.truth.at(top, column, value))
        return out

    def _returned(self, hits: metrics.Hits, top: metrics.Top) -> dict[str, np.ndarray]:
        """What the two-stage search gives back, ties by lowest row."""
        k = self.setting.k
        pool = (self.hamming < self.setting.threshold) & ~self.truth.excluded
        sizes = pool.sum(axis=1)
        returned = np.minimum(sizes, k)
        query = top.query
        position = np.arange(len(query)) - top.first[query]
        shown = position < returned[query]
        at = (query[shown], position[shown])
        rows = np.full((len(sizes), k), -1, np.int64)
        bits = np.full(rows.shape, -1, np.int32)
        distance = np.full(rows.shape, np.nan)
        rows[at] = top.items[shown]
        bits[at] = self.hamming[query[shown], top.items[shown]]
        distance[at] = np.sqrt(self.fine[query[shown], top.items[shown]])
        return {
            "search_precision": metrics.hits_at(hits, returned) / np.maximum(returned, 1),
            "pool_size": sizes.astype(np.float64),
            "excluded": self.truth.excluded.sum(axis=1),
            "top": rows,
            "top_hamming": bits,
            "top_distance": distance,
        }

    def _class_hamming(self) -> np.ndarray:
        """Mean Hamming distance to the items of each class, float64 [q, classes]."""
        labels = self.truth.gallery["labels"]
        member = (labels[:, None] == np.arange(self.setting.classes)).astype(np.float64)
        allowed = ~self.truth.excluded
        total = (self.hamming * allowed) @ member  # whole numbers: exact
        count = allowed @ member
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


_ORDERED = ("average_precision", "precision", "recall", "curve")
"""Measures that are also given for the worst and the best order of ties (and nDCG)."""


def summary(
    values: Mapping[str, np.ndarray], labels: np.ndarray, k: int
) -> dict[str, float | None]:
    """The numbers of one ranking, from its measures [Q]."""
    out = {}
    for key, column, macro in MEASURES:
        mean = metrics.macro(values[column], labels) if macro else metrics.micro(values[column])
        out[key.format(k=k)] = mean
    return out
