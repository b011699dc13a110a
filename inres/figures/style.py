"""Style of all figures: colours, axes, sheets of images, and `save`.

Colours are those of Okabe and Ito, which remain distinguishable with any colour vision and,
together with the line styles, in grey print. `save` writes a figure as PNG, SVG and PDF.

Names come from the data, so all text is drawn as it is: `$` and `_` have no special meaning.
"""

import contextlib
import functools
import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from inres.system import files
from inres.system.messages import printable

INK = "#1b1f24"
MUTED = "#5b6470"
GRID = "#d9dee4"
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY, BLACK = "#CC79A7", "#56B4E9", "#8a929c", "#000000"
RED = "#d00000"
EMPTY_CELL = "·"
"""Text of a cell of `matrix` without a value."""
Grid = Literal["both", "x", "y"]
SCRIPTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "WenQuanYi Zen Hei", "SimHei"),
    *("Hiragino Sans", "Arial Unicode MS", "Noto Sans", "Noto Sans Symbols", "Noto Emoji"),
)
"""Fonts for scripts that the default font lacks, used where they are installed."""


class PlainFigure(Figure):
    """A figure that draws every text literally, in any script."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure; characters that no font has are boxes."""
        with literal_text(self):
            super().draw(renderer)


@contextlib.contextmanager
def literal_text(figure: Figure) -> Iterator[None]:
    """Within this context, no text of `figure` is read as mathematics or TeX."""
    for text in figure.findobj(Text):
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
        text.set_parse_math(False)
        text.set_usetex(False)
        if not {*SCRIPTS} & {*text.get_fontfamily()}:
            text.set_fontfamily([*text.get_fontfamily(), *_installed_scripts()])
    # Tick labels may be made while drawing.
    with (
        mpl.rc_context({"text.parse_math": False, "text.usetex": False}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


@functools.cache
def _installed_scripts() -> tuple[str, ...]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in SCRIPTS if name in installed)


def save(figure: Figure, stem: str | Path, *, dpi: int = 160, pdf: bool = True) -> list[Path]:
    """Write `figure` as PNG, SVG and, with `pdf`, PDF; the same figure gives the same bytes.

    Without `pdf`, an existing PDF of that name is removed, because it would show older numbers.
    """
    paths = []
    kinds = ["png", "svg", *(["pdf"] if pdf else [])]
    if not pdf:
        Path(f"{stem}.pdf").unlink(missing_ok=True)
    with _laid_out(figure):
        for kind in kinds:
            path = Path(f"{stem}.{kind}")
            with files.atomic_path(path) as part:
                figure.savefig(part, dpi=dpi, metadata=_UNDATED[kind])
            paths.append(path)
    return paths


_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""Formats of figures, and what is left out so that the same figure gives the same bytes."""
_DRAWING = threading.Lock()


def contents(figure: Figure, kind: str, *, dpi: int = 160) -> bytes:
    """`figure` as a file of a kind, `png`, `svg` or `pdf`, as `save` writes it."""
    out = io.BytesIO()
    with _DRAWING, _laid_out(figure):  # Matplotlib's settings are those of all threads
        figure.savefig(out, format=kind, dpi=dpi, metadata=_UNDATED[kind])
    return out.getvalue()


@contextlib.contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """The settings for files, with the layout made once for all formats."""
    style: dict[Any, Any] = {"svg.hashsalt": "inres", "svg.fonttype": "path", "pdf.fonttype": 42}
    with mpl.rc_context(style):
        engine = figure.get_layout_engine()
        if engine is not None:
            with literal_text(figure):
                engine.execute(figure)
            figure.set_layout_engine(None)
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches, drawn by Agg."""
    figure = PlainFigure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure with one axes over its whole area, in inches from the upper left corner.

    Used for sheets of many images, because one axes per image takes far longer to draw.
    """
    figure = PlainFigure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.text(0.15, 0.12, title, fontsize=11.5, color=INK, va="top")
    return figure, axes


def picture(axes: Axes, image: np.ndarray, left: float, top: float, side: float) -> None:
    """Draw a grey image on a sheet, without interpolation; position and size in inches."""
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


def clear(axes: Axes) -> None:
    """Remove ticks and frame."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def heading(figure: Figure, title: str) -> None:
    """A title over all axes, at the left."""
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")


def label_axes(axes: Axes, *, title: str, x: str, y: str, grid: Grid = "both") -> Axes:
    """Title, axis names, grid lines and spines of one axes."""
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)
    axes.tick_params(which="both", labelsize=9, colors=MUTED)
    axes.grid(color=GRID, linewidth=0.7, axis=grid)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    return axes


def log_scales(axes: Axes) -> Axes:
    """Logarithmic scales whose ticks are written as plain numbers: 0.1, 100, 1e6."""
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("e+0", "e"))
        axis.set_minor_formatter(_PlainMinor(labelOnlyBase=False))
    return axes


class _PlainMinor(LogFormatter):
    """Plain numbers between powers of ten where an axis spans about one decade."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def legend(axes: Axes, **where: Any) -> None:
    """A legend without a frame."""
    axes.legend(fontsize=8.5, frameon=False, labelcolor=INK, **where)


def legend_above(axes: Axes, columns: int) -> None:
    """A legend without a frame between the axes and its title."""
    axes.set_title(axes.get_title(loc="left"), fontsize=11, color=INK, loc="left", pad=26)
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns)


def short_names(names: Sequence[str], *, keep: int = 30) -> list[str]:
    """Names from the data on one line each, and short enough to leave room for the axes."""
    shown = map(printable, names)
    return [name if len(name) <= keep + 1 else name[:keep] + "…" for name in shown]


def matrix(
    values: np.ndarray,
    cells: Sequence[Sequence[str]],
    white: np.ndarray,
    names: Sequence[str],
    *,
    title: str,
    x: str,
    y: str,
    colour_title: str,
    **image: Any,
) -> Figure:
    """A square matrix as shaded cells with a number in each, and a colour bar.

    Args:
      values: float [n, n], the shades.
      cells: text of each cell; a centred dot is drawn in grey.
      white: bool [n, n], cells whose text is white.
      names: of rows and columns.
      title, x, y: of the axes.
      colour_title: of the colour bar.
      image: keyword arguments of `imshow`; `format` is that of the colour bar's ticks.
    """
    size = 1.9 + 0.55 * len(values)
    bar_format = image.pop("format", None)
    drawn = figure(max(size + 0.6, 5.0), size)
    axes = drawn.add_subplot()
    shown = axes.imshow(values, **image)
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    for row, column in np.ndindex(*values.shape):
        text = cells[row][column]
        colour = "white" if white[row, column] else GREY if text == EMPTY_CELL else INK
        axes.text(column, row, text, fontsize=8.5, color=colour, **middle)
    label_axes(axes, title=title, x=x, y=y)
    axes.grid(visible=False)
    axes.set_xticks(range(len(names)), short_names(names), rotation=45 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), short_names(names))
    bar = drawn.colorbar(shown, ax=axes, shrink=0.8, format=bar_format)
    bar.set_label(colour_title, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=MUTED)
    bar.outline.set_visible(False)
    return drawn


def legend_below(figure: Figure, columns: int, handles: Sequence[Any] | None = None) -> None:
    """A legend without a frame below all axes, of `handles` or of everything with a label."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        fontsize=8.5,
        frameon=False,
        labelcolor=INK,
    )
