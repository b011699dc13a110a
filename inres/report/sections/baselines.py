"""The search against every baseline: by slice, by nodule and within a class."""

from typing import Any

from inres import vocabulary
from inres.evaluation import nodules, within_class
from inres.report import measures, page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section

_CAPTIONS = {
    "baselines": "Mean average precision of every ranking, the best on top. Bars are 95 % "
    "intervals over patients; the search under test is blue. It should be above softmax and "
    "predicted class, which use the same labels, and clearly above the label-free codes.",
    "precision_recall": "Precision against recall, tie-exact, mean over classes (the paper's "
    "Fig. 8). Compare the two-stage search with raw pixels and chance, and with ranking by "
    "predicted class. The diamond is the candidate pool. The shaded range lies between the worst "
    "and the best order of ties in the codes.",
}
HEADLINES = (
    *("map_macro", "precision_at_10_macro", "ndcg_at_10"),
    *("diameter_error_mm_at_10", "malignancy_agreement_at_10"),
)
"""Columns of the short table, by key in `metrics.json`."""


def section(run: Run) -> str:
    """The search and every baseline: the numbers that matter, with intervals."""
    folder = run.workdir / "evaluation" / "figures"
    names = measures.found_rankings(run)
    columns = [one for one in measures.columns(run, names) if one.key in HEADLINES]
    rows = []
    for name in names:
        cells = [measures.ranking_cell(name)]
        for one in columns:
            value, ends = run.ranking(name, one.key), run.ends("rankings", name, one.key)
            cells.append(_with_ends(value, ends, one.metric.digits))
        cells.insert(2, _margin(run.ends("margins", name, "map_macro")))
        rows.append(cells)
    head = ["ranking", *(one.head for one in columns)]
    head.insert(2, '<abbr title="mAP of the two-stage search minus this">two-stage minus it</abbr>')
    intervals = run.metrics.get("intervals") or {}
    patients, caution = intervals.get("patients"), intervals.get("caution")
    note = (
        f"In small print: 95 % intervals by bootstrap over {patients} patients (or scans); all "
        "queries of a patient are drawn together. Margins are paired; their p-values are those of "
        "a sign-flip test by patient. The intervals describe the choice of test items, not the "
        "variation between training runs." + (f" Note: {caution}." if caution else "")
        if patients
        else "No intervals were computed for this run."
    )
    picture = page.figure(folder / "baselines", _CAPTIONS["baselines"])
    curve = page.figure(folder / "precision_recall", _CAPTIONS["precision_recall"], wide=True)
    table = f"{page.table(head, rows)}<p class='note'>{note}</p>"
    return table + measures.table(run) + _by_nodule(run) + _within_class(run) + picture + curve


def _by_nodule(run: Run) -> str:
    """The search for whole nodules; empty if there was none."""
    found = run.metrics.get("by_nodule")
    if not found:
        return ""
    rows = []
    for row in found["rankings"]:
        cells = [page.text(vocabulary.ranking(row["ranking"]).title)]
        for column in nodules.TABLE_COLUMNS:
            low, high = row[f"{column}_low"], row[f"{column}_high"]
            ends = None if low is None else (low, high)
            cells.append(_with_ends(row[column], ends, vocabulary.metric(column).digits))
        rows.append(cells)
    titles = nodules.table_titles()
    head = ["ranking", *(titles[column] for column in nodules.TABLE_COLUMNS)]
    slices = found["slices"]
    return (
        "<h3>By nodule</h3><p>All slices of a nodule are one query: "
        f"{found['queries']} nodules ({slices[0]} test slices) are searched for among "
        f"{found['gallery']} nodules ({slices[1]} slices). The distance of two nodules is the mean "
        "distance of their slices.</p>" + page.table(head, rows)
    )


WITHIN_CLASS = ("two_stage", "hamming", "fc1", "softmax")


def _within_class(run: Run) -> str:
    """What some rankings say beyond the class."""
    found = [r for r in run.metrics.get("within_class") or () if r["ranking"] in WITHIN_CLASS]
    if not found:
        return ""
    rows = []
    for row in found:
        metric = within_class.metric_of(row["measure"])
        rows.append(
            [
                page.text(vocabulary.ranking(row["ranking"]).title),
                page.text(metric.title),
                page.number(row["value"], metric.digits),
                page.number(row["random"], metric.digits),
                _margin({**row, "value": row["difference"]}),
            ]
        )
    return (
        "<h3>Within a class</h3><p>Each ranking of the items of the query's own class, compared "
        "with a random order of these items. Matched slices are searched for among the test items, "
        "including the query's own scan: the value is the share of the class that is ranked before "
        "another slice of the query's nodule.</p>"
        + page.table(["ranking", "measure", "value", "random order", "difference"], rows)
    )


def _with_ends(value: float | None, ends: Any, digits: int) -> str:
    """A number with its interval in small print, if there is one."""
    small = f"<small>{ends[0]:.{digits}f} to {ends[1]:.{digits}f}</small>" if ends else ""
    return page.number(value, digits) + small


def _margin(margin: Any) -> str:
    """A margin such as `+0.021`, with its interval and p-value in small print."""
    if not margin or margin.get("value") is None:
        return page.UNKNOWN
    small = ""
    if margin["low"] is not None:
        p = margin["p_value"]
        p_text = "p &lt; 0.001" if p < 0.001 else f"p = {p:.3f}"
        small = f"<small>{margin['low']:+.3f} to {margin['high']:+.3f}, {p_text}</small>"
    return f"{margin['value']:+.3f}{small}"


SECTIONS.add("baselines", Section("Against the baselines", 10, section), module=__name__)
