"""The retrieval protocol: which items a query may find, every ranking, every measure.

Queries and gallery go in as the network sees them (`Embedded`); nothing here knows a network.
Items of the query's own scan are never returned unless asked for. All rankings are judged by
the same tie-exact measures (`inres.evaluation.metrics`), so no figure depends on the order of
the gallery.
"""

import dataclasses
import itertools
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from inres.evaluation import judging, metrics
from inres.evaluation.distances import Distances, Part, columns, log_softmax, same_scan
from inres.evaluation.embedded import Embedded

RADIUS = 2
"""Hamming radius of the lookup that is reported as one number."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found. Unknown numbers are None."""

    rankings: dict[str, dict[str, float | None]]
    """By ranking: every measure of `MEASURES`."""
    pool: dict[str, float]
    """`mean_size` and `empty_share` of the candidate pools, own scan left out."""
    paper: dict[str, float]
    """`search_precision`: mean over all queries of hits / returned in the two-stage top k."""
    classification: dict[str, Any] | None
    """`accuracy`, `macro_recall`, `per_class` (a list) of the argmax of FC3; None without FC3."""
    confusion: np.ndarray | None
    """int64 [classes, classes], rows the truth, columns the predicted class."""
    correct: np.ndarray | None
    """bool [Q]: the argmax of FC3 is the query's class; None without FC3."""
    curves: dict[str, np.ndarray]
    """`recall` [G] and, by ranking, the macro mean of interpolated precision [G]; that of the
    worst and best order of ties under `worst/NAME` and `best/NAME`."""
    pools: dict[str, np.ndarray]
    """By Hamming threshold 1..h+1: `threshold`, macro `precision` (0 for an empty pool), macro
    `recall`, `mean_size`, `empty_share`, and `neighbours_kept`: the share of the k nearest by
    the fine feature, over the whole gallery, that the two-stage search returns."""
    lookups: dict[str, dict[str, np.ndarray]]
    """By ranking by codes: its pools, as `pools` but for `neighbours_kept`."""
    lookup: dict[str, dict[str, float | None]]
    """By ranking by codes: `precision_macro`, `precision_micro`, `recall_macro` and
    `empty_share` of all items within Hamming radius 2; an empty lookup has precision 0."""
    codes: dict[str, dict[str, float | int | None]]
    """By ranking by codes: `metrics.code_statistics` of the gallery."""
    class_hamming: np.ndarray
    """float64 [classes, classes]: mean Hamming distance of the queries of a class (row) to the
    items of a class (column); NaN where there is none."""
    top: np.ndarray
    """int64 [Q, k]: gallery rows of the two-stage search, nearest first, ties by lowest row; -1
    where the pool has fewer."""
    top_hamming: np.ndarray
    """int32 [Q, k], -1 where nothing is returned."""
    top_distance: np.ndarray
    """float64 [Q, k]: Euclidean distance of the fine feature, NaN where nothing is returned."""
    per_query: dict[str, dict[str, np.ndarray]]
    """By ranking and measure, float64 [Q], NaN where undefined."""
    counts: dict[str, Any]
    """`queries`, `gallery`, `classes`, `bits`, `threshold`, `k`, `fine`, `own_scan` as given,
    `excluded_pairs` (of one scan) and `queries_without_relevant`, which no mean over rankings
    contains."""


def _check(queries: Embedded, gallery: Embedded, classes: int, threshold: int, fine: str) -> None:
    for name, side in (("queries", queries), ("gallery", gallery)):
        labels = np.asarray(side.labels)
        if labels.min() < 0 or labels.max() >= classes:
            bad = int(np.sum((labels < 0) | (labels >= classes)))
            raise ValueError(
                f"{bad} {name} have a class outside 0..{classes - 1} (-1 is unknown); "
                "leave unlabelled items out of an evaluation"
            )
        if fine not in side.features:
            raise ValueError(f"no features {fine!r} in {name} (has {', '.join(side.features)})")
    for name, code in queries.all_codes.items():
        other = gallery.all_codes.get(name)
        if other is not None and other.shape[1] != code.shape[1]:
            raise ValueError(
                f"codes of {code.shape[1]} bits in queries, {other.shape[1]} in gallery ({name})"
            )
    if threshold < 1:
        raise ValueError(f"threshold is {threshold}: must be at least 1, or every pool is empty")


# --- the protocol -------------------------------------------------------------------------------


def evaluate(
    queries: Embedded,
    gallery: Embedded,
    *,
    classes: int,
    threshold: int,
    fine: str = "fc1",
    k: int = 10,
    own_scan: bool = False,
) -> Evaluation:
    """Search `gallery` for every query by every ranking and judge the results.

    An item is relevant if its class is the query's. Memory is bounded: queries are taken in
    parts, each judged on all cores. Measures are defined in `metrics`; those over the top k
    stand under names that end in the k asked for (`precision_at_10_macro`).

    Diameter error: queries are the nodules of known diameter; the expected mean over the top k
    of |diameter difference| in mm, where a normal item counts as 0 mm (returning a normal for a
    20 mm nodule is an error of 20 mm) and items of unknown diameter do not count.

    Args:
      queries: test items.
      gallery: the archive.
      classes: number of classes; labels are 0..classes - 1.
      threshold: the pool holds items with a Hamming distance below it.
      fine: the feature that orders the pool.
      k: length of the result list.
      own_scan: let items of the query's own scan be found.

    Raises:
      ValueError: a label is unknown or out of range, or the sides do not fit each other.
    """
    _check(queries, gallery, classes, threshold, fine)
    distances = Distances(queries, gallery, threshold=threshold, fine=fine)
    setting = judging.Setting(classes, threshold, fine, k, distances.bits)
    per_query = _judged(queries, gallery, distances, setting, own_scan=own_scan)
    labels = queries.labels
    two = per_query["two_stage"]
    lookups, lookup = _lookups(per_query, labels, setting.bits)
    kept = per_query[fine].pop("neighbours_kept")
    top, top_hamming, top_distance = (
        two.pop(key) for key in ("top", "top_hamming", "top_distance")
    )
    class_hamming = _macro_rows(per_query["hamming"].pop("class_hamming"), labels, classes)
    curves = _curves(per_query, labels, classes)
    classification, confusion, correct = None, None, None
    if "fc3" in queries.features:
        predicted = queries.features["fc3"].argmax(axis=1)
        confusion, correct = _confusion(labels, predicted, classes), predicted == labels
        classification = _classification(queries, confusion)
    return Evaluation(
        rankings={n: judging.summary(values, labels, k) for n, values in per_query.items()},
        pool={
            "mean_size": float(two["pool_size"].mean()),
            "empty_share": float((two["pool_size"] == 0).mean()),
        },
        paper={"search_precision": math.fsum(two["search_precision"]) / len(queries)},
        classification=classification,
        confusion=confusion,
        correct=correct,
        curves=curves,
        pools={**lookups["hamming"], "neighbours_kept": _column_means(kept)},
        lookups=lookups,
        lookup=lookup,
        codes={
            name: {key: _known(value) for key, value in metrics.code_statistics(code).items()}
            for name, (_, code) in distances.codes.items()
        },
        class_hamming=class_hamming,
        top=top,
        top_hamming=top_hamming,
        top_distance=top_distance,
        per_query=per_query,
        counts={
            "queries": len(queries),
            "gallery": len(gallery),
            "classes": classes,
            "bits": setting.bits["hamming"],
            "threshold": threshold,
            "k": k,
            "fine": fine,
            "own_scan": own_scan,
            "excluded_pairs": int(two.pop("excluded").sum()),
            "queries_without_relevant": int((two["relevant"] == 0).sum()),
        },
    )


_PerQuery = dict[str, dict[str, np.ndarray]]
"""By ranking and measure, [Q] or [Q, ...]."""


def _judged(
    queries: Embedded,
    gallery: Embedded,
    distances: Distances,
    setting: judging.Setting,
    *,
    own_scan: bool,
) -> _PerQuery:
    """Every ranking of every query, judged; the queries in parts, each part on all cores."""
    mine, theirs = same_scan(queries.scans, gallery.scans)
    known, archive = columns(queries), columns(gallery)
    known = {name: known[name] for name in known.keys() & archive.keys()}
    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    waiting: deque[tuple[str, Iterator[dict[str, np.ndarray]]]] = deque()

    def take() -> None:
        name, judged = waiting.popleft()
        parts.setdefault(name, []).extend(judged)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for rows in metrics.chunks(len(queries), len(gallery), cells=_CELLS):
            excluded = (mine[rows, None] == theirs) & (not own_scan)
            part = distances.part(rows, excluded)
            # A thread takes some of the rows at a time: what it holds is small.
            cuts = list(metrics.chunks(*excluded.shape))

            def judge(cut: slice, rows: slice = rows, part: Part = part) -> judging.Judge:
                asked = {name: column[rows][cut] for name, column in known.items()}
                truth = judging.Truth.of(asked, archive, part.excluded[cut], setting.k)
                return judging.Judge(truth, part.hamming[cut], part.fine[cut], setting)

            spread = threads.map if len(cuts) > 1 else map
            judges = list(spread(judge, cuts))
            for name, found in distances.each(part):
                each = [found[cut] for cut in cuts]
                judged = spread(judging.Judge.judge, judges, itertools.repeat(name), each)
                # One ranking is judged while the distances of the next are made.
                waiting.append((name, judged))
                if len(waiting) > 1:
                    take()
            take()
    return {
        name: {key: np.concatenate([part[key] for part in found]) for key in found[0]}
        for name, found in parts.items()
    }


def _lookups(
    per_query: _PerQuery, labels: np.ndarray, bits: Mapping[str, int]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, float | None]]]:
    """`Evaluation.lookups` and `Evaluation.lookup`; adds `precision_in_radius` [Q]."""
    lookups, lookup = {}, {}
    for name, width in bits.items():
        values = per_query[name]
        sizes, hits = (values.pop(key) for key in ("lookup_sizes", "lookup_hits"))
        lookups[name] = _pool_sweep(sizes, hits, values["relevant"], labels)
        column = min(RADIUS, width)
        share = hits[:, column] / np.maximum(sizes[:, column], 1)
        precision = np.where(values["relevant"] > 0, share, np.nan)
        values["precision_in_radius"] = precision
        lookup[name] = {
            "precision_macro": metrics.macro(precision, labels),
            "precision_micro": metrics.micro(precision),
            "recall_macro": _known(lookups[name]["recall"][column]),
            "empty_share": float(lookups[name]["empty_share"][column]),
        }
    return lookups, lookup


def _curves(per_query: _PerQuery, labels: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """`Evaluation.curves`, from the sums by class of each part of the queries."""
    curves = {"recall": metrics.RECALL_GRID}
    for name, values in per_query.items():
        scored = np.bincount(labels[values["relevant"] > 0], minlength=classes)
        there = scored > 0
        for suffix, prefix in (("", ""), ("_worst", "worst/"), ("_best", "best/")):
            sums = values.pop("curve" + suffix).sum(axis=0)
            curves[prefix + name] = _column_means(sums[there] / scored[there, None])
    return curves


_CELLS = 1 << 23
"""Cells of the distances [q, N] that are held at once."""


def _known(value: float) -> float | None:
    """None for NaN."""
    return None if value != value else value


def _column_means(values: np.ndarray) -> np.ndarray:
    """Mean of the known values of each column of [Q, G]; NaN where there is none."""
    means = [metrics.micro(column) for column in values.T]
    return np.array([np.nan if mean is None else mean for mean in means])


def _macro_rows(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean of the rows of each class of [Q, G], as [classes, G]; NaN where there is none."""
    out = np.full((classes, values.shape[1]), np.nan)
    for label in np.unique(labels):
        out[label] = _column_means(values[labels == label])
    return out


def _macro_columns(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Macro mean of each column of [Q, G]; NaN where no query counts."""
    means = [metrics.macro(column, labels) for column in values.T]
    return np.array([np.nan if mean is None else mean for mean in means])


def _pool_sweep(
    sizes: np.ndarray, hits: np.ndarray, relevant: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Pools [Q, h + 1] by threshold, averaged over the queries that have relevant items."""
    known = relevant > 0
    out = {"threshold": np.arange(1, sizes.shape[1] + 1)}
    counts = np.where(known, relevant, 1)[:, None]
    for name, values in (
        ("precision", hits / np.maximum(sizes, 1)),
        ("recall", hits / counts),
    ):
        out[name] = _macro_columns(np.where(known[:, None], values, np.nan), labels)
    out["mean_size"] = sizes.mean(axis=0)
    out["empty_share"] = (sizes == 0).mean(axis=0)
    return out


def _confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes, classes]: queries by true class (row) and predicted class (column)."""
    known = np.minimum(predicted, classes - 1)
    return np.bincount(truth * classes + known, minlength=classes**2).reshape(classes, classes)


def _classification(queries: Embedded, confusion: np.ndarray) -> dict[str, Any]:
    """Scores of the FC3 classifier over the queries; a class without queries has None."""
    scores = log_softmax(queries.features["fc3"])
    relevance = np.arange(scores.shape[1])[:, None] == queries.labels
    hits = metrics.find(metrics.rank(-scores.T), relevance)
    precisions = metrics.average_precision(hits)
    per_class = []
    for label, row in enumerate(confusion):
        right, support, named = int(row[label]), int(row.sum()), int(confusion[:, label].sum())
        per_class.append(
            {
                "class": label,
                "support": support,
                "recall": right / support if support else None,
                "precision": right / named if named else None,
                "f1": 2 * right / (support + named) if support else None,
                "average_precision": float(precisions[label]) if support else None,
            }
        )
    recalls = [row["recall"] for row in per_class if row["recall"] is not None]
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "macro_recall": float(np.mean(recalls)),
        "per_class": per_class,
    }
