"""Queries and their results, with the provenance of each image."""

from collections.abc import Mapping, Sequence

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


_ORIGIN = {
    "item": '<abbr title="row of prepare/items.csv, counted from 0">item</abbr>',
    "name": "file",
    "nodule": "nodule",
    "scan": "scan",
}
"""Headings of the columns of `galleries.csv` that say where an image comes from."""


def _shot(run: Run, stem: str) -> str:
    """A panel with the provenance of its images."""
    folder = run.workdir / "evaluation" / "figures"
    rows = [row for row in run.galleries if row["figure"] == stem]
    table = page.details("Where these images come from", _origins(run, rows)) if rows else ""
    return page.figure(folder / stem, run.curves["captions"][stem], wide=True) + table


def _origins(run: Run, rows: Sequence[Mapping[str, str]]) -> str:
    """A row for each image; columns without any value are left out."""
    # Without a file, the name is that of the nodule, which has its own column.
    shown = [
        {**row, "name": "" if row["name"] == row.get("nodule") else row["name"]} for row in rows
    ]
    columns = [name for name in _ORIGIN if any(row.get(name) for row in shown)]
    lines = [
        (
            "query" if row["rank"] == "0" else row["rank"],
            *(page.text(row.get(name, "")) or page.UNKNOWN for name in columns),
            page.text(panels.class_title(int(row["label"]), run.names)),
            panels.millimetres(float(row["diameter_mm"])) if row["diameter_mm"] else page.UNKNOWN,
        )
        for row in shown
    ]
    head = ("rank", *(_ORIGIN[name] for name in columns), "class", "mm")
    return page.table(head, lines, left=2 + len(columns))


SECTIONS.add("search", Section("Search", 20, section), module=__name__)
