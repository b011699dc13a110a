"""Search panels: a query and its results, each image with class, distances and scan."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from inres.figures import style
from inres.system.messages import printable
from inres.vocabulary import CLASS_EDGES_MM, DIFFERENT_SD, SIMILAR_SD


@dataclasses.dataclass(frozen=True)
class Respect:
    """A property of an image, compared with the query's."""

    title: str
    value: str
    """Empty if unknown."""
    difference: float = float("nan")
    """Of the image minus that of the query, in standard deviations of the property; NaN: none."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """One image of a search panel; unknown values are None, NaN or empty."""

    image: np.ndarray
    """uint8 [S, S]."""
    label: int = -1
    diameter_mm: float = float("nan")
    scan: str = ""
    hamming: int | None = None
    distance: float | None = None
    """Euclidean distance of the fine feature."""
    respects: Sequence[Respect] = ()
    """Shown below the image; the same ones for each image of a panel."""


def short(name: str, *, keep: int = 10) -> str:
    """The end of a long name, such as `…279600012` of a scan, on one line."""
    name = printable(name)
    return name if len(name) <= keep + 1 else "…" + name[-keep:]


def millimetres(diameter: float) -> str:
    """A diameter in mm with one decimal place, or more where one gives an edge of a size class.

    So 4.97 and 4.996 are not shown as 5.0 and 5.00, which would belong to the next class.
    """
    edge = round(diameter, 1)
    if edge not in CLASS_EDGES_MM:
        return f"{diameter:.1f}"
    digits = next(n for n in range(2, 18) if (round(diameter, n) < edge) == (diameter < edge))
    return f"{diameter:.{digits}f}"


def _diameter(value: float) -> str:
    if math.isnan(value):
        return ""
    return "no nodule" if value == 0 else f"{millimetres(value)} mm"


def class_title(label: int, names: Sequence[str]) -> str:
    """Title of a class: `normal`, `6~8 mm`, `nodule`, or `class 3` if it has no name."""
    if label < 0:
        return "class unknown"
    name = printable(names[label]) if label < len(names) else str(label)
    if label == 0 and name == "=0":
        return "normal"
    if in_mm(names):
        return f"{name} mm"
    return f"class {name}" if name.isdigit() else name


def in_mm(names: Sequence[str]) -> bool:
    """Whether the classes are ranges of diameters."""
    return any(name.startswith(">") for name in names)


def _show(
    axes: Axes,
    shown: Shown,
    at: tuple[float, float, float],
    *,
    color: str,
    width: float,
    size: float,
) -> None:
    """Draw a framed image on a sheet, `at` left, top, side in inches, with its diameter in red."""
    left, top, side = at
    style.picture(axes, shown.image, left, top, side)
    axes.add_patch(Rectangle((left, top), side, side, edgecolor=color, linewidth=width, fill=False))
    text = _diameter(shown.diameter_mm)
    if text:
        mark = axes.text(
            left + 0.04 * side,
            top + 0.96 * side,
            text,
            color=style.RED,
            fontsize=size,
            weight="bold",
            va="bottom",
        )
        mark.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="white")])


_LABEL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


_LINE = 0.125
"""Height of one property in inches."""
_FARTHEST_SD = 2.0
"""Difference at which the bar of a property has its full length."""
_BARS = (
    f"Bars: difference to the query's estimate,\n"
    f"up to {_FARTHEST_SD:g} standard deviations (SD).\n"
    f"Blue: similar, below {SIMILAR_SD:g} SD. Grey: partly.\n"
    f"Orange: not similar, {DIFFERENT_SD:g} SD or more."
)


def _respect_color(difference: float) -> str:
    if math.isnan(difference):
        return style.INK
    if abs(difference) < SIMILAR_SD:
        return style.BLUE
    return style.GREY if abs(difference) < DIFFERENT_SD else style.VERMILION


def _show_respects(
    axes: Axes,
    shown: Shown,
    left: float,
    top: float,
    width: float,
    *,
    size: float = 6.5,
    keep: int = 18,
) -> None:
    """Draw the properties of an image below each other: title, difference as a bar, value.

    Titles of more than `keep` characters, which would reach the bar, are cut. The bar starts at the
    query's value, which is the line in the middle of its column.
    """
    middle, half = left + 0.69 * width, 0.15 * width
    end: dict[str, Any] = {"fontsize": size, "va": "center"}
    for row, respect in enumerate(shown.respects):
        y = top + (row + 0.5) * _LINE
        color = _respect_color(respect.difference)
        cut = len(respect.title) > keep
        title = respect.title[: keep - 1] + "…" if cut else respect.title
        axes.text(left, y, title, color=style.INK if respect.value else style.MUTED, **end)
        value = respect.value or style.EMPTY_CELL
        axes.text(left + width, y, value, color=color, ha="right", **end)
        if not math.isnan(respect.difference):
            length = max(-1.0, min(1.0, respect.difference / _FARTHEST_SD)) * half
            at = (middle, y - 0.3 * _LINE)
            axes.add_patch(Rectangle(at, length, 0.6 * _LINE, color=color, linewidth=0))
            ends = ([middle, middle], [y - 0.5 * _LINE, y + 0.5 * _LINE])
            axes.plot(*ends, color=style.INK, linewidth=0.7)


def search_panel(
    query: Shown,
    results: Sequence[Shown],
    *,
    class_names: Sequence[str] = (),
    title: str = "",
    columns: int = 5,
) -> Figure:
    """Query and results, nearest first, like the paper's Figs. 9 and 10.

    A blue tick marks a result of the query's class, a black cross one of another class; there is
    no mark if one of the classes is unknown. Diameters are red. Below each image: class, Hamming
    (H) and Euclidean (E) distance, scan, and the properties: a bar to the right means more than the
    query's, to the left less. Without results the panel says so.
    """
    rows = max(1, math.ceil(len(results) / columns))
    side, large, below, top, gap = 1.5, 2.3, 0.56, 0.42, 0.12
    listed = len(query.respects) * _LINE
    below += listed + 0.08 if listed else 0.0
    first = 0.15 + large + 0.25
    width = first + columns * (side + gap)
    legend = 0.7 if listed else 0.0
    height = top + max(large + 0.5 + listed + legend, rows * (side + below))
    figure, axes = style.sheet(width, height, title or "Query")
    _show(axes, query, (0.15, top, large), color=style.INK, width=2.0, size=11)
    text = _lines(f"query: {class_title(query.label, class_names)}", short(query.scan))
    under: dict[str, Any] = {"color": style.INK, "ha": "center", "va": "top"}
    axes.text(0.15 + large / 2, top + large + 0.05, text, fontsize=9.5, **under)
    if query.respects:
        _show_respects(axes, query, 0.15, top + large + 0.5, large, size=7.5, keep=24)
    if any(not math.isnan(one.difference) for shown in results for one in shown.respects):
        axes.text(0.15, top + large + 0.6 + listed, _BARS, fontsize=7, color=style.MUTED, va="top")
    if not results:
        text = "No item of the archive is below the threshold.\nRaise it, or widen the search."
        middle: dict[str, Any] = {"color": style.MUTED, "ha": "center", "va": "center"}
        axes.text((first + width) / 2, top + large / 2, text, fontsize=11, **middle)
    for place, shown in enumerate(results):
        row, column = divmod(place, columns)
        x, y = first + column * (side + gap), top + row * (side + below)
        judged = query.label >= 0 and shown.label >= 0
        same = judged and query.label == shown.label
        color = style.BLUE if same else style.INK if judged else style.GREY
        _show(axes, shown, (x, y, side), color=color, width=1.6, size=9)
        corner: dict[str, Any] = {"va": "top", "bbox": _LABEL}
        axes.text(x + 0.06, y + 0.06, str(place + 1), fontsize=8.5, color=style.INK, **corner)
        if judged:
            mark = "\N{HEAVY CHECK MARK}" if same else "\N{HEAVY BALLOT X}"
            color = style.BLUE if same else style.BLACK
            axes.text(
                x + side - 0.06, y + 0.06, mark, fontsize=12, color=color, ha="right", **corner
            )
        hamming = "" if shown.hamming is None else f"H {shown.hamming}"
        distance = "" if shown.distance is None else f"E {shown.distance:.2f}"
        text = _lines(
            class_title(shown.label, class_names),
            "   ".join(part for part in (hamming, distance) if part),
            short(shown.scan),
        )
        axes.text(x + side / 2, y + side + 0.04, text, fontsize=8, **under)
        _show_respects(axes, shown, x, y + side + 0.5, side)
    return figure


def error_sheet(
    lines: Sequence[tuple[Shown, Sequence[Shown], str]], *, class_names: Sequence[str] = ()
) -> Figure:
    """A row for each query: the query in a thick frame, a note, and its results.

    Marks and captions are those of `search_panel`.
    """
    side, below, top, gap = 1.25, 0.5, 0.42, 0.1
    columns = max([1, *(len(results) for _, results, _ in lines)])
    first = 0.15 + side + 0.3
    width = first + columns * (side + gap)
    height = top + len(lines) * (side + below) + 0.05
    figure, axes = style.sheet(width, height, "Worst queries (left) and their results")
    under: dict[str, Any] = {"color": style.INK, "ha": "center", "va": "top", "fontsize": 7.5}
    for row, (query, results, note) in enumerate(lines):
        y = top + row * (side + below)
        _show(axes, query, (0.15, y, side), color=style.INK, width=2.4, size=8)
        text = _lines(class_title(query.label, class_names), note, short(query.scan))
        axes.text(0.15 + side / 2, y + side + 0.03, text, **under)
        if not results:
            text = "no results: no item is below the threshold"
            axes.text(first, y + side / 2, text, fontsize=9.5, color=style.MUTED, va="center")
        for place, shown in enumerate(results):
            x = first + place * (side + gap)
            same = query.label == shown.label
            color = style.BLUE if same else style.INK
            _show(axes, shown, (x, y, side), color=color, width=1.4, size=8)
            mark = "\N{HEAVY CHECK MARK}" if same else "\N{HEAVY BALLOT X}"
            corner: dict[str, Any] = {"va": "top", "ha": "right", "bbox": _LABEL}
            axes.text(x + side - 0.05, y + 0.05, mark, fontsize=10, color=color, **corner)
            distance = "" if shown.distance is None else f"E {shown.distance:.2f}"
            hamming = "" if shown.hamming is None else f"H {shown.hamming}  "
            text = _lines(
                class_title(shown.label, class_names), hamming + distance, short(shown.scan)
            )
            axes.text(x + side / 2, y + side + 0.03, text, **under)
    return figure
