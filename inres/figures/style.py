"""What all figures share: colours, axes, sheets of images, and `save`.

Colours are Okabe and Ito's, told apart by any eye and in grey print together with the line
styles. `save` writes a figure as PNG, SVG and PDF.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from inres.system import files

INK = "#1b1f24"
MUTED = "#5b6470"
GRID = "#d9dee4"
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY, BLACK = "#CC79A7", "#56B4E9", "#8a929c", "#000000"
RED = "#d00000"


def save(figure: Figure, stem: str | Path, *, dpi: int = 160, pdf: bool = True) -> list[Path]:
    """Write `figure` as PNG, SVG and, if asked, PDF; the same figure gives the same bytes.

    Without, a PDF of that name is removed: it would show older numbers.
    """
    paths = []
    kinds = {".png": {"Software": None}, ".svg": {"Date": None}}
    if pdf:
        kinds[".pdf"] = {"CreationDate": None}
    else:
        Path(f"{stem}.pdf").unlink(missing_ok=True)
    style: dict[Any, Any] = {"svg.hashsalt": "inres", "svg.fonttype": "path", "pdf.fonttype": 42}
    with mpl.rc_context(style):
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)  # once for all kinds, and not again in a trial run of each
            figure.set_layout_engine(None)
        for suffix, metadata in kinds.items():
            path = Path(f"{stem}{suffix}")
            with files.atomic_path(path) as part:
                figure.savefig(part, dpi=dpi, metadata=metadata)
            paths.append(path)
    return paths


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn by Agg."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure that is all one axes, in inches from its upper left corner, with a title.

    For sheets of many images: an axes for each takes far longer to draw.
    """
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.text(0.15, 0.12, title, fontsize=11.5, color=INK, va="top")
    return figure, axes


def picture(axes: Axes, image: np.ndarray, left: float, top: float, side: float) -> None:
    """A grey image at a place of a sheet; its pixels are shown as they are."""
    extent = (left, left + side, top + side, top)
    axes.imshow(
        image,
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="none",
        extent=extent,
        aspect="auto",
    )


def label_axes(axes: Axes, *, title: str, x: str, y: str) -> Axes:
    """Title, axis names and a quiet look."""
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)
    axes.tick_params(labelsize=9, colors=MUTED)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    return axes


def legend(axes: Axes, **where: Any) -> None:
    """A legend without a frame."""
    axes.legend(fontsize=8.5, frameon=False, labelcolor=INK, **where)


def legend_below(figure: Figure, columns: int, handles: Sequence[Any] | None = None) -> None:
    """A legend without a frame under all axes, of `handles` or of whatever has a label."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
    )
