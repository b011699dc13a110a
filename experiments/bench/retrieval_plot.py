"""Figure of the search benchmark: time against the number of items."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from experiments.bench.retrieval_report import base_rows, title
from inres.figures import style

COLOURS = {
    "uniform": style.BLUE,
    "clustered-8": style.VERMILION,
    "clustered-1000": style.ORANGE,
    "trained": style.GREEN,
}
"""One colour per kind of items."""


def plot(rows: list[dict[str, Any]], stem: Path) -> None:
    """Plot ours, the fastest competitor of each case and the time to read the codes once.

    One row of panels per case and one column per number of queries, with all threads.
    """
    base = [row for row in base_rows(rows) if row["columns"]]
    cases = list(dict.fromkeys(title(row) for row in base))
    batches = sorted({row["queries"] for row in base})
    if not cases:
        return
    figure = style.figure(5.6 * len(batches), 3.2 * len(cases))
    for at, (case, queries) in enumerate((c, q) for c in cases for q in batches):
        axes = figure.add_subplot(len(cases), len(batches), at + 1)
        batch = "one query" if queries == 1 else f"{queries} queries"
        style.label_axes(axes, title=f"{case}, {batch}", x="items", y="milliseconds per call")
        style.log_scales(axes)
        mine = [row for row in base if row["queries"] == queries]
        _panel(axes, [row for row in mine if title(row) == case], mine)
    handles = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    style.legend_below(figure, 3, [*handles.values()])
    style.save(figure, stem)


def _panel(axes: Axes, rows: list[dict[str, Any]], batch: list[dict[str, Any]]) -> None:
    """Lines of one case; `batch` also has the rows with the time to read the codes."""
    for kind in dict.fromkeys(row["codes"] for row in rows):
        mine = [_last(row) for row in rows if row["codes"] == kind]
        colour = COLOURS.get(kind, style.GREY)
        _line(axes, [(n, c["ours"]["ms"]) for n, c in mine], "o-", f"inres, {kind}", colour)
        rivals = [(n, c["rivals"][c["fastest"]]["ms"]) for n, c in mine if "fastest" in c]
        _line(axes, rivals, "s--", f"fastest competitor, {kind}", colour)
    read: dict[int, float] = {}
    for items, column in map(_last, batch):
        if "read" in column:
            read.setdefault(items, column["read"]["ms"])
    _line(axes, list(read.items()), ":", "reading the codes once", style.BLACK)


def _last(row: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Number of items, and the column with the most threads."""
    *_, column = row["columns"].values()
    return row["items"], column


def _line(axes: Axes, points: list[tuple[int, float]], dash: str, label: str, colour: str) -> None:
    if points:
        axes.plot(*zip(*sorted(points), strict=True), dash, label=label, color=colour)
