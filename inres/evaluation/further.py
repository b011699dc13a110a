"""What is judged beside the search for single items: whole nodules, and orders within a class."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inres.evaluation import intervals, judging, nodules, runs, within_class
from inres.evaluation.embedded import Embedded
from inres.figures.rankings import RANKING_NAMES
from inres.system import tables

NODULE_MEASURES = {
    "average_precision": "macro mAP",
    "precision": "macro P@10",
    "ndcg": "macro nDCG@10",
    "diameter_error_mm": "mm@10",
}
"""Of the table by nodule; the last is a mean over queries."""
CLASS_PREFIX = "class_"
"""Before the names of measures within a class, among those of a query."""
MATCHED = "matched_slices_error"
"""The measure of a query that `within_class.matched_slices` gives."""
QUERY_MEASURES = (
    *dict.fromkeys(measure.column for measure in judging.MEASURES),
    *("search_precision", "pool_size", "precision_in_radius"),
    *(f"{CLASS_PREFIX}{name}" for name in within_class.MEASURES),
    MATCHED,
)
"""Every measure in `per_query.npz` that says how good a ranking is, or how large a pool."""
FOLDER = "nodules"
"""Of the run by nodule, in the folder of the evaluation."""


@dataclasses.dataclass(frozen=True)
class Further:
    """Rows of tables, and the values of single queries that they are means of."""

    within_class: list[dict[str, Any]]
    """Rows of `within_class.compared`."""
    by_nodule: list[dict[str, Any]]
    """A row a ranking: `NODULE_MEASURES`, each with `_low` and `_high`; empty where a nodule is
    one slice."""
    counts: Mapping[str, Any] | None
    """Of the search by nodule."""
    per_query: dict[str, dict[str, np.ndarray]]
    """By ranking and measure, float64 [Q], to stand with those of the evaluation."""
    nodule_run: runs.Run | None
    """The search by nodule, query by query."""
    mixed: str = ""
    """A nodule whose slices differ in class, for which there is no search by nodule."""

    def joined(
        self, per_query: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, dict[str, np.ndarray]]:
        """The values of single queries, of the evaluation and these."""
        return {n: {**values, **self.per_query[n]} for n, values in per_query.items()}

    def as_json(self) -> dict[str, Any]:
        """As it stands in `metrics.json`."""
        by_nodule = {"rankings": self.by_nodule, **self.counts} if self.counts else None
        return {"within_class": self.within_class, "by_nodule": by_nodule}


def judge(
    queries: Embedded,
    gallery: Embedded,
    patients: np.ndarray,
    names: np.ndarray,
    *,
    counts: Mapping[str, Any],
) -> Further:
    """Judge both.

    Args:
      queries, gallery: as `protocol.evaluate` was given them.
      patients: str [Q], over which is resampled.
      names: str [Q], each query's own.
      counts: of that evaluation, whose settings are taken.
    """
    asked = {name: counts[name] for name in ("classes", "threshold", "fine", "k", "own_scan")}
    tops = within_class.top_of_class(queries, gallery, **asked)
    matched = within_class.matched_slices(queries, threshold=asked["threshold"], fine=asked["fine"])
    per_query = {
        name: {f"{CLASS_PREFIX}{key}": values for key, values in measures.items()}
        for name, measures in tops.items()
    }
    for name, shares in (matched or {}).items():
        per_query[name][MATCHED] = shares
    found = nodules.evaluate(queries, gallery, **asked)
    rows, run, mixed = [], None, ""
    if found is None:
        mixed = nodules.of_two_classes(queries) or nodules.of_two_classes(gallery)
    else:
        run = runs.Run(
            names=_nodule_names(queries, names, found.first),
            scans=patients[found.first],
            labels=queries.labels[found.first],
            values=found.per_query,
        )
        rows = nodule_rows(run)
    return Further(
        within_class.compared(tops, matched, patients),
        rows,
        None if found is None else found.counts,
        per_query,
        run,
        mixed,
    )


def _nodule_names(queries: Embedded, names: np.ndarray, rows: np.ndarray) -> np.ndarray:
    named = np.full(len(queries), "") if queries.nodules is None else queries.nodules
    return np.array([f"{queries.scans[row]}/{named[row] or names[row]}" for row in rows], str)


def nodule_rows(run: runs.Run) -> list[dict[str, Any]]:
    """A row for each ranking: means over query nodules, with intervals over patients."""
    rows = []
    for name in run.values:
        row: dict[str, Any] = {"ranking": name}
        for measure in NODULE_MEASURES:
            labels = None if measure == "diameter_error_mm" else run.labels
            values = {measure: run.measure(name, measure)}
            found = intervals.mean_intervals(values, run.scans, labels)[measure].as_json()
            row |= {f"{measure}{end}": found[key] for end, key in _ENDS.items()}
        rows.append(row)
    return rows


_ENDS = {"": "value", "_low": "low", "_high": "high"}


def write(further: Further, out: Path) -> None:
    """Write the tables `within_class` and `by_nodule`, and the run by nodule, into `out`."""
    columns = ("ranking", "measure", "value", "random", "difference", "low", "high", "p_value")
    tables.write_table(out / "within_class", {c: c for c in columns}, further.within_class)
    if further.nodule_run is None:
        return
    heads = {"ranking": "ranking"} | {
        f"{measure}{end}": f"{words}{end.replace('_', ', ')}"
        for measure, words in NODULE_MEASURES.items()
        for end in _ENDS
    }
    tables.write_table(out / "by_nodule", heads, further.by_nodule)
    runs.write(out / FOLDER, further.nodule_run)


def in_words(further: Further) -> str:
    """What a run prints of it."""
    lines = []
    for row in further.by_nodule:
        if row["ranking"] in ("two_stage", "softmax"):
            lines.append(
                f"  {'by nodule, ' + RANKING_NAMES[row['ranking']]:<34}"
                f"macro mAP {_known(row['average_precision'])}  "
                f"nDCG@10 {_known(row['ndcg'])}"
            )
    for row in further.within_class:
        if row["ranking"] == "two_stage":
            words = row["measure"].replace("_", " ")
            lines.append(
                f"  within a class, {words:<26}{_known(row['value'])}, "
                f"of a random order {_known(row['random'])}, p = {row['p_value']:.2g}"
            )
    if further.mixed:
        why = "differ in class, so no whole nodules are searched for"
        lines.append(f"  note: slices of {further.mixed} {why}")
    return "\n".join(lines)


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
