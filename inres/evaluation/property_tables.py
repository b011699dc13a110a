"""Tables of similarity: each ranking against the search, and against random orders."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inres import vocabulary
from inres.evaluation import intervals, metrics, runs
from inres.evaluation.similarity import RANDOM

OURS = "two_stage"
"""The ranking with which all others are compared."""
PROPERTY_COLUMNS = (
    *("ranking", "property", "difference", "low", "high", "ndcg", "random", "class_random"),
    *("margin", "margin_low", "margin_high", "p_value", "queries"),
)
"""Columns of the table `properties`."""
SIMILARITY_COLUMNS = (
    *("ranking", "similarity", "low", "high", "random", "class_random"),
    *("margin", "margin_low", "margin_high", "p_value", "queries"),
)
"""Columns of the table `similarity`."""


def property_rows(run: runs.Run, *, resamples: int = intervals.RESAMPLES) -> list[dict[str, Any]]:
    """A row for each ranking and property, with the keys `PROPERTY_COLUMNS`.

    `difference` is the mean over queries of the mean |difference| of the first k, with its interval
    over patients, and `ndcg` the mean nDCG. `random` and `class_random` are the differences of a
    random order of the archive, and of the query's own class. `margin` is the difference of the
    two-stage search minus that of the ranking, paired by query, with interval and p-value by
    patient; in the row of the two-stage search itself, minus that of the random order of the class.
    """
    rows = []
    for name in property_names(run):
        difference, ndcg = (one.column for one in vocabulary.property_metrics(name))
        for row in _rows(run, difference, resamples=resamples):
            rank = row["ranking"]
            row["ndcg"] = metrics.micro(run.measure(rank, ndcg))
            row["property"] = name
            rows.append({key: row[key] for key in PROPERTY_COLUMNS})
    order = list(run.values)
    return sorted(rows, key=lambda row: order.index(row["ranking"]))  # stable


def similarity_rows(run: runs.Run, *, resamples: int = intervals.RESAMPLES) -> list[dict[str, Any]]:
    """A row for each ranking with the keys `SIMILARITY_COLUMNS`, as in `property_rows`."""
    rows = _rows(run, "similarity", resamples=resamples)
    return [{key: row[key] for key in SIMILARITY_COLUMNS} for row in rows]


def property_names(run: runs.Run) -> tuple[str, ...]:
    """The properties by which a run was scored, in the order of tables."""
    prefix = vocabulary.property_metrics("")[0].column
    found = {name.removeprefix(prefix) for name in run.values[OURS] if name.startswith(prefix)}
    return tuple(sorted(found, key=vocabulary.property_order))


def _rows(run: runs.Run, column: str, *, resamples: int) -> list[dict[str, Any]]:
    """One measure of every ranking, with intervals and margins; empty if no query is known."""
    values: Mapping[str, np.ndarray] = {name: run.measure(name, column) for name in run.values}
    inside = run.measure(RANDOM, f"{vocabulary.CLASS_PREFIX}{column}")
    ours = values[OURS]
    if metrics.micro(ours) is None:
        return []
    gaps = {name: ours - (inside if name == OURS else one) for name, one in values.items()}
    means = intervals.mean_intervals(values, run.patients, resamples=resamples)
    margins = intervals.differences(gaps, run.patients, resamples=resamples)
    key = column.partition("_")[0]
    rows = []
    for name in values:
        mean, margin = means[name].as_json(), margins[name].as_json()
        rows.append(
            {
                "ranking": name,
                key: mean["value"],
                "low": mean["low"],
                "high": mean["high"],
                "random": metrics.micro(values[RANDOM]),
                "class_random": metrics.micro(inside),
                "margin": margin["value"],
                "margin_low": margin["low"],
                "margin_high": margin["high"],
                "p_value": margin["p_value"] if margin["queries"] else None,
                "queries": int(mean["queries"]),
            }
        )
    return rows
