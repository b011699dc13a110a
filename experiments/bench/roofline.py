"""Roofline figure: achieved rates of programs against the peak rates of a chip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.chips import Chip
from inres.figures import style

PARTS = {
    "training step": (style.BLUE, "o"),
    "encoding": (style.SKY, "s"),
    "U-Net": (style.GREEN, "D"),
    "coarse": (style.VERMILION, "^"),
    "two stages": (style.ORANGE, "v"),
}
"""Colour and marker of each part of the benchmark; filled markers are float32 and searches."""


def plot(rows: Sequence[dict[str, Any]], chip: Chip, stem: Path) -> list[Path]:
    """Plot our programs, `rows` as `accelerator_case.measure` gives them."""
    shown = [row for row in rows if row.get("flops", 0) > 0 and row.get("bytes", 0) > 0]
    figure = style.figure(9.0, 6.0)
    axes = figure.add_subplot()
    measured = " (measured)" if chip.measured else ""
    style.label_axes(
        axes,
        title=f"Roofline: {chip.name}{measured}; numbers as in accelerator.md",
        x="operations per byte, as counted in the compiled program",
        y="operations per second",
    )
    style.log_scales(axes)
    ratios = [row["flops"] / row["bytes"] for row in shown]
    left = min([0.1, *(r / 2 for r in ratios)])
    right = max([2 * chip.bfloat16 / chip.bandwidth, *(2 * r for r in ratios)])
    x = np.geomspace(left, right, 200)
    for name, peak, line in (
        ("float32", chip.float32, "-"),
        ("bfloat16", chip.bfloat16, "--"),
    ):
        y = np.minimum(x * chip.bandwidth, peak)
        label = f"peak, {name}: {peak / 1e12:.3g} Tflop/s, {chip.bandwidth / 1e9:.4g} GB/s"
        axes.plot(x, y, line, color=style.GREY, label=label)
    labelled = set()
    for number, (row, ratio) in enumerate(zip(shown, ratios, strict=True), start=1):
        colour, marker = PARTS.get(row["part"], (style.BLACK, "x"))
        face = "none" if row["dtype"] == "bfloat16" else colour
        label = "" if row["part"] in labelled else row["part"]
        labelled.add(row["part"])
        achieved = row["flops_per_second"]
        axes.plot(ratio, achieved, marker, color=colour, markerfacecolor=face, label=label)
        axes.annotate(
            str(number), (ratio, achieved), textcoords="offset points", xytext=(5, 4),
            fontsize=8, color=style.INK,
        )  # fmt: skip
    style.legend_below(figure, 4)
    return style.save(figure, stem)


def numbers(rows: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Names of the numbered points."""
    shown = [row for row in rows if row.get("flops", 0) > 0 and row.get("bytes", 0) > 0]
    return {
        number: f"{row['part']}, {row['case']}, {row['dtype']}"
        for number, row in enumerate(shown, start=1)
    }
