"""Every figure: functions from arrays to matplotlib Figures, without pyplot or global state.

Colours are Okabe and Ito's, told apart by any eye and in grey print together with the line
styles. `save` writes a figure as PNG, SVG and PDF.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from inres import files

INK = "#1b1f24"
MUTED = "#5b6470"
GRID = "#d9dee4"
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY, BLACK = "#CC79A7", "#56B4E9", "#8a929c", "#000000"
RED = "#d00000"

RANKING_NAMES = {
    "two_stage": "two-stage search",
    "hamming": "Hamming distance",
    "latent": "H at 0.5 (paper)",
    "alone": "slice without neighbours",
    "fc1": "FC1",
    "fc2": "FC2 (hash layer)",
    "fc3": "FC3",
    "fc1_fc3": "FC1+FC3",
    "embedding": "vectors given",
    "softmax": "softmax",
    "predicted_class": "predicted class",
    "itq_fc1": "PCA+ITQ on FC1",
    "lsh_fc1": "LSH on FC1",
    "itq_embedding": "PCA+ITQ on the vectors",
    "lsh_embedding": "LSH on the vectors",
    "pixels": "raw pixels",
    "hog": "HOG",
    "itq_pixels": "PCA+ITQ on pixels",
    "lsh_pixels": "LSH on pixels",
    "chance": "chance",
}
OURS = ("two_stage", "hamming")
"""The rankings that are judged; all others are what they are compared with."""
_LINES: dict[str, tuple[str, Any, float]] = {
    "two_stage": (BLUE, "-", 2.6),
    "hamming": (SKY, "-", 1.6),
    "fc1": (VERMILION, "-", 1.6),
    "embedding": (VERMILION, "-", 1.6),
    "softmax": (GREEN, "-.", 1.6),
    "predicted_class": (BLACK, ":", 1.6),
    "itq_fc1": (ORANGE, "--", 1.6),
    "itq_embedding": (ORANGE, "--", 1.6),
    "pixels": (GREY, (0, (5, 2)), 1.4),
    "hog": (PURPLE, (0, (3, 1, 1, 1)), 1.4),
    "itq_pixels": (ORANGE, ":", 1.4),
    "chance": (GREY, ":", 1.4),
}
"""The rankings whose curves are drawn; of all of them one would see none."""


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


def _figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn by Agg."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _sheet(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure that is all one axes, in inches from its upper left corner, with a title.

    For sheets of many images: an axes for each takes far longer to draw.
    """
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), frameon=False)
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.text(0.15, 0.12, title, fontsize=11.5, color=INK, va="top")
    return figure, axes


def _picture(axes: Axes, image: np.ndarray, left: float, top: float, side: float) -> None:
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


def _axes(axes: Axes, *, title: str, x: str, y: str) -> Axes:
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


def _empty(axes: Axes) -> None:
    """No ticks, no frame."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(axes: Axes, **where: Any) -> None:
    axes.legend(fontsize=8.5, frameon=False, labelcolor=INK, **where)


# --- search results -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shown:
    """One image of a search panel; what is unknown is None, NaN or empty."""

    image: np.ndarray
    """uint8 [S, S]."""
    label: int = -1
    diameter_mm: float = float("nan")
    scan: str = ""
    hamming: int | None = None
    distance: float | None = None
    """Euclidean distance of the fine feature."""


def short(name: str, *, keep: int = 10) -> str:
    """A long scan id by its end: `…279600012`."""
    return name if len(name) <= keep + 1 else "…" + name[-keep:]


def _diameter(value: float) -> str:
    if math.isnan(value):
        return ""
    return "no nodule" if value == 0 else f"{value:.1f} mm"


def class_title(label: int, names: Sequence[str]) -> str:
    """A class in words: `normal`, `6~8 mm`, `nodule`, or `class 3` where it has no name."""
    if label < 0:
        return "class unknown"
    name = names[label] if label < len(names) else str(label)
    if label == 0 and name == "=0":
        return "normal"
    if _in_mm(names):
        return f"{name} mm"
    return f"class {name}" if name.isdigit() else name


def _show(
    axes: Axes,
    shown: Shown,
    at: tuple[float, float, float],
    *,
    color: str,
    width: float,
    size: float,
) -> None:
    """The image at left, top, side of a sheet, in a frame, its diameter in red."""
    left, top, side = at
    _picture(axes, shown.image, left, top, side)
    axes.add_patch(Rectangle((left, top), side, side, edgecolor=color, linewidth=width, fill=False))
    text = _diameter(shown.diameter_mm)
    if text:
        mark = axes.text(
            left + 0.04 * side,
            top + 0.96 * side,
            text,
            color=RED,
            fontsize=size,
            weight="bold",
            va="bottom",
        )
        mark.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="white")])


_LABEL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


def search_panel(
    query: Shown,
    results: Sequence[Shown],
    *,
    class_names: Sequence[str] = (),
    title: str = "",
    columns: int = 5,
) -> Figure:
    """Query and results, nearest first, in the manner of the paper's Figs. 9 and 10.

    A blue tick marks a result of the query's class, a black cross one of another; where one of
    the classes is unknown there is no mark. The diameter stands in red. Under each image: class,
    Hamming (H) and Euclidean (E) distance, scan. Without results the panel says so.
    """
    rows = max(1, math.ceil(len(results) / columns))
    side, large, below, top, gap = 1.5, 2.3, 0.56, 0.42, 0.12
    first = 0.15 + large + 0.25
    width = first + columns * (side + gap)
    height = top + max(large + 0.5, rows * (side + below))
    figure, axes = _sheet(width, height, title or "Query")
    _show(axes, query, (0.15, top, large), color=INK, width=2.0, size=11)
    text = _lines(f"query: {class_title(query.label, class_names)}", short(query.scan))
    under: dict[str, Any] = {"color": INK, "ha": "center", "va": "top"}
    axes.text(0.15 + large / 2, top + large + 0.05, text, fontsize=9.5, **under)
    if not results:
        text = "No item of the archive has a code this near.\nRaise the threshold, or widen it."
        middle: dict[str, Any] = {"color": MUTED, "ha": "center", "va": "center"}
        axes.text((first + width) / 2, top + large / 2, text, fontsize=11, **middle)
    for place, shown in enumerate(results):
        row, column = divmod(place, columns)
        x, y = first + column * (side + gap), top + row * (side + below)
        judged = query.label >= 0 and shown.label >= 0
        same = judged and query.label == shown.label
        color = BLUE if same else INK if judged else GREY
        _show(axes, shown, (x, y, side), color=color, width=1.6, size=9)
        corner: dict[str, Any] = {"va": "top", "bbox": _LABEL}
        axes.text(x + 0.06, y + 0.06, str(place + 1), fontsize=8.5, color=INK, **corner)
        if judged:
            mark = "\N{HEAVY CHECK MARK}" if same else "\N{HEAVY BALLOT X}"
            color = BLUE if same else BLACK
            axes.text(
                x + side - 0.06, y + 0.06, mark, fontsize=12, color=color, ha="right", **corner
            )
        hamming = "" if shown.hamming is None else f"H {shown.hamming}"
        distance = "" if shown.distance is None else f"E {shown.distance:.3g}"
        text = _lines(
            class_title(shown.label, class_names),
            "   ".join(part for part in (hamming, distance) if part),
            short(shown.scan),
        )
        axes.text(x + side / 2, y + side + 0.04, text, fontsize=8, **under)
    return figure


def error_sheet(
    lines: Sequence[tuple[Shown, Sequence[Shown], str]], *, class_names: Sequence[str] = ()
) -> Figure:
    """A row for each query: the query in a thick frame, a note, and what was returned instead.

    Marks and captions are those of `search_panel`.
    """
    side, below, top, gap = 1.25, 0.5, 0.42, 0.1
    columns = max([1, *(len(results) for _, results, _ in lines)])
    first = 0.15 + side + 0.3
    width = first + columns * (side + gap)
    height = top + len(lines) * (side + below) + 0.05
    figure, axes = _sheet(width, height, "Worst queries (left), and what they returned")
    under: dict[str, Any] = {"color": INK, "ha": "center", "va": "top", "fontsize": 7.5}
    for row, (query, results, note) in enumerate(lines):
        y = top + row * (side + below)
        _show(axes, query, (0.15, y, side), color=INK, width=2.4, size=8)
        text = _lines(class_title(query.label, class_names), note, short(query.scan))
        axes.text(0.15 + side / 2, y + side + 0.03, text, **under)
        if not results:
            text = "nothing: no item has a code this near"
            axes.text(first, y + side / 2, text, fontsize=9.5, color=MUTED, va="center")
        for place, shown in enumerate(results):
            x = first + place * (side + gap)
            same = query.label == shown.label
            color = BLUE if same else INK
            _show(axes, shown, (x, y, side), color=color, width=1.4, size=8)
            mark = "\N{HEAVY CHECK MARK}" if same else "\N{HEAVY BALLOT X}"
            corner: dict[str, Any] = {"va": "top", "ha": "right", "bbox": _LABEL}
            axes.text(x + side - 0.05, y + 0.05, mark, fontsize=10, color=color, **corner)
            distance = "" if shown.distance is None else f"E {shown.distance:.3g}"
            hamming = "" if shown.hamming is None else f"H {shown.hamming}  "
            text = _lines(
                class_title(shown.label, class_names), hamming + distance, short(shown.scan)
            )
            axes.text(x + side / 2, y + side + 0.03, text, **under)
    return figure


# --- retrieval ------------------------------------------------------------------------------


def precision_recall(
    curves: Mapping[str, np.ndarray],
    *,
    pool: tuple[float, float] | None = None,
    title: str = "Precision and recall of each ranking",
) -> Figure:
    """The paper's Fig. 8: interpolated precision by recall, macro mean over queries.

    Args:
      curves: `recall` [G] and precision [G] by ranking, as `Evaluation.curves`; the span from
        `worst/hamming` to `best/hamming` is shaded.
      pool: recall and precision of the candidate pool at the threshold used, drawn as a point.
    """
    figure = _figure(7.4, 4.6)
    axes = _axes(figure.add_subplot(), title=title, x="recall", y="precision (macro mean)")
    for name in (n for n in _LINES if n in curves):
        color, style, width = _LINES[name]
        if name == "hamming" and "worst/hamming" in curves:
            axes.fill_between(
                curves["recall"],
                curves["worst/hamming"],
                curves["best/hamming"],
                color=SKY,
                alpha=0.25,
                linewidth=0,
                label="Hamming: worst to best\norder of ties",
            )
        axes.plot(
            curves["recall"],
            curves[name],
            color=color,
            linestyle=style,
            linewidth=width,
            label=RANKING_NAMES[name],
            zorder=3 if name == "two_stage" else 2,
        )
    if pool is not None and all(map(np.isfinite, pool)):
        axes.plot(
            *pool,
            "D",
            color=BLUE,
            markeredgecolor="white",
            markersize=9,
            label="candidate pool",
            zorder=4,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    _legend(axes, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def pools(values: Mapping[str, np.ndarray], *, threshold: int, items: int) -> Figure:
    """What the coarse stage keeps, by Hamming threshold (`Evaluation.pools`)."""
    figure = _figure(8.0, 3.6)
    left, right = figure.subplots(1, 2)
    x = values["threshold"]
    _axes(
        left,
        title="What is in the pool",
        x="Hamming threshold (bits, less than)",
        y="share",
    )
    for name, color, style, label in (
        ("precision", BLUE, "-", "precision (empty pool: 0)"),
        ("recall", VERMILION, "--", "recall"),
        ("empty_share", GREY, ":", "queries with an empty pool"),
    ):
        left.plot(x, values[name], color=color, linestyle=style, linewidth=1.8, label=label)
    left.set(ylim=(0, 1.02))
    _axes(
        right,
        title="How large it is",
        x="Hamming threshold (bits, less than)",
        y="mean pool (share of the archive)",
    )
    right.plot(x, values["mean_size"] / items, color=BLUE, linewidth=1.8)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, right):
        axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlim(1, max(2, int(x[-1])))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.annotate(
        f"threshold used: {threshold}",
        (threshold, 0.98),
        xycoords=("data", "axes fraction"),
        xytext=(5, -2),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
        va="top",
    )
    _legend(left, loc="best")
    return figure


def baselines(
    values: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float] | None],
    *,
    measure: str,
) -> Figure:
    """One number of every ranking with its interval, the best on top.

    Args:
      values: by ranking; None is left out.
      intervals: low and high end by ranking, where there are any.
      measure: what the numbers are.
    """
    known = sorted((v, n) for n, v in values.items() if v is not None)
    figure = _figure(5.4, 1.1 + 0.27 * len(known))
    axes = _axes(figure.add_subplot(), title="Every ranking", x=measure, y="ranking")
    for place, (value, name) in enumerate(known):
        color = BLUE if name in OURS else GREY
        ends = intervals.get(name)
        if ends is not None:
            axes.plot(ends, (place, place), color=color, linewidth=3, alpha=0.45)
        axes.plot(value, place, "D" if name in OURS else "o", color=color, markersize=6)
        right = value if ends is None else max(ends)
        axes.annotate(
            f"{value:.3f}",
            (right, place),
            xytext=(7, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
            va="center",
        )
    axes.set_yticks(range(len(known)), [RANKING_NAMES[name] for _, name in known])
    for label, (_, name) in zip(axes.get_yticklabels(), known, strict=True):
        label.set_color(BLUE if name in OURS else INK)
    axes.set_xlim(0, 1.2 * max([0.1, *(v for v, _ in known)]))
    axes.grid(axis="y", visible=False)
    return figure


def lookups(sweeps: Mapping[str, Mapping[str, np.ndarray]], *, radius: int = 2) -> Figure:
    """Hamming lookup of each code: what lies within a radius (`Evaluation.lookups`)."""
    figure = _figure(8.4, 3.7)
    left, right = figure.subplots(1, 2)
    _axes(
        left,
        title="Precision and recall by radius",
        x="recall of the lookup",
        y="precision of the lookup",
    )
    _axes(
        right,
        title="Queries that find nothing",
        x="Hamming radius (bits, at most)",
        y="share of empty lookups",
    )
    looks = (
        *((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":"), (GREY, (0, (5, 2)))),
        *((VERMILION, (0, (3, 1, 1, 1))), (SKY, (0, (1, 1)))),
    )
    for place, (name, sweep) in enumerate(sweeps.items()):
        color, style = looks[place % len(looks)]
        width = 2.4 if name in OURS else 1.5
        look: dict[str, Any] = {"color": color, "linestyle": style, "linewidth": width}
        at = min(radius, len(sweep["recall"]) - 1)
        left.plot(sweep["recall"], sweep["precision"], label=RANKING_NAMES[name], **look)
        left.plot(sweep["recall"][at], sweep["precision"][at], "D", color=color, markersize=6)
        right.plot(sweep["threshold"] - 1, sweep["empty_share"], **look)
    left.set(xlim=(0, 1.02), ylim=(0, 1.02))
    right.set_ylim(0, 1.02)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.axvline(radius, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    return figure


def efficiency(
    sweep: Mapping[str, np.ndarray], measured: Sequence[Mapping[str, Any]], *, items: int
) -> Figure:
    """The paper's claim: near the full search's answer, at a share of its work.

    Args:
      sweep: `Evaluation.pools`.
      measured: `threshold`, `neighbours_kept` and `seconds_per_query` of timed searches; without
        any the right half says so.
      items: of the archive.
    """
    figure = _figure(8.4, 3.7)
    left, right = figure.subplots(1, 2)
    y = "true 10 nearest that are found"
    _axes(left, title="What is left to compare", x="mean pool (share of the archive)", y=y)
    share = sweep["mean_size"] / items
    left.plot(share, sweep["neighbours_kept"], color=BLUE, linewidth=1.8)
    _axes(right, title="What it costs", x="time of a query (ms)", y=y)
    right.xaxis.set_major_locator(MaxNLocator(5))  # labels of small times are long
    slowest = 1e3 * max((row["seconds_per_query"] for row in measured), default=1.0)
    for axes, widest in ((left, 1.0), (right, slowest)):
        labelled: list[np.ndarray] = []
        for row in measured:
            x = 1e3 * row["seconds_per_query"]
            if axes is left:
                x = share[int(row["threshold"]) - 1]
            place = np.array([x / widest, row["neighbours_kept"]])
            axes.plot(x, row["neighbours_kept"], "o", color=BLUE, markersize=5)
            if all(np.abs(place - other).max() > 0.07 for other in labelled):
                labelled.append(place)
                axes.annotate(
                    f"<{row['threshold']}",
                    (x, row["neighbours_kept"]),
                    xytext=(5, -9),
                    textcoords="offset points",
                    fontsize=8,
                    color=MUTED,
                )
    if not measured:
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": right.transAxes}
        right.text(0.5, 0.5, "not measured", color=MUTED, **middle)
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
    size = 1.9 + 0.55 * len(matrix)
    figure = _figure(max(size + 0.6, 5.0), size)
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="Blues_r", vmin=0)
    known = matrix[np.isfinite(matrix)]
    middle = known.max() * 0.45 if len(known) else 0.0
    for row, column in np.ndindex(*matrix.shape):
        value = matrix[row, column]
        text, color = ("·", GREY) if np.isnan(value) else (f"{value:.1f}", INK)
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if value < middle else color,
        )
    unit = " (diameter in mm)" if _in_mm(names) else ""
    _axes(
        axes,
        title="Hamming distance between classes",
        x=f"class of the items{unit}",
        y=f"class of the queries{unit}",
    )
    axes.grid(False)
    axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("mean distance (bits)", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=MUTED)
    bar.outline.set_visible(False)
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
      items, queries: float [N, c] and [Q, c]; of c < 2 the missing one is 0.
      labels, query_labels: int [N] and [Q].
      shares: share of the variance of each component.
      names: of the classes.
      feature: what the map is of.
    """
    figure = _figure(7.4, 4.8)
    shown = [f"{100 * s:.0f} %" for s in shares] + ["0 %"] * 2
    axes = _axes(
        figure.add_subplot(),
        title=f"{feature}: archive and queries",
        x=f"first principal component ({shown[0]} of the variance)",
        y=f"second principal component ({shown[1]})",
    )
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.88, max(len(names), 2)))
    flat = [np.pad(side, ((0, 0), (0, max(0, 2 - side.shape[1])))) for side in (items, queries)]
    looks: tuple[dict[str, Any], ...] = (
        {"marker": "o", "s": 9, "alpha": 0.45, "linewidths": 0},
        {"marker": "^", "s": 16, "edgecolors": INK, "linewidths": 0.4},
    )
    for label in range(len(names)):
        for side, own, look in zip(flat, (labels, query_labels), looks, strict=True):
            rows = own == label
            if rows.any():
                axes.scatter(*side[rows, :2].T, color=colors[label], **look)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=c, label=class_title(i, names))
        for i, c in enumerate(colors[: len(names)])
        if (labels == i).any() or (query_labels == i).any()
    ]
    handles += [
        Line2D([], [], marker=m, linestyle="", color=GREY, markeredgecolor=INK, label=t)
        for m, t in (("o", "archive"), ("^", "query"))
    ]
    _legend(axes, handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def confusion(matrix: np.ndarray, names: Sequence[str], *, title: str = "") -> Figure:
    """Queries by true class (rows) and predicted class, shaded by the share of the row."""
    total = matrix.sum(axis=1, keepdims=True)
    share = matrix / np.maximum(total, 1)
    size = 1.9 + 0.55 * len(matrix)
    figure = _figure(max(size + 0.6, 5.0), size)
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        dark = share[row, column] > 0.55
        axes.text(
            column,
            row,
            str(int(matrix[row, column])) if matrix[row, column] else "·",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if dark else INK if matrix[row, column] else GREY,
        )
    _axes(
        axes,
        title=title or "True and predicted class",
        x="predicted class (diameter in mm)" if _in_mm(names) else "predicted class",
        y="true class (diameter in mm)" if _in_mm(names) else "true class",
    )
    axes.grid(False)
    axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, format=PercentFormatter(1.0))
    bar.set_label("share of the true class", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=MUTED)
    bar.outline.set_visible(False)
    return figure


def _in_mm(names: Sequence[str]) -> bool:
    return any(name.startswith(">") for name in names)


# --- data -----------------------------------------------------------------------------------


def sample_sheet(
    images: np.ndarray,
    labels: np.ndarray,
    diameters_mm: np.ndarray,
    names: Sequence[str],
    *,
    per_class: int = 8,
) -> Figure:
    """Items as the network sees them, a row a class, spread evenly over its diameters.

    `images` is uint8 [N, S, S]; labels and diameters are [N].
    """
    present = [label for label in range(len(names)) if np.any(labels == label)]
    side, gap, left, top, below = 1.1, 0.08, 0.55, 0.42, 0.24
    figure, axes = _sheet(
        left + per_class * (side + gap),
        top + len(present) * (side + below),
        "Items of each class" + (" (diameter in mm)" if _in_mm(names) else ""),
    )
    for line, label in enumerate(present):
        y = top + line * (side + below)
        axes.text(
            left - 0.1,
            y + side / 2,
            names[label],
            fontsize=10,
            color=INK,
            rotation=90,
            ha="right",
            va="center",
        )
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(diameters_mm[rows], kind="stable")]
        count = min(per_class, len(rows))
        for column, row in enumerate(rows[np.linspace(0, len(rows) - 1, count).astype(int)]):
            x = left + column * (side + gap)
            _picture(axes, images[row], x, y, side)
            if diameters_mm[row] > 0:
                text = f"{diameters_mm[row]:.1f} mm"
                axes.text(
                    x + side / 2,
                    y + side + 0.03,
                    text,
                    fontsize=8,
                    color=RED,
                    ha="center",
                    va="top",
                )
    return figure


def class_counts(counts: Mapping[str, Sequence[int]], names: Sequence[str]) -> Figure:
    """Items by class, stacked by split."""
    figure = _figure(6.4, 3.2)
    axes = _axes(
        figure.add_subplot(),
        title="Items by class",
        x="class (diameter in mm)" if _in_mm(names) else "class",
        y="items",
    )
    base = np.zeros(len(names))
    for (split, values), color in zip(counts.items(), (BLUE, SKY, ORANGE, GREY), strict=False):
        axes.bar(names, values, bottom=base, color=color, label=split, width=0.7)
        base += np.asarray(values)
    axes.grid(axis="x", visible=False)
    _legend(axes, loc="best")
    return figure


# --- lungs ----------------------------------------------------------------------------------


def mask_examples(
    slices: Sequence[np.ndarray],
    threshold: Sequence[np.ndarray],
    unet: Sequence[np.ndarray] | None = None,
    *,
    titles: Sequence[str] = (),
) -> Figure:
    """Slices uint8 [S, S] with the outlines of the threshold mask and of the U-Net's."""
    columns = 3 if len(slices) in (5, 6) else min(4, max(1, len(slices)))
    rows = math.ceil(len(slices) / columns)
    figure = _figure(2.6 * columns, 2.75 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        _empty(axes)
    masks: list[tuple[Any, str, Any, str]] = [(threshold, ORANGE, "-", "threshold, repaired")]
    if unet is not None:
        masks.append((unet, SKY, "--", "U-Net"))
    for place, image in enumerate(slices):
        axes = grid[place]
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
        for mask, color, style, _ in masks:
            if np.any(mask[place]):
                shown = np.asarray(mask[place], float)
                axes.contour(shown, [0.5], colors=color, linewidths=1.3, linestyles=style)
        if titles:
            axes.set_title(titles[place], fontsize=8.5, color=MUTED)
    handles = [
        Line2D([], [], color=color, linestyle=style, label=name) for _, color, style, name in masks
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    figure.suptitle("Lung masks", fontsize=11, color=INK, x=0.01, ha="left")
    return figure


MASK_NAMES = {
    "threshold": "\N{MINUS SIGN}400 HU",
    "luna16": "LUNA16",
    "repaired": "repaired",
    "unet": "U-Net",
}
_MASK_LOOKS: dict[str, tuple[str, str, Any]] = {
    "threshold": (ORANGE, "o", "--"),
    "luna16": (GREY, "v", ":"),
    "repaired": (BLUE, "s", "-"),
    "unet": (GREEN, "^", "-."),
}


def coverage(diameters_mm: np.ndarray, covered: Mapping[str, np.ndarray]) -> Figure:
    """How much of every annotated nodule its lung mask keeps.

    Args:
      diameters_mm: float [M].
      covered: share of the nodule's sphere inside, float [M], by kind of mask (keys of
        `MASK_NAMES`).
    """
    kinds = [name for name in MASK_NAMES if name in covered]
    figure = _figure(8.4, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    _axes(
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
    _axes(
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
    _legend(left, loc="lower right")
    _legend(right, loc="lower left")
    return figure


# --- training -------------------------------------------------------------------------------


_TRAINING_PANELS = (
    {"loss": ("loss", BLUE)},
    {
        "accuracy": ("accuracy", BLUE),
        "map_macro": ("macro mAP", VERMILION),
        "dice": ("Dice", BLUE),
        "iou": ("IoU", GREEN),
    },
    {"learning_rate": ("learning rate", BLUE)},
)


def training_curves(rows: Iterable[Mapping[str, Any]], *, title: str = "Training") -> Figure:
    """Loss, scores and learning rate of a JSONL log (`kind`: train or val), by epoch or step.

    Training is a thin line, validation a dashed one with points. What the log lacks is left out.
    """
    rows = list(rows)
    axis = "epoch" if any("epoch" in row for row in rows) else "step"
    panels = []
    for panel in _TRAINING_PANELS:
        found = {key: look for key, look in panel.items() if any(key in row for row in rows)}
        if found:
            panels.append(found)
    figure = _figure(3.4 * max(1, len(panels)) + 0.2, 3.2)
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        _axes(axes, title="", x=axis, y=", ".join(name for name, _ in panel.values()))
        for key, (name, color) in panel.items():
            for kind, width, style, marker in (("train", 1.0, "-", ""), ("val", 1.6, "--", "o")):
                points = [
                    (float(row.get(axis, row.get("step", 0))), float(row[key]))
                    for row in rows
                    if row.get("kind", "train") == kind and row.get(key) is not None
                ]
                if points:
                    axes.plot(
                        *zip(*points, strict=True),
                        color=VERMILION if (key, kind) == ("loss", "val") else color,
                        linewidth=width,
                        linestyle=style,
                        marker=marker,
                        markersize=3,
                        label=f"{name}, {kind}",
                    )
        if "loss" not in panel and "learning_rate" not in panel:
            axes.set_ylim(0, 1.02)
        if len(axes.lines) > 1:
            _legend(axes, loc="best")
    return figure
