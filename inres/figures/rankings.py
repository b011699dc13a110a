"""Figures of rankings, of the fine feature, and of the classifier's errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from inres import vocabulary
from inres.figures import panels, style

LINES: dict[str, tuple[str, Any, float]] = {
    "two_stage": (style.BLUE, "-", 2.6),
    "hamming": (style.SKY, "-", 1.6),
    "fc1": (style.VERMILION, "-", 1.6),
    "embedding": (style.VERMILION, "-", 1.6),
    "softmax": (style.GREEN, "-.", 1.6),
    "predicted_class": (style.BLACK, ":", 1.6),
    "itq_fc1": (style.ORANGE, "--", 1.6),
    "itq_embedding": (style.ORANGE, "--", 1.6),
    "pixels": (style.GREY, (0, (5, 2)), 1.4),
    "hog": (style.PURPLE, (0, (3, 1, 1, 1)), 1.4),
    "itq_pixels": (style.ORANGE, ":", 1.4),
    "chance": (style.GREY, ":", 1.4),
}
"""Rankings whose curves are drawn; with all of them, none could be seen."""


def precision_recall(
    curves: Mapping[str, np.ndarray],
    *,
    pool: tuple[float, float] | None = None,
    title: str = "Precision and recall of each ranking",
) -> Figure:
    """The paper's Fig. 8: interpolated precision by recall, macro mean over queries.

    Args:
      curves: `recall` [G] and precision [G] by ranking, as in `Evaluation.curves`; the range from
        `worst/hamming` to `best/hamming` is shaded.
      pool: recall and precision of the candidate pool at the threshold used, drawn as a point.
    """
    figure = style.figure(7.4, 4.6)
    axes = style.label_axes(
        figure.add_subplot(), title=title, x="recall", y="precision (macro mean)"
    )
    for name in (n for n in LINES if n in curves):
        color, dash, width = LINES[name]
        if name == "hamming" and "worst/hamming" in curves:
            axes.fill_between(
                curves["recall"],
                curves["worst/hamming"],
                curves["best/hamming"],
                color=style.SKY,
                alpha=0.25,
                linewidth=0,
                label="Hamming: worst to best\norder of ties",
            )
        axes.plot(
            curves["recall"],
            curves[name],
            color=color,
            linestyle=dash,
            linewidth=width,
            label=vocabulary.ranking(name).title,
            zorder=3 if name == "two_stage" else 2,
        )
    if pool is not None and all(map(np.isfinite, pool)):
        axes.plot(
            *pool,
            "D",
            color=style.BLUE,
            markeredgecolor="white",
            markersize=9,
            label="candidate pool",
            zorder=4,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    style.legend(axes, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def baselines(
    values: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float] | None],
    *,
    measure: str,
) -> Figure:
    """One number of every ranking with its interval, the best on top.

    Args:
      values: number by ranking; None is left out.
      intervals: low and high end by ranking; None if there is no interval.
      measure: title of the numbers.
    """
    known = sorted((v, n) for n, v in values.items() if v is not None)
    figure = style.figure(5.4, 1.1 + 0.27 * len(known))
    axes = style.label_axes(figure.add_subplot(), title="Every ranking", x=measure, y="")
    for place, (value, name) in enumerate(known):
        is_search = vocabulary.ranking(name).is_search
        color, marker = (style.BLUE, "D") if is_search else (style.GREY, "o")
        ends = intervals.get(name)
        if ends is not None:
            axes.plot(ends, (place, place), color=color, linewidth=3, alpha=0.45)
        axes.plot(value, place, marker, color=color, markersize=6)
        right = value if ends is None else max(ends)
        axes.annotate(
            f"{value:.3f}",
            (right, place),
            xytext=(7, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=style.INK,
            va="center",
        )
    axes.set_yticks(range(len(known)), [vocabulary.ranking(name).title for _, name in known])
    for label, (_, name) in zip(axes.get_yticklabels(), known, strict=True):
        label.set_color(style.BLUE if vocabulary.ranking(name).is_search else style.INK)
    axes.set_xlim(0, 1.2 * max([0.1, *(v for v, _ in known)]))
    axes.grid(axis="y", visible=False)
    return figure


def embedding_map(
    items: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    query_labels: np.ndarray,
    shares: np.ndarray,
    names: Sequence[str],
    *,
    feature: str,
) -> Figure:
    """Items and queries in two principal components of a feature, coloured by class.

    Args:
      items, queries: components, float [N, c] and [Q, c]; missing ones are 0 if c < 2.
      labels, query_labels: int [N] and [Q].
      shares: share of the variance of each component.
      names: of the classes.
      feature: title of the feature.
    """
    figure = style.figure(7.4, 4.8)
    shown = [f"{100 * s:.0f} %" for s in shares] + ["0 %"] * 2
    axes = style.label_axes(
        figure.add_subplot(),
        title=f"{feature}: archive and queries",
        x=f"first principal component ({shown[0]} of the variance)",
        y=f"second principal component ({shown[1]})",
    )
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.88, max(len(names), 2)))
    flat = [np.pad(side, ((0, 0), (0, max(0, 2 - side.shape[1])))) for side in (items, queries)]
    looks: tuple[dict[str, Any], ...] = (
        {"marker": "o", "s": 9, "alpha": 0.45, "linewidths": 0},
        {"marker": "^", "s": 16, "edgecolors": style.INK, "linewidths": 0.4},
    )
    for label in range(len(names)):
        for side, own, look in zip(flat, (labels, query_labels), looks, strict=True):
            rows = own == label
            if rows.any():
                axes.scatter(*side[rows, :2].T, color=colors[label], **look)
    titles = style.short_names([panels.class_title(i, names) for i in range(len(names))])
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colors[i], label=title)
        for i, title in enumerate(titles)
        if (labels == i).any() or (query_labels == i).any()
    ]
    handles += [
        Line2D([], [], marker=m, linestyle="", color=style.GREY, markeredgecolor=style.INK, label=t)
        for m, t in (("o", "archive"), ("^", "query"))
    ]
    style.legend(axes, handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def confusion(matrix: np.ndarray, names: Sequence[str], *, title: str = "") -> Figure:
    """Queries by true class (rows) and predicted class, shaded by the share of the row."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    unit = " (diameter in mm)" if panels.in_mm(names) else ""
    return style.matrix(
        share,
        [[str(int(n)) if n else style.EMPTY_CELL for n in row] for row in matrix],
        share > 0.55,
        names,
        title=title or "True and predicted class",
        x=f"predicted class{unit}",
        y=f"true class{unit}",
        colour_title="share of the true class",
        cmap="Blues",
        vmin=0,
        vmax=1,
        format=PercentFormatter(1.0),
    )
