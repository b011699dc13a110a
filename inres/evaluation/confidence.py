"""Intervals of an evaluation's numbers, and its margins over the baselines."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inres import vocabulary
from inres.evaluation import intervals, metrics
from inres.evaluation.protocol import Evaluation

MARGINS = ("map_macro", "precision_at_{k}_macro", "ndcg_at_{k}", "diameter_error_mm_at_{k}")
"""Measures whose difference to every other ranking is told."""
OURS = "two_stage"


def confidence(
    evaluation: Evaluation,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int = intervals.RESAMPLES,
) -> dict[str, Any]:
    """95 % bootstrap intervals over patients, as they stand in `metrics.json`.

    Args:
      evaluation: from `protocol.evaluate`.
      labels: int [Q], the classes of the queries.
      patients: str [Q], the patient (or scan) of each query; empty where unknown.
      resamples: draws of patients.

    Returns:
      `level`; `patients` (how many); `caution`: why the interval of the two-stage search's macro
      mAP is too narrow, in words, empty where it is not; `rankings`: by ranking and measure
      [low, high], None where there is no interval; `paper`, `classification` and `lookup`
      likewise; `margins`: by ranking and measure, how far the two-stage search is above it on the
      same queries: `value`, `low`, `high`, `p_value`.
    """
    k = evaluation.counts["k"]
    found = {}
    for name, columns in evaluation.per_query.items():
        ends = {
            key: interval
            for macro in (True, False)
            for key, interval in intervals.mean_intervals(
                {
                    mean.key.format(k=k): columns[metric.column]
                    for metric, mean in vocabulary.means()
                    if mean.macro == macro
                },
                patients,
                labels if macro else None,
                resamples=resamples,
            ).items()
        }
        keys = [mean.key.format(k=k) for _, mean in vocabulary.means()]
        found[name] = {key: _ends(ends[key]) for key in keys}
        if name == OURS:
            caution = ends[MARGINS[0]].caution
    two = evaluation.per_query[OURS]
    plain = {"search_precision": two["search_precision"]}
    if evaluation.correct is not None:
        plain["accuracy"] = evaluation.correct.astype(np.float64)
    micro = intervals.mean_intervals(plain, patients, resamples=resamples)
    looked = {name: evaluation.per_query[name]["precision_in_radius"] for name in evaluation.lookup}
    macro = intervals.mean_intervals(looked, patients, labels, resamples=resamples)
    return {
        "level": intervals.LEVEL,
        "patients": int(intervals.patient_rows(patients).max()) + 1,
        "caution": caution,
        "rankings": found,
        "paper": {"search_precision": _ends(micro["search_precision"])},
        "classification": {"accuracy": _ends(micro["accuracy"])} if "accuracy" in micro else None,
        "lookup": {name: {"precision_macro": _ends(value)} for name, value in macro.items()},
        "margins": {
            name: _margins(two, columns, labels, patients, k=k, resamples=resamples)
            for name, columns in evaluation.per_query.items()
            if name != OURS
        },
    }


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
    """Ours minus theirs by measure; measures that are undefined are left out."""
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
