"""Queries and their results, with the provenance of each image."""

from inres.figures import panels
from inres.report import page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section


def section(run: Run) -> str:
    """One normal and one nodule query, one of every class, and the worst queries."""
    captions = run.curves.get("captions", {})
    if not captions:
        return "<p>No images were given, so no search is shown.</p>"
    shown = "".join(
        _shot(run, stem) for stem in ("query_normal", "query_nodule") if stem in captions
    )
    if "query_normal" not in captions:
        shown = "<p>This data has no normal items, so the only query shown is a nodule.</p>" + shown
    more = "".join(_shot(run, s) for s in sorted(captions) if s.startswith("query_class"))
    if more:
        shown += page.details("One query of every class", more)
    if "errors" in captions:
        shown += f"<h3>Worst queries</h3>{_shot(run, 'errors')}"
    return shown


def _shot(run: Run, stem: str) -> str:
    """A panel with the provenance of its images."""
    folder = run.workdir / "evaluation" / "figures"
    rows = [row for row in run.galleries if row["figure"] == stem]
    names = ("item", "name", "nodule", "scan")
    lines = [
        (
            "query" if row["rank"] == "0" else row["rank"],
            *(page.text(row.get(name, "")) or page.UNKNOWN for name in names),
            page.text(panels.class_title(int(row["label"]), run.names)),
            panels.millimetres(float(row["diameter_mm"])) if row["diameter_mm"] else page.UNKNOWN,
        )
        for row in rows
    ]
    head = (
        "rank",
        '<abbr title="row of prepare/items.csv, counted from 0">item</abbr>',
        *("file or nodule", "nodule", "scan", "class", "mm"),
    )
    table = (
        page.details("Where these images come from", page.table(head, lines, left=6))
        if rows
        else ""
    )
    return page.figure(folder / stem, run.curves["captions"][stem], wide=True) + table


SECTIONS.add("search", Section("Search", 20, section), module=__name__)
