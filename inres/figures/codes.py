"""Figures of codes: pools, lookups, cost of a search, distances between classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from inres import vocabulary
from inres.figures import panels, style


def pools(values: Mapping[str, np.ndarray], *, threshold: int, items: int) -> Figure:
    """Content and size of the candidate pools by Hamming threshold (`Evaluation.pools`)."""
    figure = style.figure(8.0, 3.6)
    left, right = figure.subplots(1, 2)
    x = values["threshold"]
    style.label_axes(
        left,
        title="Content of the pool",
        x="Hamming threshold (bits, less than)",
        y="share",
    )
    for name, color, dash, label in (
        ("precision", style.BLUE, "-", "precision (empty pool: 0)"),
        ("recall", style.VERMILION, "--", "recall"),
        ("empty_share", style.GREY, ":", "queries with an empty pool"),
    ):
        left.plot(x, values[name], color=color, linestyle=dash, linewidth=1.8, label=label)
    left.set(ylim=(0, 1.02))
    style.label_axes(
        right,
        title="Size of the pool",
        x="Hamming threshold (bits, less than)",
        y="mean pool (share of the archive)",
    )
    right.plot(x, values["mean_size"] / items, color=style.BLUE, linewidth=1.8)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, right):
        axes.axvline(threshold, color=style.INK, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlim(1, max(2, int(x[-1])))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.annotate(
        f"threshold used, mean: {threshold}",
        (threshold, 0.98),
        xycoords=("data", "axes fraction"),
        xytext=(5, -2),
        textcoords="offset points",
        fontsize=8.5,
        color=style.INK,
        va="top",
    )
    style.legend(left, loc="best")
    return figure


def lookups(sweeps: Mapping[str, Mapping[str, np.ndarray]], *, radius: int = 2) -> Figure:
    """Hamming lookup of each code: the items within a radius (`Evaluation.lookups`)."""
    figure = style.figure(8.4, 3.7)
    left, right = figure.subplots(1, 2)
    style.label_axes(
        left,
        title="Precision and recall by radius",
        x="recall of the lookup",
        y="precision of the lookup",
    )
    style.label_axes(
        right,
        title="Queries without results",
        x="Hamming radius (bits, at most)",
        y="share of empty lookups",
    )
    looks = (
        (style.BLUE, "-"),
        (style.ORANGE, "--"),
        (style.GREEN, "-."),
        (style.PURPLE, ":"),
        (style.GREY, (0, (5, 2))),
        (style.VERMILION, (0, (3, 1, 1, 1))),
        (style.SKY, (0, (1, 1))),
    )
    for place, (name, sweep) in enumerate(sweeps.items()):
        color, dash = looks[place % len(looks)]
        ranking = vocabulary.ranking(name)
        width = 2.4 if ranking.is_search else 1.5
        look: dict[str, Any] = {"color": color, "linestyle": dash, "linewidth": width}
        at = min(radius, len(sweep["recall"]) - 1)
        left.plot(sweep["recall"], sweep["precision"], label=ranking.title, **look)
        left.plot(sweep["recall"][at], sweep["precision"][at], "D", color=color, markersize=6)
        right.plot(sweep["threshold"] - 1, sweep["empty_share"], **look)
    left.set(xlim=(0, 1.02), ylim=(0, 1.02))
    right.set_ylim(0, 1.02)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.axvline(radius, color=style.INK, linewidth=1, linestyle=(0, (2, 2)))
    style.legend_below(figure, 3)
    return figure


def efficiency(
    sweep: Mapping[str, np.ndarray], measured: Sequence[Mapping[str, Any]], *, items: int
) -> Figure:
    """The paper's claim: nearly the answer of the full search, for a fraction of its work.

    Args:
      sweep: `Evaluation.pools`.
      measured: `threshold`, `neighbours_kept` and `seconds_per_query` of timed searches; without
        any, the right half says so.
      items: number of items in the archive.
    """
    figure = style.figure(8.4, 3.7)
    left, right = figure.subplots(1, 2)
    y = "share of the true 10 nearest found"
    style.label_axes(left, title="Items left to compare", x="mean pool (share of the archive)", y=y)
    share = sweep["mean_size"] / items
    left.plot(share, sweep["neighbours_kept"], color=style.BLUE, linewidth=1.8)
    style.label_axes(right, title="Time", x="time per query (ms)", y=y)
    right.xaxis.set_major_locator(MaxNLocator(5))  # tick labels of small times are long
    slowest = 1e3 * max((row["seconds_per_query"] for row in measured), default=1.0)
    for axes, widest in ((left, 1.0), (right, slowest)):
        labelled: list[np.ndarray] = []
        for row in measured:
            x = 1e3 * row["seconds_per_query"]
            if axes is left:
                x = share[int(row["threshold"]) - 1]
            place = np.array([x / widest, row["neighbours_kept"]])
            axes.plot(x, row["neighbours_kept"], "o", color=style.BLUE, markersize=5)
            if all(np.abs(place - other).max() > 0.07 for other in labelled):
                labelled.append(place)
                axes.annotate(
                    f"<{row['threshold']}",
                    (x, row["neighbours_kept"]),
                    xytext=(5, -9),
                    textcoords="offset points",
                    fontsize=8,
                    color=style.MUTED,
                )
    if not measured:
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": right.transAxes}
        right.text(0.5, 0.5, "not measured", color=style.MUTED, **middle)
    else:
        right.set_xlim(0, 1.15 * slowest)
    for axes in (left, right):
        axes.set_ylim(0, 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_xlim(-0.02, 1.05)
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def class_hamming(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Mean Hamming distance of queries (rows) to items (columns) by class; NaN stays blank."""
    known = matrix[np.isfinite(matrix)]
    middle = known.max() * 0.45 if len(known) else 0.0
    unit = " (diameter in mm)" if panels.in_mm(names) else ""
    return style.matrix(
        matrix,
        [[style.EMPTY_CELL if np.isnan(v) else f"{v:.1f}" for v in row] for row in matrix],
        matrix < middle,
        names,
        title="Hamming distance between classes",
        x=f"class of the items{unit}",
        y=f"class of the queries{unit}",
        colour_title="mean distance (bits)",
        cmap="Blues_r",
        vmin=0,
    )
