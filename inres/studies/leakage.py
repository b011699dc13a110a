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
from inres.figures import style

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


_LOOK = {
    "slices": (style.VERMILION, "s"),
    "slices_other_scans": (style.ORANGE, "D"),
    "patient": (style.BLUE, "o"),
    "archive": (style.GREY, "D"),
    "training": (style.GREY, "s"),
    "all": (style.VERMILION, "o"),
}


def figure(found: Sequence[Inflation], *, title: str) -> Figure:
    """Scores under each protocol on the left, what each leak adds on the right.

    Points are means, bars their intervals over patients; on the right a bar that does not reach
    0 is more than the choice of patients explains. The networks are held fixed: another training
    can move both.
    """
    height = 1.6 + 0.85 * len(found)
    sheet = style.figure(10.5, height)
    sheet.suptitle(title, fontsize=11.5, color=style.INK, x=0.01, ha="left")
    left, right = sheet.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    for axes, kind, names in ((left, "scores", PROTOCOLS), (right, "gaps", PART_NAMES)):
        for place, name in enumerate(names):
            colour, marker = _LOOK[name]
            at = np.arange(len(found)) + 0.22 * (place - (len(names) - 1) / 2)
            some = [getattr(one, kind)[name] for one in found]
            value = np.array([interval.value for interval in some])
            ends = np.array([[interval.low, interval.high] for interval in some]).T
            bars = np.abs(np.nan_to_num(ends - value, nan=0.0))
            axes.errorbar(
                value,
                at,
                xerr=bars,
                fmt=marker,
                color=colour,
                markersize=6,
                capsize=3,
                linewidth=1.5,
                label=names[name],
            )
        axes.grid(axis="x", color=style.GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9, colors=style.MUTED)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(fontsize=8.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=1)
    left.set_yticks(np.arange(len(found)), [one.measure.title for one in found])
    left.tick_params(axis="y", labelsize=9.5, colors=style.INK)
    left.set_ylim(len(found) - 0.5, -0.5)
    left.set_xlabel("score (0 to 1), 95 % interval over patients", fontsize=9.5)
    right.axvline(0, color=style.INK, linewidth=1)
    right.set_xlabel("what the leak adds to the score (paired, one training)", fontsize=9.5)
    return sheet
