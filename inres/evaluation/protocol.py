"""The retrieval protocol: every ranking of the gallery, scored by every metric.

Queries and gallery are given as labels, codes and features (`Embedded`); nothing here knows a
network. A query never finds items of its own group, usually its scan, unless the settings say so.
All rankings are scored by the same tie-exact metrics (`inres.evaluation.metrics`), so that no
result depends on the order of the gallery.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from inres.evaluation import classification, judging, metrics, pools, similarity
from inres.evaluation.code_statistics import code_statistics
from inres.evaluation.distances import Distances
from inres.evaluation.embedded import Embedded
from inres.evaluation.scoring import Scored, score_rankings
from inres.evaluation.settings import Settings


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`. Unknown numbers are None."""

    rankings: dict[str, dict[str, float | None]]
    """By ranking and key in `metrics.json`."""
    pool: dict[str, float]
    """Of the candidate pools, without the query's own group: `mean_size`, `mean_share` of the
    gallery, `empty_share`, `mean_threshold` and `neighbours_kept`, the share of the gallery's k
    nearest items by the fine feature that the two-stage search returns."""
    paper: dict[str, float]
    """`search_precision`: mean over all queries of the share of relevant items among the first k
    of the two-stage search."""
    classification: dict[str, Any] | None
    """`accuracy`, `macro_recall`, `per_class` (a list) of the argmax of FC3; None without FC3."""
    confusion: np.ndarray | None
    """int64 [classes, classes]: queries by true class (row) and predicted class (column)."""
    correct: np.ndarray | None
    """bool [Q]: the argmax of FC3 is the query's class; None without FC3."""
    curves: dict[str, np.ndarray]
    """`recall` [G] and, by ranking, the macro mean of interpolated precision [G]; `worst/NAME` and
    `best/NAME` are those of the worst and the best order of ties."""
    pools: dict[str, np.ndarray]
    """By Hamming threshold 1..h+1: `threshold`, macro `precision` (0 for an empty pool), macro
    `recall`, `mean_size`, `empty_share` and `neighbours_kept`, the share of the gallery's k nearest
    items by the fine feature that the two-stage search returns."""
    lookups: dict[str, dict[str, np.ndarray]]
    """For rankings by codes: their pools, as `pools` without `neighbours_kept`."""
    lookup: dict[str, dict[str, float | None]]
    """For rankings by codes: `precision_macro`, `precision_micro`, `recall_macro` and
    `empty_share` of all items within Hamming radius 2; an empty lookup has precision 0."""
    codes: dict[str, dict[str, float | int | None]]
    """For rankings by codes: `code_statistics` of the gallery."""
    class_hamming: np.ndarray
    """float64 [classes, classes]: mean Hamming distance of the queries of a class (row) to the
    items of a class (column); NaN if there are none."""
    top: np.ndarray
    """int64 [Q, k]: gallery rows that the two-stage search returns, nearest first, ties by lowest
    row; -1 beyond the end of the pool."""
    top_hamming: np.ndarray
    """int32 [Q, k], -1 where nothing is returned."""
    top_distance: np.ndarray
    """float64 [Q, k]: Euclidean distance of the fine feature, NaN where nothing is returned."""
    per_query: dict[str, dict[str, np.ndarray]]
    """By ranking and column, float64 [Q], NaN where undefined."""
    counts: dict[str, Any]
    """Settings and sizes: `queries`, `gallery`, `classes`, `bits`, `threshold`, `least_pool`, `k`,
    `fine`, `own_scan` (`Settings.own_group`), `properties` (`scale` and `weight` of each),
    `excluded_pairs` (of one group) and `queries_without_relevant`, which are left out of all means
    over rankings."""


def evaluate(queries: Embedded, gallery: Embedded, settings: Settings) -> Evaluation:
    """Rank `gallery` for every query in every way, and score the rankings.

    An item is relevant if its class is the query's. Memory is bounded: queries are processed in
    parts, each on all cores. `vocabulary.METRICS` lists the metrics; those of the first k results
    have names that end in the value of k (`precision_at_10_macro`).

    Diameter error: queries are the nodules of known diameter; the expected mean over the first k
    of |diameter difference| in mm, where a normal item counts as 0 mm (returning a normal for a
    20 mm nodule is an error of 20 mm) and items of unknown diameter do not count.

    Args:
      queries: test items.
      gallery: the archive.
      settings: what is searched, and how.

    Raises:
      ValueError: a label is unknown or out of range, or the two sides do not match.
    """
    _check(queries, gallery, settings)
    distances = Distances(queries, gallery, settings)
    compared = similarity.Compared.of(queries, gallery, settings)
    scored = score_rankings(queries, gallery, distances, compared, settings)
    labels, classes = queries.labels, settings.classes
    classified = None
    if "fc3" in queries.features:
        classified = classification.classify(queries.features["fc3"], labels, classes)
    per_query = {name: _per_query(name, one, classified) for name, one in scored.items()}
    sweeps = _sweeps(scored, distances.bits, labels)
    found = _present(scored["two_stage"].returned)
    kept = _present(scored[settings.fine].neighbours_kept)
    hamming = _present(scored["hamming"].class_hamming)
    return Evaluation(
        rankings={n: judging.summary(one, labels, settings.k) for n, one in per_query.items()},
        pool={
            "mean_size": float(found.pool_size.mean()),
            "mean_share": float(found.pool_size.mean()) / len(gallery),
            "empty_share": float((found.pool_size == 0).mean()),
            "mean_threshold": float(found.limits.mean()),
            "neighbours_kept": float(np.nanmean(_at_limits(kept, found.limits))),
        },
        paper={"search_precision": math.fsum(found.precision) / len(queries)},
        classification=None if classified is None else classified.scores,
        confusion=None if classified is None else classified.confusion,
        correct=None if classified is None else classified.correct,
        curves=_curves(scored, labels, classes),
        pools={**sweeps["hamming"], "neighbours_kept": metrics.column_means(kept)},
        lookups=sweeps,
        lookup={
            name: _radius_row(per_query[name]["precision_in_radius"], sweep, labels)
            for name, sweep in sweeps.items()
        },
        codes={
            name: {key: _known(value) for key, value in code_statistics(code).items()}
            for name, (_, code) in distances.codes.items()
        },
        class_hamming=metrics.class_means(hamming, labels, classes),
        top=found.rows,
        top_hamming=found.hamming,
        top_distance=found.distance,
        per_query=per_query,
        counts={
            "queries": len(queries),
            "gallery": len(gallery),
            "classes": settings.classes,
            "bits": distances.bits["hamming"],
            "threshold": settings.threshold,
            "least_pool": settings.least_pool,
            "k": settings.k,
            "fine": settings.fine,
            "own_scan": settings.own_group,
            "properties": compared.described(),
            "excluded_pairs": int(found.excluded.sum()),
            "queries_without_relevant": int((scored["two_stage"].scores["relevant"] == 0).sum()),
        },
    )


def _at_limits(kept: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Of `neighbours_kept` [Q, bits + 1], the column of each query's threshold, [Q]."""
    column = np.minimum(limits, kept.shape[1]) - 1
    return kept[np.arange(len(kept)), column]


def _check(queries: Embedded, gallery: Embedded, settings: Settings) -> None:
    for name, side in (("queries", queries), ("gallery", gallery)):
        labels = np.asarray(side.labels)
        if labels.min() < 0 or labels.max() >= settings.classes:
            bad = int(np.sum((labels < 0) | (labels >= settings.classes)))
            raise ValueError(
                f"{bad} {name} have a class outside 0..{settings.classes - 1} (-1 is unknown); "
                "leave unlabelled items out of an evaluation"
            )
        if settings.fine not in side.features:
            raise ValueError(
                f"no features {settings.fine!r} in {name} (has {', '.join(side.features)})"
            )
    for name, code in queries.all_codes.items():
        other = gallery.all_codes.get(name)
        if other is not None and other.shape[1] != code.shape[1]:
            raise ValueError(
                f"codes of {code.shape[1]} bits in queries, {other.shape[1]} in gallery ({name})"
            )
    if not 0 <= settings.least_pool <= 1:
        raise ValueError(f"least_pool is {settings.least_pool}: must be a share between 0 and 1")
    if settings.threshold < 1:
        raise ValueError(
            f"threshold is {settings.threshold}: must be at least 1, or every pool is empty"
        )


def _per_query(
    name: str, scored: Scored, classified: classification.Classification | None
) -> dict[str, np.ndarray]:
    """All scores of the ranking `name` by column, each [Q]."""
    out = dict(scored.scores)
    if scored.returned is not None:
        out["search_precision"] = scored.returned.precision
        out["pool_size"] = scored.returned.pool_size
    if scored.lookup is not None:
        out["precision_in_radius"] = pools.precision_in_radius(scored.lookup, out["relevant"])
    if name == "fc3" and classified is not None:
        out["correct"] = classified.correct.astype(np.float64)
    return out


def _sweeps(
    scored: Mapping[str, Scored], names: Iterable[str], labels: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """`Evaluation.lookups` of the rankings `names`, which are by codes."""
    out = {}
    for name in names:
        one = scored[name]
        out[name] = pools.sweep(_present(one.lookup), one.scores["relevant"], labels)
    return out


def _radius_row(
    precision: np.ndarray, sweep: Mapping[str, np.ndarray], labels: np.ndarray
) -> dict[str, float | None]:
    """One entry of `Evaluation.lookup`."""
    column = min(pools.RADIUS, len(sweep["recall"]) - 1)
    return {
        "precision_macro": metrics.macro(precision, labels),
        "precision_micro": metrics.micro(precision),
        "recall_macro": _known(sweep["recall"][column]),
        "empty_share": float(sweep["empty_share"][column]),
    }


def _curves(
    scored: Mapping[str, Scored], labels: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """`Evaluation.curves`, from the sums over the queries of each class."""
    curves = {"recall": metrics.RECALL_GRID}
    for name, one in scored.items():
        counts = np.bincount(labels[one.scores["relevant"] > 0], minlength=classes)
        there = counts > 0
        for suffix, sums in one.curves.items():
            prefix = f"{suffix.removeprefix('_')}/" if suffix else ""
            means = sums.sum(axis=0)[there] / counts[there, None]
            curves[prefix + name] = metrics.column_means(means)
    return curves


T = TypeVar("T")


def _present(value: T | None) -> T:
    """A result that this ranking always has."""
    assert value is not None
    return value


def _known(value: float) -> float | None:
    """None for NaN."""
    return None if value != value else value
