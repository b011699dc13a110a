"""Figures of the data: samples of each class, and numbers of items."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from inres.figures import panels, style


def sample_sheet(
    images: np.ndarray,
    labels: np.ndarray,
    diameters_mm: np.ndarray,
    names: Sequence[str],
    *,
    per_class: int = 8,
) -> Figure:
    """Items as the network sees them: one row per class, spread evenly over its diameters.

    `images` is uint8 [N, S, S]; labels and diameters are [N].
    """
    present = [label for label in range(len(names)) if np.any(labels == label)]
    side, gap, left, top, below = 1.1, 0.08, 0.55, 0.42, 0.24
    figure, axes = style.sheet(
        left + per_class * (side + gap),
        top + len(present) * (side + below),
        "Items of each class" + (" (diameter in mm)" if panels.in_mm(names) else ""),
    )
    for line, label in enumerate(present):
        y = top + line * (side + below)
        axes.text(
            left - 0.1,
            y + side / 2,
            names[label],
            fontsize=10,
            color=style.INK,
            rotation=90,
            ha="right",
            va="center",
        )
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(diameters_mm[rows], kind="stable")]
        count = min(per_class, len(rows))
        for column, row in enumerate(rows[np.linspace(0, len(rows) - 1, count).astype(int)]):
            x = left + column * (side + gap)
            style.picture(axes, images[row], x, y, side)
            if diameters_mm[row] > 0:
                text = f"{panels.millimetres(diameters_mm[row])} mm"
                axes.text(
                    x + side / 2,
                    y + side + 0.03,
                    text,
                    fontsize=8,
                    color=style.RED,
                    ha="center",
                    va="top",
                )
    return figure


def class_counts(counts: Mapping[str, Sequence[int]], names: Sequence[str]) -> Figure:
    """Number of items by class, stacked by split."""
    figure = style.figure(6.4, 3.2)
    axes = style.label_axes(
        figure.add_subplot(),
        title="Items by class",
        x="class (diameter in mm)" if panels.in_mm(names) else "class",
        y="items",
    )
    base = np.zeros(len(names))
    for (split, values), color in zip(
        counts.items(), (style.BLUE, style.SKY, style.ORANGE, style.GREY), strict=False
    ):
        axes.bar(names, values, bottom=base, color=color, label=split, width=0.7)
        base += np.asarray(values)
    axes.grid(axis="x", visible=False)
    style.legend(axes, loc="best")
    return figure
