"""Training curves."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

from inres import vocabulary
from inres.figures import style

_TRAINING_PANELS = (
    {"loss": ("loss", style.BLUE)},
    {
        "accuracy": ("accuracy", style.BLUE),
        "map_macro": (vocabulary.mean_title("average_precision", macro=True), style.VERMILION),
        "dice": ("Dice", style.BLUE),
        "iou": ("IoU", style.GREEN),
    },
    {"learning_rate": ("learning rate", style.BLUE)},
)


def training_curves(rows: Iterable[Mapping[str, Any]], *, title: str = "Training") -> Figure:
    """Loss, scores and learning rate of a JSONL log (`kind`: train or val), by epoch or step.

    Training is a thin line, validation a dashed line with points. Values that the log lacks are
    left out.
    """
    rows = list(rows)
    axis = "epoch" if any("epoch" in row for row in rows) else "step"
    panels = []
    for panel in _TRAINING_PANELS:
        found = {key: look for key, look in panel.items() if any(key in row for row in rows)}
        if found:
            panels.append(found)
    figure = style.figure(3.4 * max(1, len(panels)) + 0.2, 3.2)
    style.heading(figure, title)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        style.label_axes(axes, title="", x=axis, y=", ".join(name for name, _ in panel.values()))
        for key, (name, color) in panel.items():
            for kind, width, dash, marker in (("train", 1.0, "-", ""), ("val", 1.6, "--", "o")):
                points = [
                    (float(row.get(axis, row.get("step", 0))), float(row[key]))
                    for row in rows
                    if row.get("kind", "train") == kind and row.get(key) is not None
                ]
                if points:
                    axes.plot(
                        *zip(*points, strict=True),
                        color=style.VERMILION if (key, kind) == ("loss", "val") else color,
                        linewidth=width,
                        linestyle=dash,
                        marker=marker,
                        markersize=3,
                        label=f"{name}, {kind}",
                    )
        if "loss" not in panel and "learning_rate" not in panel:
            axes.set_ylim(0, 1.02)
        if len(axes.lines) > 1:
            style.legend(axes, loc="best")
    return figure
