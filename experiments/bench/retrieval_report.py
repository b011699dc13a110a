"""Tables of the search benchmark."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from inres.system import tables

POINT = ("codes", "items", "bits", "dims", "queries")
SINGLE = (
    *("codes", "items", "bits", "dims"),
    *("p50_ms", "p95_ms", "p99_ms", "build_s", "compilations", "peak_gib"),
)
SHARDED = (
    *("codes", "items", "queries", "devices", "pool", "ms", "compile_s"),
    "bytes_a_query_and_device",
)


def tables_of(rows: list[dict[str, Any]]) -> str:
    """All tables as Markdown."""
    single = [tuple(row[name] for name in SINGLE) for row in rows if "p50_ms" in row]
    sharded = [{**row, "ms": _ms(row["ours"])} for row in rows if row["case"] == "sharded"]
    parts = [
        "Ratios: the time of the fastest exact competitor divided by ours\n",
        tables.markdown(*summary(rows)),
        losses(rows),
    ]
    for column in columns_of(rows):
        parts += [
            f"Ours in ms and, in parentheses, the ratio, {column}\n",
            tables.markdown(*overview(rows, column)),
        ]
    parts += [
        "Every case\n",
        tables.markdown(*fastest(rows)),
    ]
    for column in columns_of(rows):
        parts += [f"Every program, {column}, ms\n", tables.markdown(*programs(rows, column))]
    parts += [
        "Competitors that are left out\n",
        tables.markdown(*left_out(rows)),
        "Other methods\n",
        tables.markdown(*context(rows)),
        "Single queries with pools of about forty\n",
        tables.markdown(SINGLE, single),
        "The jitted programs, sharded\n",
        tables.markdown(SHARDED, [tuple(row[name] for name in SHARDED) for row in sharded]),
        "Cost of a query as items grow tenfold (ours, one query, ms)\n",
        tables.markdown(*growth(rows)),
    ]
    return "\n".join(parts)


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """Numbers of threads that were measured, in words."""
    return list(dict.fromkeys(name for row in rows for name in row.get("columns", {})))


def title(row: dict[str, Any]) -> str:
    """Name of a case with the target size of its pools."""
    return f"{row['case']}, {pool_name(row['wanted'])}" if "wanted" in row else row["case"]


def pool_name(wanted: float) -> str:
    """Target size of a pool in words; below 1 it is a share of the items."""
    if wanted == 0:
        return "empty pool"
    if wanted == 1:
        return "pool of one item"
    return f"pool of {100 * wanted:g} %" if wanted < 1 else f"pool of {wanted:g}"


def _compared(rows: list[dict[str, Any]], column: str) -> Iterator[tuple[dict, dict]]:
    """Rows with a ratio in this column, and the column."""
    for row in rows:
        found = row.get("columns", {}).get(column, {})
        if "ratio" in found:
            yield row, found


def summary(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple]]:
    """Smallest and median ratio by number of threads."""
    lines = []
    for column in columns_of(rows):
        ratios = [found["ratio"] for _, found in _compared(rows, column)]
        if ratios:
            lost = sum(ratio < 1 for ratio in ratios)
            least, median = f"{min(ratios):.3g}", f"{np.median(ratios):.3g}"
            lines.append((column, len(ratios), lost, least, median))
    return ("threads", "cases", "lost", "smallest ratio", "median ratio"), lines


def losses(rows: list[dict[str, Any]]) -> str:
    """A list of the cases in which a competitor is faster."""
    lines = []
    for column in columns_of(rows):
        for row, found in _compared(rows, column):
            if found["ratio"] < 1:
                lines.append(
                    f"- {found['ratio']:.3g}: {found['fastest']}, {row['codes']}, {row['items']} "
                    f"items, {row['bits']} bits, queries: {row['queries']}, {title(row)}, {column}"
                )
    return "\n".join(["Lost cases\n", *(lines or ["- none"]), ""])


def overview(rows: list[dict[str, Any]], column: str) -> tuple[tuple[str, ...], list[tuple]]:
    """Our time and the ratio of every case, one line per kind, size and number of queries."""
    cases = list(dict.fromkeys(title(row) for row in rows if column in row.get("columns", {})))
    lines: dict[tuple, dict[str, str]] = {}
    for row in rows:
        found = row.get("columns", {}).get(column)
        if found is None:
            continue
        ratio = f"{found['ratio']:.2g}" if "ratio" in found else "-"
        point = tuple(row[name] for name in POINT)
        lines.setdefault(point, {})[title(row)] = f"{found['ours']['ms']:.3g} ({ratio})"
    head = (*POINT, *(case.removeprefix("two stages, ") for case in cases))
    return head, [(*key, *(line.get(case, "") for case in cases)) for key, line in lines.items()]


def fastest(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple]]:
    """Ours and the fastest competitor of each case, by number of threads."""
    columns = columns_of(rows)
    parts = ("ours ms", "fastest competitor", "its ms", "ratio")
    head = (*POINT, "case", "pool", *(f"{part}, {name}" for name in columns for part in parts))
    lines = []
    for row in rows:
        if "columns" in row:
            cells = [cell for name in columns for cell in _cells(row["columns"].get(name))]
            pool = f"{row['pool']:.0f}" if "pool" in row else ""
            lines.append((*(row[name] for name in POINT), title(row), pool, *cells))
    return head, lines


def _cells(column: dict[str, Any] | None) -> tuple[str, str, str, str]:
    if column is None:
        return "", "", "", ""
    if "ratio" not in column:
        return _ms(column["ours"]), "", "", ""
    name = column["fastest"]
    return _ms(column["ours"]), name, _ms(column["rivals"][name]), f"{column['ratio']:.3g}"


def programs(rows: list[dict[str, Any]], column: str) -> tuple[tuple[str, ...], list[tuple]]:
    """Time of every program in every case, with the settings it chose."""
    found = [(row, row["columns"][column]) for row in rows if column in row.get("columns", {})]
    names = list(dict.fromkeys(name for _, times in found for name in times["rivals"]))
    head = (*POINT, "case", "ours", *names, "reading the codes once")
    lines = []
    for row, times in found:
        rivals = [times["rivals"].get(name) for name in names]
        read = _ms(times["read"]) if "read" in times else ""
        cells = ("" if rival is None else _with_settings(rival) for rival in rivals)
        point = (row[name] for name in POINT)
        lines.append((*point, title(row), _ms(times["ours"]), *cells, read))
    return head, lines


def _with_settings(rival: dict[str, Any]) -> str:
    return _ms(rival) + (f" ({rival['settings']})" if rival["settings"] else "")


def left_out(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple]]:
    """Why competitors were left out, and in how many cases."""
    count = Counter(
        (name, column, reason)
        for row in rows
        for column, reasons in row.get("left_out", {}).items()
        for name, reason in reasons.items()
    )
    head = ("competitor", "threads", "reason", "cases")
    return head, [(*key, number) for key, number in sorted(count.items())]


def context(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple]]:
    """Methods that are compared with recall, all threads."""
    lines = [
        (
            *(row[name] for name in POINT), row["case"], _ms(row["ours"]), _ms(row["other"]),
            f"{row['ratio']:.3g}", row["recall"],
        )
        for row in rows
        if "other" in row
    ]  # fmt: skip
    return (*POINT, "case", "ours ms", "its ms", "ratio", "recall"), lines


def _ms(timing: dict[str, Any]) -> str:
    marks = " (disturbed)" if timing["disturbed"] else ""
    return f"{timing['ms']:.4g}" + (" (one call)" if timing["rounds"] == 1 else marks)


def base_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compared cases of the sweeps over the number of items."""
    return [r for r in rows if r.get("sweep") in ("scale", "large") and "columns" in r]


def growth(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple]]:
    """Time of one query by kind and pool with all threads, one column per number of items."""
    chosen = [r for r in base_rows(rows) if r["queries"] == 1]
    sizes = sorted({r["items"] for r in chosen})
    lines: dict[tuple, dict[int, str]] = {}
    for r in chosen:
        *_, last = r["columns"].values()
        lines.setdefault((r["codes"], title(r)), {})[r["items"]] = _ms(last["ours"])
    head = ("codes", "case", *(f"{n:.0e}" for n in sizes))
    return head, [(*key, *(line.get(n, "") for n in sizes)) for key, line in lines.items()]
