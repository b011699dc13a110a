"""What an order says beyond the class: diameters, malignancy and nodules within one class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inres.evaluation import intervals, judging, metrics
from inres.evaluation.distances import Distances, columns, same_scan
from inres.evaluation.embedded import Embedded

MEASURES = ("diameter_error_mm", "malignancy_error", "malignancy_agreement")
"""Of the top k, in `judging`'s words."""
RANDOM = "chance"
"""The ranking in which all items tie: its expected top k is that of a random order."""
_CELLS = 1 << 22


def top_of_class(
    queries: Embedded,
    gallery: Embedded,
    *,
    classes: int,
    threshold: int,
    fine: str = "fc1",
    k: int = 10,
    own_scan: bool = False,
) -> dict[str, dict[str, np.ndarray]]:
    """The first k items of each query's own class by every ranking.

    Args: as `protocol.evaluate`.

    Returns:
      By ranking and measure of `MEASURES`, float64 [Q]: expected means of the top k, NaN where
      nothing is known. Under `chance` stands what a random order of the class gives, exactly.
    """
    setting = judging.Setting(classes, threshold, "", k, {})
    out: dict[str, dict[str, np.ndarray]] = {}
    for label in np.unique(queries.labels):
        mine, theirs = (np.flatnonzero(side.labels == label) for side in (queries, gallery))
        if not len(theirs):
            continue
        asked, stored = queries.take(mine), gallery.take(theirs)
        distances = Distances(asked, stored, threshold=threshold, fine=fine)
        left, right = same_scan(asked.scans, stored.scans)
        archive = columns(stored)
        known = {name: column for name, column in columns(asked).items() if name in archive}
        for rows in metrics.chunks(len(asked), len(stored), cells=_CELLS):
            excluded = (left[rows, None] == right) & (not own_scan)
            truth = judging.Truth.of(
                {name: column[rows] for name, column in known.items()}, archive, excluded, k
            )
            part = distances.part(rows, excluded)
            judge = judging.Judge(truth, part.hamming, part.fine, setting)
            for name, found in distances.each(part):
                judged = judge.judge("of a class", found)
                empty = {key: np.full(len(queries), np.nan) for key in MEASURES}
                for key, values in out.setdefault(name, empty).items():
                    values[mine[rows]] = judged[key]
    return out


def matched_slices(
    side: Embedded, *, threshold: int, fine: str = "fc1"
) -> dict[str, np.ndarray] | None:
    """Where the other slices of a query's nodule stand among the items of its class.

    Each item of `side` is searched among the others, its own scan included.

    Returns:
      By ranking, float64 [N]: the mean share of the class that stands before a slice of the same
      nodule, ties counted half; 0 is first, 1/2 what a random order gives. NaN for items whose
      nodule has one slice, and where the class holds nothing else. None where there is no pair.
    """
    if side.nodules is None:
        return None
    from scipy import stats  # slow to import, and not wanted by all that reads this module

    out: dict[str, np.ndarray] = {}
    for label in np.unique(side.labels):
        members = np.flatnonzero(side.labels == label)
        own, nodules = side.take(members), side.nodules[members]
        left, right = same_scan(own.scans, own.scans)
        distances = Distances(own, own, threshold=threshold, fine=fine)
        for rows in metrics.chunks(len(own), len(own), cells=_CELLS):
            itself = np.arange(len(own))[rows, None] == np.arange(len(own))
            sibling = (left[rows, None] == right) & (nodules[rows, None] == nodules)
            sibling &= (nodules != "") & ~itself
            counts = sibling.sum(axis=1)
            others = len(own) - 1 - counts
            for name, found in distances.each(distances.part(rows, itself)):
                # Rank among all, less that among the siblings: what stands before from outside.
                before = stats.rankdata(found, axis=1)
                inner = np.where(sibling, found.astype(np.float64), np.inf)
                total = np.where(sibling, before - stats.rankdata(inner, axis=1), 0.0).sum(axis=1)
                share = np.where(
                    counts * others > 0, total / np.maximum(counts * others, 1), np.nan
                )
                out.setdefault(name, np.full(len(side), np.nan))[members[rows]] = share
    known = any(np.isfinite(values).any() for values in out.values())
    return out if known else None


def compared(
    tops: Mapping[str, Mapping[str, np.ndarray]],
    matched: Mapping[str, np.ndarray] | None,
    patients: np.ndarray,
    *,
    resamples: int = intervals.RESAMPLES,
) -> list[dict[str, Any]]:
    """Each ranking against a random order of the class, paired query by query.

    Args:
      tops: from `top_of_class`.
      matched: from `matched_slices`.
      patients: str [Q], over which is resampled and flipped.

    Returns:
      Rows of `ranking`, `measure`, `value`, `random`, `difference`, `low`, `high`, `p_value`;
      measures that are nowhere known are left out. The measure `matched_slices` is a share
      before, so less is better, as for the errors.
    """
    pairs = {
        (name, key): (values[key], tops[RANDOM][key])
        for name, values in tops.items()
        for key in MEASURES
        if name != RANDOM
    }
    for name, shares in (matched or {}).items():
        if name != RANDOM:
            half = np.where(np.isfinite(shares), 0.5, np.nan)
            pairs[name, "matched_slices"] = (shares, half)
    rows = []
    for (name, key), (ours, random) in pairs.items():
        if metrics.micro(ours - random) is None:
            continue
        gap = intervals.difference(ours, random, patients, resamples=resamples).as_json()
        rows.append(
            {
                "ranking": name,
                "measure": key,
                "value": metrics.micro(ours),
                "random": metrics.micro(random),
                "difference": gap["value"],
                **{end: gap[end] for end in ("low", "high", "p_value")},
            }
        )
    return rows
