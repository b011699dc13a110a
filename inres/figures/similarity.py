"""Figure of similarity: how far the first results are from the query, property by property."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from inres import vocabulary
from inres.figures import style

MARKS = {
    "two_stage": (style.BLUE, "D"),
    "softmax": (style.GREEN, "s"),
    "pixels": (style.ORANGE, "^"),
}
"""Colour and marker of the rankings that are shown."""
CLASS_MARK = (style.INK, "|")
"""Colour and marker of a random order of the query's class."""


def differences(rows: Sequence[Mapping[str, Any]], *, k: int) -> Figure:
    """Mean difference of the first results in each property; a random order is 1.

    Args:
      rows: of the table `properties`, at least one; those of `MARKS` are shown.
      k: length of the result list.
    """
    names = list(dict.fromkeys(row["property"] for row in rows))
    figure = style.figure(6.6, 1.5 + 0.33 * len(names))
    axes = style.label_axes(
        figure.add_subplot(),
        title=f"Difference of the first {k} results from the query",
        x="mean absolute difference, random order = 1",
        y="property",
        grid="x",
    )
    axes.axvline(1.0, color=style.GREY, linewidth=1.2, linestyle=":")
    shown = [row for row in rows if row["ranking"] in MARKS and row["random"]]
    for row in shown:
        place, random = names.index(row["property"]), row["random"]
        color, marker = MARKS[row["ranking"]]
        if row["ranking"] == "two_stage":
            if row["low"] is not None:
                ends = (row["low"] / random, row["high"] / random)
                axes.plot(ends, (place, place), color=color, linewidth=4, alpha=0.35)
            if row["class_random"] is not None:
                mark, look = CLASS_MARK
                axes.plot(row["class_random"] / random, place, look, color=mark, markersize=14)
        if row["difference"] is not None:
            axes.plot(row["difference"] / random, place, marker, color=color, markersize=6)
    titles = [vocabulary.find_property(name).title for name in names]
    axes.set_yticks(range(len(names)), style.short_names(titles))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    present = {row["ranking"] for row in shown}
    looks = [(vocabulary.ranking(name).title, *MARKS[name]) for name in MARKS if name in present]
    looks.append(("random in the class", *CLASS_MARK))
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=title)
        for title, color, marker in looks
    ]
    handles.append(Line2D([], [], color=style.GREY, linestyle=":", label="random"))
    style.legend(axes, handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
