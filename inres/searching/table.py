"""Search results as a table, a sentence and a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from inres.figures import panels
from inres.searching.hits import Hits, SearchOptions

COLUMNS = (
    *("rank", "item", "scan", "nodule", "class", "diameter_mm", "malignancy"),
    *("hamming", "euclidean"),
)
"""Columns of the printed table."""
MORE_COLUMNS = ("image", "patient", "x_mm", "y_mm", "z_mm")
"""Further columns of the CSV file."""
PICTURED = 50
"""Results that the figure shows at most."""


def rows(hits: Hits, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """A row of `COLUMNS` and `MORE_COLUMNS` for each result; unknown values are empty."""
    return [
        {
            "rank": hit.rank,
            "item": hit.record["item"],
            "scan": hit.record["scan"],
            "nodule": hit.record["nodule"],
            "class": panels.class_title(int(_number(hit.record["label"])), class_names),
            "diameter_mm": _text(hit.record["diameter_mm"]),
            "malignancy": _text(hit.record["malignancy"]),
            "hamming": hit.hamming,
            "euclidean": _text(hit.distance, "{:.4f}"),
            **{name: _known(hit.record.get(name)) for name in MORE_COLUMNS},
        }
        for hit in hits
    ]


def format_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """The known columns of `COLUMNS` as aligned text; long names are shortened to their end."""
    if not rows:
        return ""
    shown = [name for name in COLUMNS if any(row[name] != "" for row in rows)]
    cells = [shown] + [[_cell(row, name) for name in shown] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(shown))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def pool_in_words(hits: Hits, options: SearchOptions) -> str:
    """The pool of a search as a sentence, with the reason if it is empty."""
    where = f"where {options.where} " if options.where else ""
    kind = ("of the predicted class " if options.same_class else "") + where
    size, used = hits.pool_size, hits.threshold
    if size == 0 and (options.rank == "hamming" or options.nearest or options.min_pool):
        reason = " (the query's own scan is not searched)" if hits.own_scan_excluded else ""
        return f"no item {kind}is left to be found{reason}"
    if size == 0:
        return (
            f"no item {kind}has a Hamming distance below {used}: the pool is empty; raise the "
            "threshold, or widen the pool with min_pool=10"
        )
    once = f", each {options.distinct} once" if options.distinct else ""
    if options.rank == "hamming":
        return f"the {len(hits)} items {kind}nearest by Hamming distance{once}"
    raised = not options.nearest and used > options.threshold
    widened = f" (raised from {options.threshold})" if raised else ""
    return f"{size} items {kind}in the pool, Hamming distance below {used}{widened}{once}"


def figure(hits: Hits, class_names: Sequence[str]) -> Figure:
    """The query and its first results as a panel (paper, Figs. 9 and 10)."""
    query = hits.query
    shown = [
        panels.Shown(
            hit.image,
            int(_number(hit.record["label"])),
            _number(hit.record["diameter_mm"]),
            str(hit.record["scan"]),
            hit.hamming,
            None if np.isnan(hit.distance) else hit.distance,
        )
        for hit in hits[:PICTURED]
    ]
    first = f", the first {PICTURED} of {len(hits)}" if len(hits) > PICTURED else ""
    predicted = panels.class_title(query.predicted, class_names)
    return panels.search_panel(
        panels.Shown(query.image, query.label, query.diameter_mm, query.scan),
        shown,
        class_names=class_names,
        title=f"Query {query.name}, predicted {predicted}{first}",
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _known(value: Any) -> Any:
    """A value of a record; empty if unknown."""
    return "" if value is None or value != value else value


def _text(value: Any, form: str = "{:.3g}") -> str:
    number = _number(value)
    return "" if np.isnan(number) else form.format(number)


def _cell(row: Mapping[str, Any], name: str) -> str:
    return panels.short(str(row[name]), keep=20) if name in ("scan", "nodule") else str(row[name])
