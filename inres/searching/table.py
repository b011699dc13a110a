"""Search results as a table, a sentence and a figure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from inres.figures import panels
from inres.searching.hits import Hit, Hits, Query, SearchOptions, verdict
from inres.vocabulary import SIMILAR_SD, find_property

COLUMNS = (
    *("rank", "item", "scan", "nodule", "class", "diameter_mm", "malignancy"),
    *("hamming", "euclidean"),
)
"""Columns of the printed table."""
MORE_COLUMNS = ("image", "patient", "x_mm", "y_mm", "z_mm")
"""Further columns of the CSV file."""
PRINTED = 4
"""Columns of the user's own that the printed table shows at most."""
MARK = "="
"""Marks the properties in which a result is similar to the query."""
PICTURED = 50
"""Results that the figure shows at most."""


def columns(properties: Sequence[str], others: Sequence[str] = ()) -> tuple[str, ...]:
    """Columns of the CSV file: `COLUMNS`, the properties, those of the query, others.

    Args:
      properties: names of the learned properties.
      others: names of further columns of the records (`Archive.columns`).
    """
    learned = (name for name in properties if name not in (*COLUMNS, *MORE_COLUMNS))
    return (*COLUMNS, *learned, *map(_of_query, properties), *MORE_COLUMNS, *others)


def rows(
    hits: Hits,
    class_names: Sequence[str],
    properties: Sequence[str] = (),
    others: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """A row of `columns` for each result; unknown values are empty."""
    query = {_of_query(name): _text(hits.query.properties.get(name)) for name in properties}
    return [
        {
            **{name: _text(hit.properties.get(name)) for name in properties},
            "rank": hit.rank,
            "item": hit.record["item"],
            "scan": hit.record["scan"],
            "nodule": hit.record["nodule"],
            "class": panels.class_title(int(_number(hit.record["label"])), class_names),
            "diameter_mm": _text(hit.record["diameter_mm"]),
            "malignancy": _text(hit.record["malignancy"]),
            "hamming": hit.hamming,
            "euclidean": _text(hit.distance, "{:.4f}"),
            **query,
            **{name: _known(hit.record.get(name)) for name in (*MORE_COLUMNS, *others)},
        }
        for hit in hits
    ]


_FORMULA = re.compile(r"\s*[=+@\-\uff1d\uff0b\uff20\uff0d]")


def without_formulas(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for a CSV file, in which a text that a spreadsheet would take for a formula follows a '.

    Names in records are those of anybody's files. Numbers stay as they are.
    """
    return [{name: _inert(value) for name, value in row.items()} for row in rows]


def _inert(value: Any) -> Any:
    if not isinstance(value, str) or not _FORMULA.match(value) or len(value) == 1:
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _of_query(name: str) -> str:
    return f"query_{name}"


def format_rows(rows: Sequence[Mapping[str, Any]], others: Sequence[str] = ()) -> str:
    """The known columns of `COLUMNS` as aligned text; long names are shortened to their end.

    Of the known columns of `others`, the first `PRINTED` follow.
    """
    if not rows:
        return ""
    shown, more = (
        [name for name in names if any(row[name] != "" for row in rows)]
        for names in (COLUMNS, others)
    )
    shown += more[:PRINTED]
    return _aligned([shown, *([_cell(row, name) for name in shown] for row in rows)])


def format_properties(hits: Hits, properties: Sequence[str]) -> str:
    """The properties of the query and of each result as aligned text; empty if none is known.

    The rows are the query's estimates, its record if it is an item, the results by rank (with
    `MARK` where one is similar to the query), and the mean difference in standard deviations.
    """
    query, means = hits.query, hits.mean_differences
    every = (query.properties, query.known, *(hit.properties for hit in hits))
    shown = [name for name in properties if any(name in values for values in every)]
    if not shown:
        return ""
    named = (("query", query.properties), ("record", query.known))
    cells = [["", *shown]]
    cells += [
        [title, *(_value(values, name) for name in shown)] for title, values in named if values
    ]
    cells += [[str(hit.rank), *(_compared(hit, name) for name in shown)] for hit in hits]
    lines = [] if not means else [f"{MARK} differs by less than {SIMILAR_SD} standard deviations"]
    if means:
        cells.append(["mean difference, SD", *(_text(means.get(n), "{:.2f}") for n in shown)])
    return "\n".join([_aligned(cells), *lines])


def _compared(hit: Hit, name: str) -> str:
    similar = verdict(hit.differences.get(name, float("nan"))) == "similar"
    return _value(hit.properties, name) + (f" {MARK}" if similar else "")


def _value(values: Mapping[str, float], name: str) -> str:
    """A property with its usual number of decimal places; empty if unknown."""
    return _text(values.get(name), f"{{:.{find_property(name).digits}f}}")


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def pool_in_words(hits: Hits, options: SearchOptions) -> str:
    """The pool of a search as a sentence, with the reason if it is empty."""
    where = f"where {options.where} " if options.where else ""
    kind = ("of the predicted class " if options.same_class else "") + where
    size, used = hits.pool_size, hits.threshold
    items = "1 item" if size == 1 else f"{size} items"
    once = f", each {options.distinct} once" if options.distinct else ""
    if options.weights and size:
        by = ", ".join(f"{name} ({weight:g})" for name, weight in options.weights.items() if weight)
        return f"{items} {kind}ranked by {by}{once}"
    if size == 0 and (
        options.weights or options.rank == "hamming" or options.nearest or options.min_pool
    ):
        reason = " (the query's own scan is not searched)" if hits.own_scan_excluded else ""
        return f"no item {kind}is left to be found{reason}"
    if size == 0:
        return (
            f"no item {kind}has a Hamming distance below {used}: the pool is empty; raise the "
            "threshold, or widen the pool with min_pool=10"
        )
    if options.rank == "hamming":
        found = "the item" if len(hits) == 1 else f"the {len(hits)} items"
        return f"{found} {kind}nearest by Hamming distance{once}"
    raised = not options.nearest and used > options.threshold
    widened = f" (raised from {options.threshold})" if raised else ""
    return f"{items} {kind}in the pool, Hamming distance below {used}{widened}{once}"


def figure(hits: Hits, class_names: Sequence[str], properties: Sequence[str] = ()) -> Figure:
    """The query and its first results as a panel (paper, Figs. 9 and 10), with their properties."""
    query, first = hits.query, hits[:PICTURED]
    shown = [
        panels.Shown(
            hit.image,
            int(_number(hit.record["label"])),
            _number(hit.record["diameter_mm"]),
            str(hit.record["scan"]),
            hit.hamming,
            None if np.isnan(hit.distance) else hit.distance,
            _respects(hit, query, properties),
        )
        for hit in first
    ]
    count = f", the first {PICTURED} of {len(hits)}" if len(hits) > PICTURED else ""
    predicted = panels.class_title(query.predicted, class_names)
    return panels.search_panel(
        panels.Shown(
            query.image,
            query.label,
            query.diameter_mm,
            query.scan,
            respects=_respects_of_query(query, properties),
        ),
        shown,
        class_names=class_names,
        title=f"Query {query.name}, predicted {predicted}{count}",
    )


def _respects(hit: Hit, query: Query, properties: Sequence[str]) -> tuple[panels.Respect, ...]:
    """The properties of a result, with the differences to the query above or below 0."""

    def difference(name: str) -> float:
        if name not in hit.differences:
            return float("nan")
        more = hit.properties[name] >= query.properties[name]
        return hit.differences[name] if more else -hit.differences[name]

    return tuple(
        panels.Respect(find_property(name).title, _value(hit.properties, name), difference(name))
        for name in properties
    )


def _respects_of_query(query: Query, properties: Sequence[str]) -> tuple[panels.Respect, ...]:
    """The estimates for the query, with what its record says in brackets."""

    def text(name: str) -> str:
        estimate, record = (_value(values, name) for values in (query.properties, query.known))
        return f"{estimate} (record {record})".strip() if record else estimate

    return tuple(panels.Respect(find_property(name).title, text(name)) for name in properties)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _known(value: Any) -> Any:
    """A value of a record; empty if unknown."""
    return "" if value is None or value != value else value


def _text(value: Any, form: str = "{:.3g}") -> str:
    number = _number(value)
    return "" if np.isnan(number) else form.format(number)


def _cell(row: Mapping[str, Any], name: str) -> str:
    long = name in ("scan", "nodule") or name not in COLUMNS
    return panels.short(str(row[name]), keep=20) if long else str(row[name])
