"""Tables and figure of the search benchmark."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from inres.figures import style
from inres.system import tables

PAIRED = ("codes", "items", "bits", "dims", "queries", "case")
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
    paired = [_paired(row) for row in rows if "ratio" in row or "left_out" in row]
    single = [tuple(row[name] for name in SINGLE) for row in rows if "p50_ms" in row]
    sharded = [{**row, "ms": _ms(row["ours"])} for row in rows if row["case"] == "sharded"]
    return "\n".join(
        [
            tables.markdown(
                (*PAIRED, "pool", "ours ms", "faiss ms", "faiss / ours", "recall"), paired
            ),
            "Single queries with pools of about forty\n",
            tables.markdown(SINGLE, single),
            "The jitted programs, sharded\n",
            tables.markdown(SHARDED, [tuple(row[name] for name in SHARDED) for row in sharded]),
            "Cost of a query as items grow tenfold (ours, one query, ms)\n",
            tables.markdown(*growth(rows)),
        ]
    )


def _paired(row: dict[str, Any]) -> tuple:
    if "ratio" in row:
        times = (_ms(row["ours"]), _ms(row["peer"]), f"{row['ratio']:.3g}")
    else:
        times = ("", "", row["left_out"])
    pool = f"{row['pool']:.0f}" if "pool" in row else ""
    return (*(row[name] for name in PAIRED), pool, *times, row.get("recall", ""))


def _ms(timing: dict[str, Any]) -> str:
    return f"{timing['ms']:.4g}" + (" (disturbed)" if timing["disturbed"] else "")


def base_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compared cases with 64 bits and 256 features, or with the trained network's."""
    compared = [r for r in rows if "ratio" in r]
    return [r for r in compared if (r["bits"], r["dims"]) == (64, 256) or r["codes"] == "trained"]


def growth(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple]]:
    """Time of one query by kind and pool, one column per number of items."""
    chosen = [r for r in base_rows(rows) if r["queries"] == 1]
    chosen = [r for r in chosen if r["case"] in ("hamming top-k", "two stages")]
    sizes = sorted({r["items"] for r in chosen})
    lines: dict[tuple, dict[int, str]] = {}
    for r in chosen:
        key = (r["codes"], r["case"], r.get("wanted", ""))
        lines.setdefault(key, {})[r["items"]] = _ms(r["ours"])
    head = ("codes", "case", "wanted pool", *(f"{n:.0e}" for n in sizes))
    return head, [(*key, *(line.get(n, "") for n in sizes)) for key, line in lines.items()]


def plot(rows: list[dict[str, Any]], stem: Path) -> None:
    """Plot time against the number of items: Hamming search, and both stages at a 10 % pool."""
    base = base_rows(rows)
    figure = style.figure(11.5, 4.4)
    hamming = figure.add_subplot(1, 2, 1)
    both = figure.add_subplot(1, 2, 2, sharey=hamming)
    titles = {
        hamming: "Top 100 by Hamming distance, 64 bits",
        both: "Both stages, one query, pool of a tenth",
    }
    for axes, title in titles.items():
        style.label_axes(axes, title=title, x="items", y="milliseconds per call")
        style.log_scales(axes)
    for colour, q in ((style.BLUE, 1), (style.VERMILION, 64)):
        mine = [r for r in base if r["case"] == "hamming top-k" and r["codes"] == "uniform"]
        mine = [r for r in mine if r["queries"] == q]
        batch = "one query" if q == 1 else f"{q} queries"
        _line(hamming, mine, "ours", "o-", f"inres, {batch}", colour)
        _line(hamming, mine, "peer", "s--", f"faiss, {batch}", colour)
        if q == 1:
            _line(hamming, mine, "read", ":", "reading the codes once", style.BLACK)
    kinds = {"uniform": style.BLUE, "clustered-8": style.VERMILION, "trained": style.GREEN}
    for kind, colour in kinds.items():
        mine = [r for r in base if r["case"] == "two stages" and r["codes"] == kind]
        mine = [r for r in mine if r["queries"] == 1 and r["wanted"] == 0.1]
        _line(both, mine, "ours", "o-", f"inres, {kind}", colour)
        _line(both, mine, "peer", "s--", f"faiss, {kind}", colour)
    for axes in titles:
        if axes.lines:
            style.legend(axes)
    style.save(figure, stem)


def _line(
    axes: Axes, rows: list[dict[str, Any]], rival: str, dash: str, label: str, colour: str
) -> None:
    rows = sorted(rows, key=lambda r: r["items"])
    points = [(r["items"], r[rival]["ms"]) for r in rows if rival in r]
    if points:
        axes.plot(*zip(*points, strict=True), dash, label=label, color=colour)
