"""Inflation of scores by a leaking split: numbers and figure.

Every item is tested once under each of three protocols, by networks of one recipe that are trained
on equally large shares of the data, so scores are paired query by query. The random split of slices
leaks twice: networks are trained on slices of the patients on which they are tested, and those
slices are in the archive that is searched. Excluding the query's own patient from its search closes
the second leak. If the patient is unknown, the scan takes its place.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from inres import vocabulary
from inres.evaluation import intervals
from inres.evaluation.runs import Run, aligned
from inres.figures import studies

PROTOCOLS = {
    "slices": "random slices",
    "slices_other_scans": "random slices, own patient excluded",
    "patient": "by patient",
}
"""Titles of the protocols, from the most to the least leaking."""
PARTS = {
    "archive": ("slices", "slices_other_scans"),
    "training": ("slices_other_scans", "patient"),
    "all": ("slices", "patient"),
}
"""Pairs of protocols whose difference is what one leak adds, or both."""
PART_NAMES = {
    "archive": "own patient in the archive",
    "training": "own patient in training",
    "all": "both: the inflation",
}


@dataclasses.dataclass(frozen=True)
class Measure:
    """A score that is compared between protocols."""

    ranking: str
    column: str
    """Column of the metric in `per_query.npz`."""
    macro: bool

    @property
    def title(self) -> str:
        """Title such as `macro mAP, raw pixels`."""
        title = vocabulary.mean_title(self.column, macro=self.macro)
        if not vocabulary.metric(self.column).means:  # such a metric belongs to one ranking
            return title
        return f"{title}, {vocabulary.ranking(self.ranking).title}"


MEASURES = (
    Measure("two_stage", "average_precision", macro=True),
    Measure("two_stage", "search_precision", macro=False),
    Measure("fc3", "correct", macro=False),
    Measure("pixels", "average_precision", macro=True),
)


@dataclasses.dataclass(frozen=True)
class Inflation:
    """One measure under the three protocols."""

    measure: Measure
    scores: dict[str, intervals.Interval]
    """By protocol."""
    gaps: dict[str, intervals.Difference]
    """By part."""


def inflations(
    protocols: Mapping[str, Run], measures: Sequence[Measure] = MEASURES, *, seed: int = 0
) -> list[Inflation]:
    """Compare scores of the same queries under all `PROTOCOLS`.

    Raises:
      ValueError: the runs have different queries, or a run lacks a measure.
    """
    matched = aligned(protocols)
    out = []
    for measure in measures:
        run = matched["patient"]
        labels = run.labels if measure.macro else None
        values = {n: r.measure(measure.ranking, measure.column) for n, r in matched.items()}
        scores = intervals.mean_intervals(values, run.patients, labels, seed=seed)
        gaps = {
            part: intervals.difference(values[a], values[b], run.patients, labels, seed=seed)
            for part, (a, b) in PARTS.items()
        }
        out.append(Inflation(measure, scores, gaps))
    return out


def rows(found: Sequence[Inflation]) -> list[dict[str, object]]:
    """A row for each measure: scores and differences, with intervals and p-values."""
    table = []
    for one in found:
        row: dict[str, object] = {"measure": one.measure.title}
        for name, score in one.scores.items():
            row |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
        for part, gap in one.gaps.items():
            row |= {f"{part}_gap": gap.value, f"{part}_low": gap.low, f"{part}_high": gap.high}
            row[f"{part}_p"] = gap.p_value
        table.append(row)
    return table


def figure(found: Sequence[Inflation], *, title: str) -> Figure:
    """Scores under each protocol, and what each leak adds to them."""
    return studies.inflation(
        [one.measure.title for one in found],
        {words: _scores([one.scores[name] for one in found]) for name, words in PROTOCOLS.items()},
        {words: _scores([one.gaps[part] for one in found]) for part, words in PART_NAMES.items()},
        title=title,
    )


def _scores(found: Sequence[intervals.Interval]) -> studies.Scores:
    rows = [(one.value, one.low, one.high) for one in found]
    return studies.Scores(*np.array(rows, float).T)
