"""What an order says beyond the class: diameters, malignancy and nodules within one class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

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
    distances = Distances(queries, gallery, threshold=threshold, fine=fine)
    setting = judging.Setting(classes, threshold, "", k, {})
    mine, theirs = same_scan(queries.scans, gallery.scans)
    archive = columns(gallery)
    known = {name: column for name, column in columns(queries).items() if name in archive}
    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    for rows in metrics.chunks(len(queries), len(gallery), cells=_CELLS):
        excluded = (mine[rows, None] == theirs) & (not own_scan)
        excluded |= queries.labels[rows, None] != gallery.labels
        asked = {name: column[rows] for name, column in known.items()}
        truth = judging.Truth.of(asked, archive, excluded, k)
        part = distances.part(rows, excluded)
        judge = judging.Judge(truth, part.hamming, part.fine, setting)
        for name, found in distances.each(part):
            judged = judge.judge("of a class", found)
            parts.setdefault(name, []).append({key: judged[key] for key in MEASURES})
    return {
        name: {key: np.concatenate([part[key] for part in found]) for key in MEASURES}
        for name, found in parts.items()
    }


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
    mine, theirs = same_scan(side.scans, side.scans)
    distances = Distances(side, side, threshold=threshold, fine=fine)
    parts: dict[str, list[np.ndarray]] = {}
    paired = False
    for rows in metrics.chunks(len(side), len(side), cells=_CELLS):
        itself = np.arange(len(side))[rows, None] == np.arange(len(side))
        excluded = itself | (side.labels[rows, None] != side.labels)
        sibling = (mine[rows, None] == theirs) & (side.nodules[rows, None] == side.nodules)
        sibling &= (side.nodules != "") & ~excluded
        others = (~excluded).sum(axis=1) - sibling.sum(axis=1)
        counts = sibling.sum(axis=1)
        known = (counts > 0) & (others > 0)
        paired |= bool(known.any())
        for name, found in distances.each(distances.part(rows, excluded)):
            # Rank among all, less the rank among the siblings: what stands before from outside.
            before = stats.rankdata(found, axis=1)
            inner = np.where(sibling, found.astype(np.float64), np.inf)
            inner = stats.rankdata(inner, axis=1)
            total = np.where(sibling, before - inner, 0.0).sum(axis=1)
            share = total / np.maximum(counts * others, 1)
            parts.setdefault(name, []).append(np.where(known, share, np.nan))
    return {name: np.concatenate(found) for name, found in parts.items()} if paired else None


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
