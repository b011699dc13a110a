"""Figures of lung masks: outlines on slices, and the share of each nodule inside."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from inres.figures import style

MASK_NAMES = {
    "threshold": "\N{MINUS SIGN}400 HU",
    "luna16": "LUNA16",
    "repaired": "repaired",
    "unet": "U-Net",
}
_MASK_LOOKS: dict[str, tuple[str, str, Any]] = {
    "threshold": (style.ORANGE, "o", "--"),
    "luna16": (style.GREY, "v", ":"),
    "repaired": (style.BLUE, "s", "-"),
    "unet": (style.GREEN, "^", "-."),
}


def mask_examples(
    slices: Sequence[np.ndarray],
    threshold: Sequence[np.ndarray],
    unet: Sequence[np.ndarray] | None = None,
    *,
    titles: Sequence[str] = (),
) -> Figure:
    """Slices uint8 [S, S] with the outlines of the threshold mask and of the U-Net's mask."""
    columns = 3 if len(slices) in (5, 6) else min(4, max(1, len(slices)))
    rows = math.ceil(len(slices) / columns)
    figure = style.figure(2.6 * columns, 2.75 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        style.clear(axes)
    masks: list[tuple[Any, str, Any, str]] = [(threshold, style.ORANGE, "-", "learned from")]
    if unet is not None:
        masks.append((unet, style.SKY, "--", "U-Net"))
    for place, image in enumerate(slices):
        axes = grid[place]
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
        for mask, color, dash, _ in masks:
            if np.any(mask[place]):
                shown = np.asarray(mask[place], float)
                axes.contour(shown, [0.5], colors=color, linewidths=1.3, linestyles=dash)
        if titles:
            axes.set_title(titles[place], fontsize=8.5, color=style.MUTED)
    handles = [
        Line2D([], [], color=color, linestyle=dash, label=name) for _, color, dash, name in masks
    ]
    style.legend_below(figure, 2, handles)
    style.heading(figure, "Lung masks")
    return figure


def coverage(diameters_mm: np.ndarray, covered: Mapping[str, np.ndarray]) -> Figure:
    """Share of every annotated nodule inside its lung mask, by size and overall.

    Args:
      diameters_mm: float [M].
      covered: share of the nodule's sphere inside the mask, float [M], by kind of mask (a key of
        `MASK_NAMES`).
    """
    kinds = [name for name in MASK_NAMES if name in covered]
    figure = style.figure(8.4, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    style.label_axes(
        left,
        title="By size",
        x="nodule diameter (mm)",
        y="share of the nodule inside the mask",
    )
    for name in kinds:
        color, marker, _ = _MASK_LOOKS[name]
        left.scatter(
            diameters_mm,
            covered[name],
            s=16,
            color=color,
            marker=marker,
            alpha=0.65,
            linewidths=0,
            label=MASK_NAMES[name],
        )
    style.label_axes(
        right,
        title="All nodules",
        x="share of the nodule inside the mask",
        y="nodules kept to at least that share",
    )
    for name in kinds:
        values = np.sort(covered[name])
        if not len(values):
            continue
        steps = np.concatenate([[0.0], values, [1.0]])
        kept = np.concatenate([[1.0], 1 - np.arange(len(values)) / len(values), [0.0]])
        kept[-1] = np.mean(values >= 1.0)
        right.step(
            steps,
            kept,
            where="pre",
            color=_MASK_LOOKS[name][0],
            linewidth=1.8,
            linestyle=_MASK_LOOKS[name][2],
            label=MASK_NAMES[name],
        )
    left.set(ylim=(-0.03, 1.03))
    right.set(xlim=(0, 1), ylim=(0, 1.03))
    for axes in (left, right):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    # Nodules may be anywhere in the panel, so its legend is below.
    style.legend_below(figure, 3, left.get_legend_handles_labels()[0])
    style.legend(right, loc="lower left")
    return figure
