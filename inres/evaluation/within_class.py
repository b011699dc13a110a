"""What a ranking says beyond the class: its order of the items of the query's own class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inres import vocabulary
from inres.evaluation import graded, intervals, judging, metrics
from inres.evaluation.distances import Distances
from inres.evaluation.embedded import Embedded
from inres.evaluation.groups import Exclusion, equal
from inres.evaluation.relevance import MEANS
from inres.evaluation.settings import Settings

RANDOM = "chance"
"""The ranking in which all items tie: its expected first k are those of a random order."""
MATCHED = "matched_slices"
"""Name of the result of `matched_slices` in the table; `MATCHED_COLUMN` is its column by query."""
MATCHED_COLUMN = "matched_slices_error"
TABLE_COLUMNS = ("ranking", "measure", "value", "random", "difference", "low", "high", "p_value")
"""Columns of the table `within_class`."""

_CELLS = 1 << 22
"""Number of distances [q, N] held at once."""


def top_of_class(
    queries: Embedded, gallery: Embedded, settings: Settings
) -> dict[str, dict[str, np.ndarray]]:
    """Score the first k items of each query's own class, by every ranking.

    Args:
      queries: test items.
      gallery: the archive.
      settings: as for `protocol.evaluate`.

    Returns:
      By ranking and metric of `relevance.MEANS`, float64 [Q]: expected means of the first k, NaN
      where nothing is known. `chance` holds the exact values of a random order of the class.
    """
    out: dict[str, dict[str, np.ndarray]] = {}
    for label in np.unique(queries.labels):
        mine, theirs = (np.flatnonzero(side.labels == label) for side in (queries, gallery))
        if not len(theirs):
            continue
        ours, stored = queries.take(mine), gallery.take(theirs)
        distances = Distances(ours, stored, settings)
        exclusion = Exclusion.of(ours, stored, own_group=settings.own_group)
        known, archive = judging.shared_columns(ours, stored)
        for rows in metrics.chunks(len(ours), len(stored), cells=_CELLS):
            part = distances.part(rows, exclusion.rows(rows))
            columns = {name: column[rows] for name, column in known.items()}
            truth = judging.Truth.of(columns, archive, part.excluded, settings.k)
            for name, found in distances.each(part):
                top = graded.candidates(metrics.rank(found), settings.k)
                empty = {column: np.full(len(queries), np.nan) for column in MEANS}
                values = out.setdefault(name, empty)
                for column, means in judging.graded_means(top, truth).items():
                    values[column][mine[rows]] = means
    return out


def matched_slices(side: Embedded, settings: Settings) -> dict[str, np.ndarray] | None:
    """Rank the other slices of a query's nodule among the items of its class.

    Each item of `side` is searched among the others, including those of its own scan.

    Returns:
      By ranking, float64 [N]: the mean share of the class that is ranked before a slice of the
      same nodule, ties counted half; 0 is first, 1/2 is expected of a random order. NaN for items
      whose nodule has one slice, and where the class holds nothing else. None without any pair.
    """
    if side.nodules is None:
        return None
    from scipy import stats  # slow to import, and not needed by most users of this module

    out: dict[str, np.ndarray] = {}
    for label in np.unique(side.labels):
        members = np.flatnonzero(side.labels == label)
        own, nodules = side.take(members), side.nodules[members]
        left, right = equal(own.scans, own.scans)
        distances = Distances(own, own, settings)
        for rows in metrics.chunks(len(own), len(own), cells=_CELLS):
            itself = np.arange(len(own))[rows, None] == np.arange(len(own))
            sibling = (left[rows, None] == right) & (nodules[rows, None] == nodules)
            sibling &= (nodules != "") & ~itself
            counts = sibling.sum(axis=1)
            others = len(own) - 1 - counts
            for name, found in distances.each(distances.part(rows, itself)):
                # The rank among all, minus the rank among the siblings, counts the others before.
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
    """Compare each ranking with a random order of the class, paired query by query.

    Args:
      tops: from `top_of_class`.
      matched: from `matched_slices`.
      patients: str [Q], resampled and sign-flipped as wholes.
      resamples: number of resamples.

    Returns:
      Rows with the keys `TABLE_COLUMNS`; metrics without any known value are left out. The
      measure `matched_slices` is lower if better, like the errors.
    """
    pairs = {
        (name, column): (values[column], tops[RANDOM][column])
        for name, values in tops.items()
        for column in MEANS
        if name != RANDOM
    }
    for name, shares in (matched or {}).items():
        if name != RANDOM:
            half = np.where(np.isfinite(shares), 0.5, np.nan)
            pairs[name, MATCHED] = (shares, half)
    rows = []
    for (name, measure), (ours, random) in pairs.items():
        if metrics.micro(ours - random) is None:
            continue
        gap = intervals.difference(ours, random, patients, resamples=resamples).as_json()
        rows.append(
            {
                "ranking": name,
                "measure": measure,
                "value": metrics.micro(ours),
                "random": metrics.micro(random),
                "difference": gap["value"],
                **{end: gap[end] for end in ("low", "high", "p_value")},
            }
        )
    return rows


def per_query(
    tops: Mapping[str, Mapping[str, np.ndarray]], matched: Mapping[str, np.ndarray] | None
) -> dict[str, dict[str, np.ndarray]]:
    """All results by ranking and column of `per_query.npz`, float64 [Q]."""
    out = {
        name: {f"{vocabulary.CLASS_PREFIX}{column}": array for column, array in values.items()}
        for name, values in tops.items()
    }
    for name, shares in (matched or {}).items():
        out[name][MATCHED_COLUMN] = shares
    return out


def metric_of(measure: str) -> vocabulary.Metric:
    """The metric of a row of the table `within_class`, by the row's `measure`."""
    return vocabulary.metric(MATCHED_COLUMN if measure == MATCHED else measure)
