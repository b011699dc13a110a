"""By how much a split that leaks inflates scores: the figure and its numbers.

Every item is tested once under each of three protocols, by networks of one recipe trained on
shares of one size, so the scores are paired query by query. The random split of slices leaks
twice: networks are trained on slices of the patients they are tested on, and those slices stand in
the archive that is searched. Leaving a query's own patient out of its search closes the second
leak; a patient of one scan, or an unknown one, is that scan.
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
    "slices_other_scans": "random slices, own patient left out",
    "patient": "by patient",
}
"""From the most to the least leaking."""
PARTS = {
    "archive": ("slices", "slices_other_scans"),
    "training": ("slices_other_scans", "patient"),
    "all": ("slices", "patient"),
}
"""What each leak adds: the difference of two protocols."""
PART_NAMES = {
    "archive": "own patient in the archive",
    "training": "own patient in training",
    "all": "both: the inflation",
}


@dataclasses.dataclass(frozen=True)
class Measure:
    """One score that is compared."""

    ranking: str
    column: str
    """Of the metric."""
    macro: bool

    @property
    def title(self) -> str:
        """Such as `macro mAP, raw pixels`."""
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
    """Judge the same queries under the protocols that `PROTOCOLS` names.

    Raises:
      ValueError: the runs have other queries, or lack a measure; names the difference.
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
    """A row for each measure: the scores, and the inflation with interval and p-value."""
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
