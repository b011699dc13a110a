"""Retrieval of whole nodules: all slices of a nodule are one query, their distances averaged."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from inres import vocabulary
from inres.evaluation import intervals, judging, runs, similarity
from inres.evaluation.distances import Distances
from inres.evaluation.embedded import Embedded
from inres.evaluation.groups import Exclusion
from inres.evaluation.settings import Settings
from inres.system.together import in_turn, sharers

FOLDER = "nodules"
"""Folder of the per-query results by nodule, inside the folder of the evaluation."""
TABLE_COLUMNS = ("average_precision", "precision", "ndcg", "diameter_error_mm")
"""Metrics of the table `by_nodule`; each as its first mean in the vocabulary."""

_CELLS = 1 << 22
"""Number of distances [q, N] held at once."""


@dataclasses.dataclass(frozen=True)
class Units:
    """Which of N items are slices of one nodule; an item without a nodule is a unit by itself."""

    order: np.ndarray
    """int64 [N]: the items, nodule by nodule."""
    starts: np.ndarray
    """int64 [M]: where each nodule begins in that order."""

    @classmethod
    def of(cls, side: Embedded) -> "Units":
        """Group items by scan and nodule name."""
        alone = [f"\n{row}" for row in range(len(side))]
        named = alone if side.nodules is None else np.where(side.nodules == "", alone, side.nodules)
        keys = np.char.add(np.char.add(np.asarray(side.scans, str), "\n"), np.asarray(named, str))
        _, number = np.unique(keys, return_inverse=True)
        order = np.argsort(number, kind="stable")
        return cls(order, np.flatnonzero(np.diff(number[order], prepend=-1)))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def sizes(self) -> np.ndarray:
        """Number of slices of each nodule, int64 [M]."""
        return np.diff(self.starts, append=len(self.order))


@dataclasses.dataclass(frozen=True)
class NoduleEvaluation:
    """Result of `evaluate`; a query is a nodule."""

    rankings: dict[str, dict[str, float | None]]
    """By ranking and key in `metrics.json`."""
    per_query: dict[str, dict[str, np.ndarray]]
    """By ranking and column, float64 [Q], NaN where undefined."""
    first: np.ndarray
    """int64 [Q]: one slice of each query nodule, as a row of the queries."""
    counts: dict[str, Any]
    """`queries` and `gallery` in nodules, and `slices` of both."""


def mixed_nodule(side: Embedded) -> str:
    """The first nodule whose slices differ in class, as `scan/nodule`; empty if there is none."""
    units = Units.of(side)
    labels = side.labels[units.order]
    wrong = np.flatnonzero(np.repeat(labels[units.starts], units.sizes) != labels)
    if side.nodules is None or not len(wrong):
        return ""
    row = units.order[wrong[0]]
    return f"{side.scans[row]}/{side.nodules[row]}".lstrip("/")


def evaluate(queries: Embedded, gallery: Embedded, settings: Settings) -> NoduleEvaluation | None:
    """Rank nodules by all their slices, for every nodule as a query, and score the rankings.

    The distance of two nodules is the mean distance over all pairs of their slices (a sum of
    scores: Fox and Shaw 1994, "Combination of multiple searches", CombSUM; average linkage in
    clustering). The two stages are those of slices: nodules whose mean Hamming distance is below
    the threshold, by mean distance of the fine feature; then the others by mean Hamming distance.

    Args:
      queries: test items.
      gallery: the archive.
      settings: as for `protocol.evaluate`.

    Returns:
      None if no nodule has several slices, or if slices of one nodule differ in class, so that a
      nodule is not a unit of retrieval.
    """
    ours, theirs = Units.of(queries), Units.of(gallery)
    if max(ours.sizes.max(), theirs.sizes.max()) < 2:
        return None
    if mixed_nodule(queries) or mixed_nodule(gallery):
        return None
    queries, gallery = queries.take(ours.order), gallery.take(theirs.order)
    heads, archive = queries.take(ours.starts), gallery.take(theirs.starts)
    distances = Distances(queries, gallery, settings)
    known, stored = judging.shared_columns(heads, archive)
    compared = similarity.Compared.of(heads, archive, settings)
    exclusion = Exclusion.of(heads, archive, own_group=settings.own_group)

    def score(chosen: slice) -> dict[str, dict[str, np.ndarray]]:
        excluded = exclusion.rows(chosen)
        mine = {name: column[chosen] for name, column in known.items()}
        truth = judging.Truth.of(mine, stored, excluded, settings.k)
        wanted = compared.wanted(chosen, excluded=excluded, relevance=truth.relevance, k=settings.k)
        scores = {}
        for name, found in _mean_distances(distances, ours, theirs, chosen, excluded).items():
            found[excluded] = np.inf
            order = judging.Order.of(found, truth, settings.k)
            scores[name] = judging.scores(order, truth, settings.k)
            scores[name] |= similarity.scores(name, order.top, wanted)
        return scores

    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    for scores in in_turn(score, _parts(ours, len(gallery))):
        for name, scored in scores.items():
            parts.setdefault(name, []).append(scored)
    # Scores without a mean, such as the number of relevant items, are not kept.
    unused = {metric.column for metric in vocabulary.METRICS if not metric.means}
    per_query = {
        name: {
            column: np.concatenate([part[column] for part in found])
            for column in found[0]
            if column not in unused
        }
        for name, found in parts.items()
    }
    return NoduleEvaluation(
        rankings={n: judging.summary(v, heads.labels, settings.k) for n, v in per_query.items()},
        per_query=per_query,
        first=ours.order[ours.starts],
        counts={
            "queries": len(ours),
            "gallery": len(theirs),
            "slices": [len(queries), len(gallery)],
        },
    )


def _parts(units: Units, items: int) -> list[slice]:
    """Split the nodules into parts of at most `_CELLS` distances, or of one nodule.

    There is a part for each process that shares the work.
    """
    most = min(_CELLS, -(-int(units.sizes.sum()) // sharers()) * items)
    parts, first, rows = [], 0, 0
    for unit, size in enumerate(units.sizes):
        if rows and (rows + size) * items > most:
            parts.append(slice(first, unit))
            first, rows = unit, 0
        rows += int(size)
    return [*parts, slice(first, len(units))]


def _mean_distances(
    distances: Distances, queries: Units, gallery: Units, chosen: slice, excluded: np.ndarray
) -> dict[str, np.ndarray]:
    """Mean distances of the query nodules `chosen` to all nodules by ranking, float64 [u, M].

    Nodules that are `excluded`, bool [u, M], are in no pool.
    """
    starts, sizes = queries.starts[chosen], queries.sizes[chosen]
    rows = slice(int(starts[0]), int(starts[-1] + sizes[-1]))
    nothing = np.zeros((rows.stop - rows.start, len(gallery.order)), bool)
    means = {}
    for name, found in distances.each(distances.part(rows, nothing)):
        if name == "two_stage":
            means[name] = np.empty(0)  # computed below, but first in the order of tables
            continue
        one = np.sqrt(found) if name in distances.euclidean else found.astype(np.float64)
        total = np.add.reduceat(one, gallery.starts, axis=1)
        total = np.add.reduceat(total, starts - starts[0], axis=0)
        means[name] = total / (sizes[:, None] * gallery.sizes)
    fine, hamming = means[distances.fine], means["hamming"]
    # The pool lies below 1, in the order of the fine distance; the others from 1 on.
    inside = fine / np.nextafter(fine.max(initial=0.0), np.inf)
    limits = distances.limits(hamming, excluded)[:, None]
    means["two_stage"] = np.where(hamming < limits, inside, 1.0 + hamming)
    return means


def query_run(
    found: NoduleEvaluation, queries: Embedded, names: np.ndarray, patients: np.ndarray
) -> runs.Run:
    """The results query by query, where a query is a nodule.

    Args:
      found: from `evaluate`.
      queries: the slices that were given to it.
      names: str [Q], name of each slice; used for items without a nodule.
      patients: str [Q], patient of each slice.
    """
    nodules = np.full(len(queries), "") if queries.nodules is None else queries.nodules
    return runs.Run(
        names=np.array([f"{queries.scans[r]}/{nodules[r] or names[r]}" for r in found.first], str),
        patients=patients[found.first],
        labels=queries.labels[found.first],
        values=found.per_query,
    )


def table_rows(run: runs.Run) -> list[dict[str, Any]]:
    """A row for each ranking: means over query nodules, with intervals over patients.

    Each of `TABLE_COLUMNS` has its mean under its name and the ends of the interval under the
    name with `_low` and `_high`.
    """
    rows = []
    for name in run.values:
        row: dict[str, Any] = {"ranking": name}
        for column in TABLE_COLUMNS:
            labels = run.labels if vocabulary.metric(column).means[0].macro else None
            values = {column: run.measure(name, column)}
            found = intervals.mean_intervals(values, run.patients, labels)[column].as_json()
            row |= {
                column: found["value"],
                f"{column}_low": found["low"],
                f"{column}_high": found["high"],
            }
        rows.append(row)
    return rows


def table_titles(columns: Sequence[str] = TABLE_COLUMNS) -> dict[str, str]:
    """Titles of the columns of `table_rows`, such as `macro mAP, low`."""
    titles = {"ranking": "ranking"}
    for column in columns:
        title = vocabulary.metric(column).means[0].title.format(k=10)
        titles |= {
            column: title,
            f"{column}_low": f"{title}, low",
            f"{column}_high": f"{title}, high",
        }
    return titles
