"""Intervals of the numbers of an evaluation, and margins of the search over the baselines."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inres import vocabulary
from inres.evaluation import intervals, metrics
from inres.evaluation.protocol import Evaluation

MARGINS = ("map_macro", "precision_at_{k}_macro", "ndcg_at_{k}", "diameter_error_mm_at_{k}")
"""Numbers whose difference from every other ranking is reported, by key in `metrics.json`."""
OURS = "two_stage"
"""The ranking that is compared with all others."""


def confidence(
    evaluation: Evaluation,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int = intervals.RESAMPLES,
) -> dict[str, Any]:
    """Compute 95 % bootstrap intervals over patients, as in `metrics.json`.

    Args:
      evaluation: from `protocol.evaluate`.
      labels: int [Q], the classes of the queries.
      patients: str [Q], the patient (or scan) of each query; empty where unknown.
      resamples: number of resamples.

    Returns:
      `level`; `patients`, their number; `caution`, why the interval of the two-stage search's macro
      mAP is too narrow, empty if it is not; `rankings`, by ranking and key [low, high], or None if
      there is no interval; `paper`, `classification` and `lookup` in the same form; `margins`, by
      ranking and key, the two-stage search minus that ranking over the same queries: `value`,
      `low`, `high`, `p_value`.
    """
    k = evaluation.counts["k"]
    ranked = {
        name: _ranking_intervals(columns, labels, patients, k=k, resamples=resamples)
        for name, columns in evaluation.per_query.items()
    }
    ours = evaluation.per_query[OURS]
    micro = {"search_precision": ours["search_precision"]}
    if evaluation.correct is not None:
        micro["accuracy"] = evaluation.correct.astype(np.float64)
    plain = intervals.mean_intervals(micro, patients, resamples=resamples)
    looked = {name: evaluation.per_query[name]["precision_in_radius"] for name in evaluation.lookup}
    in_radius = intervals.mean_intervals(looked, patients, labels, resamples=resamples)
    accuracy = plain.get("accuracy")
    return {
        "level": intervals.LEVEL,
        "patients": int(intervals.patient_rows(patients).max()) + 1,
        "caution": ranked[OURS]["map_macro"].caution,
        "rankings": {
            name: {key: _ends(interval) for key, interval in found.items()}
            for name, found in ranked.items()
        },
        "paper": {"search_precision": _ends(plain["search_precision"])},
        "classification": None if accuracy is None else {"accuracy": _ends(accuracy)},
        "lookup": {name: {"precision_macro": _ends(value)} for name, value in in_radius.items()},
        "margins": {
            name: _margins(ours, columns, labels, patients, k=k, resamples=resamples)
            for name, columns in evaluation.per_query.items()
            if name != OURS
        },
    }


def _ranking_intervals(
    columns: Mapping[str, np.ndarray],
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    k: int,
    resamples: int,
) -> dict[str, intervals.Interval]:
    """The interval of every number of one ranking, by key in `metrics.json`."""
    found: dict[str, intervals.Interval] = {}
    for macro in (True, False):
        values = {
            mean.key.format(k=k): columns[metric.column]
            for metric, mean in vocabulary.means()
            if mean.macro == macro
        }
        grouped = labels if macro else None
        found |= intervals.mean_intervals(values, patients, grouped, resamples=resamples)
    keys = (mean.key.format(k=k) for _, mean in vocabulary.means())
    return {key: found[key] for key in keys}


def _ends(interval: intervals.Interval) -> list[float] | None:
    ends = [interval.low, interval.high]
    return ends if np.isfinite(ends).all() else None


def _margins(
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    k: int,
    resamples: int,
) -> dict[str, dict[str, float | None]]:
    """Ours minus theirs by key in `metrics.json`; undefined numbers are left out."""
    out = {}
    for metric, mean in vocabulary.means():
        if mean.key not in MARGINS:
            continue
        left, right = ours[metric.column], theirs[metric.column]
        if metrics.micro(left - right) is None:
            continue
        gap = intervals.difference(
            left, right, patients, labels if mean.macro else None, resamples=resamples
        ).as_json()
        out[mean.key.format(k=k)] = {n: gap[n] for n in ("value", "low", "high", "p_value")}
    return out
