"""Scores with intervals: of the variants of an ablation, and under several protocols."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inres.figures import style

_LOOKS = ((style.BLUE, "o"), (style.SKY, "s"), (style.ORANGE, "D"), (style.GREEN, "^"))
_LINE = 0.19
"""Inches for a line of a label, with a share of the gap to the next label."""


class Scores(NamedTuple):
    """Some numbers and their intervals, float [n] each; NaN for an unknown end."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def bars(self) -> np.ndarray:
        """Lengths of the error bars, float [2, n]."""
        ends = np.stack([self.value - self.low, self.high - self.value])
        return np.nan_to_num(np.abs(ends))


def variants(
    names: Sequence[str], series: Mapping[str, Mapping[str, Sequence[float]]], *, title: str, x: str
) -> Figure:
    """A line for each variant, the first on top.

    Args:
      names: of the variants.
      series: by title: value, low and high end by variant; a missing variant has no point.
      title: of the figure.
      x: what the scores are.
    """
    labels = [textwrap.fill(name, 40) for name in names]
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    figure = style.figure(8.5, 1.6 + max(0.42, _LINE * lines) * len(names))
    axes = style.label_axes(figure.subplots(), title=title, x=x, y="", grid="x")
    for number, (label, ends) in enumerate(series.items()):
        shift = 0.16 * (number - (len(series) - 1) / 2)
        at = np.array([names.index(name) for name in ends]) + shift
        scores = Scores(*np.array(list(ends.values()), float).T)
        look = _look(*_LOOKS[number % len(_LOOKS)], label)
        axes.errorbar(scores.value, at, xerr=scores.bars, linestyle="none", **look)
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.5, -0.5)
    style.legend_above(axes, len(series))
    return figure


def sweep(
    series: Mapping[str, Mapping[float, Sequence[float]]], *, title: str, x: str, y: str
) -> Figure:
    """Scores over the values of one setting; logarithmic if the values double or more.

    Args:
      series: by title: value, low and high end of the score by value of the setting.
      title: of the figure.
      x: the setting.
      y: what the scores are.
    """
    figure = style.figure(7.5, 4.6)
    axes = style.label_axes(figure.subplots(), title=title, x=x, y=y, grid="y")
    for number, (label, ends) in enumerate(series.items()):
        at = np.array(sorted(ends), float)
        scores = Scores(*np.array([ends[place] for place in sorted(ends)], float).T)
        look = _look(*_LOOKS[number % len(_LOOKS)], label)
        axes.errorbar(at, scores.value, yerr=scores.bars, **look)
    _value_axis(axes, sorted({place for ends in series.values() for place in ends}))
    style.legend_above(axes, len(series))
    return figure


def _value_axis(axes: Axes, values: Sequence[float]) -> None:
    """Put ticks exactly at the values."""
    if values[0] > 0 and len(values) > 2 and math.log2(values[-1] / values[0]) >= len(values) / 2:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def _look(colour: str, marker: str, label: str) -> dict[str, Any]:
    return {
        "color": colour,
        "marker": marker,
        "markersize": 6,
        "capsize": 3,
        "linewidth": 1.5,
        "label": label,
    }


_PROTOCOL_LOOKS = ((style.VERMILION, "s"), (style.ORANGE, "D"), (style.BLUE, "o"))
_GAP_LOOKS = ((style.GREY, "D"), (style.GREY, "s"), (style.VERMILION, "o"))


def inflation(
    names: Sequence[str],
    protocols: Mapping[str, Scores],
    gaps: Mapping[str, Scores],
    *,
    title: str,
) -> Figure:
    """Scores under each protocol on the left, what each leak adds on the right.

    Points are means, bars their intervals over patients. On the right, a bar that does not reach
    0 is more than the choice of patients explains. The networks are held fixed: another training
    can move both.

    Args:
      names: of the n scores.
      protocols: the n scores by title of the protocol.
      gaps: the n differences by title of the leak.
      title: of the figure.
    """
    figure = style.figure(10.5, 1.6 + 0.85 * len(names))
    style.heading(figure, title)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    for axes, series, looks, x in (
        (left, protocols, _PROTOCOL_LOOKS, "score (0 to 1), 95 % interval over patients"),
        (right, gaps, _GAP_LOOKS, "what the leak adds to the score (paired, one training)"),
    ):
        style.label_axes(axes, title="", x=x, y="", grid="x")
        for place, ((label, scores), look) in enumerate(zip(series.items(), looks, strict=True)):
            at = np.arange(len(names)) + 0.22 * (place - (len(series) - 1) / 2)
            axes.errorbar(
                scores.value, at, xerr=scores.bars, linestyle="none", **_look(*look, label)
            )
        style.legend(axes, loc="lower left", bbox_to_anchor=(0, 1))
    left.set_yticks(np.arange(len(names)), names)
    left.set_ylim(len(names) - 0.5, -0.5)
    right.axvline(0, color=style.INK, linewidth=1)
    return figure
