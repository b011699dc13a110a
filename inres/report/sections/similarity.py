"""Similarity in every known respect: the first results next to random orders and baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

from inres import vocabulary
from inres.report import page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section

SHOWN = ("two_stage", "softmax", "pixels")
"""Rankings with a column."""
LEVEL = 0.05
"""Differences with a p-value below this are marked."""
_CAPTION = (
    "Mean absolute difference of the first results from the query in each property, where a random "
    "order of the archive is 1. The bar is the 95 % interval of the two-stage search. Left of the "
    "black line, results are more similar than random items of the query's class."
)


def section(run: Run) -> str:
    """Differences by property, and the similarity over all of them."""
    rows = run.metrics.get("properties") or []
    overall = run.metrics.get("similarity") or []
    if not rows:
        return (
            "<p>No property is known of queries and archive, so similarity in other respects than "
            "the class was not measured.</p>"
        )
    k = run.metrics.get("protocol", {}).get("k", 10)
    by_nodule = run.metrics.get("by_nodule") or {}
    nodules = by_nodule.get("properties")
    return (
        f"<p>Mean absolute difference of the first {k} results from the query, over queries that "
        "are nodules of known value; lower is better. Similarity falls from 1 at no difference to "
        "0 at the property's scale, and is 0 for results without a nodule.</p>"
        + _table(rows, overall)
        + f"<p class='note'>In small print: 95 % intervals over patients, and whether the "
        "two-stage search is better or worse than a random order of the query's own class "
        f"(paired test by patient, p &lt; {LEVEL}). Tests are not corrected for their number.</p>"
        + page.figure(run.workdir / "evaluation" / "figures" / "similarity", _CAPTION, wide=True)
        + (page.details("By nodule", _table(nodules, by_nodule["similarity"])) if nodules else "")
        + _all(rows, run.metrics.get("protocol", {}).get("properties", {}))
    )


def _table(rows: Sequence[Mapping[str, Any]], overall: Sequence[Mapping[str, Any]]) -> str:
    """Each property, and the similarity over all of them."""
    present = {row["ranking"] for row in rows}
    names = [name for name in SHOWN if name in present]
    titles = [page.text(vocabulary.ranking(name).title) for name in names]
    lines = [_property(rows, n, names) for n in dict.fromkeys(row["property"] for row in rows)]
    if overall:  # no property has a weight otherwise
        title = "<b>similarity</b><small>mean gain of all properties; higher is better</small>"
        found = {row["ranking"]: row for row in overall}
        lines.append(_line(title, "similarity", found, names, vocabulary.metric("similarity")))
    return page.table(["property", *titles, "random in the class", "random", "queries"], lines)


def _property(rows: Sequence[Mapping[str, Any]], name: str, names: Sequence[str]) -> list[str]:
    """The line of one property."""
    one, metric = vocabulary.find_property(name), vocabulary.property_metrics(name)[0]
    found = {row["ranking"]: row for row in rows if row["property"] == name}
    unit = f", {page.text(one.unit)}" if one.unit else ""
    ends = f"<small>{page.text(one.ends)}</small>" if one.ends else ""
    title = f"{page.text(one.title)}{unit}{ends}"
    return _line(title, "difference", found, names, metric)


def _line(
    title: str,
    key: str,
    found: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    metric: vocabulary.Metric,
) -> list[str]:
    """A line of the table: a number of each ranking, and those of random orders."""
    ours = found["two_stage"]
    cells = [title]
    for name in names:
        row, small = found[name], ""
        if row["low"] is not None:
            small = f"{row['low']:.{metric.digits}f} to {row['high']:.{metric.digits}f}"
        text = page.number(row[key], metric.digits)
        verdict = _verdict(ours, metric) if name == "two_stage" else ""
        if verdict:
            small += f"<br>{verdict}"
        cell = f"{text}<small>{small}</small>" if small else text
        cells.append(f'<td class="best">{cell}</td>' if verdict == "better" else cell)
    random = [page.number(ours[name], metric.digits) for name in ("class_random", "random")]
    return [*cells, *random, str(ours["queries"])]


def _verdict(ours: Mapping[str, Any], metric: vocabulary.Metric) -> str:
    """`better` or `worse` than a random order of the class; empty if not distinguishable."""
    if ours["p_value"] is None or ours["p_value"] >= LEVEL:
        return ""
    return "better" if (ours["margin"] < 0) == metric.lower_is_better else "worse"


def _all(rows: Sequence[Mapping[str, Any]], weights: Mapping[str, Mapping[str, float]]) -> str:
    """Difference and nDCG of every ranking and property, on a click."""
    lines = []
    for row in rows:
        name = row["property"]
        difference, ndcg = vocabulary.property_metrics(name)
        used = weights.get(name, {})
        lines.append(
            [
                page.text(vocabulary.ranking(row["ranking"]).title),
                page.text(vocabulary.find_property(name).title),
                page.number(row["difference"], difference.digits),
                page.number(row["ndcg"], ndcg.digits),
                page.number(row["margin"], 3),
                page.UNKNOWN if row["p_value"] is None else f"{row['p_value']:.2g}",
                page.number(used.get("scale"), 2),
                page.number(used.get("weight"), 1),
            ]
        )
    head = ["ranking", "property", "difference", "nDCG", "two-stage minus it", "p"]
    head += ["scale", "weight"]
    note = (
        "<p class='note'>In the rows of the two-stage search, the margin is over a random order of "
        "the query's class. Scales are differences without any similarity; that of the diameter is "
        "a difference of the natural logarithm.</p>"
    )
    return page.details("All rankings and properties", page.table(head, lines, left=2) + note)


SECTIONS.add("similarity", Section("Similarity", 15, section), module=__name__)
