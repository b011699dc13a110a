"""The report as a whole: its sections in their order, in one file."""

from pathlib import Path

from inres.report import (
    classification,
    codes,
    comparisons,
    data,
    head,
    lungs,
    page,
    search,
    settings,
    training,
)
from inres.report.run import read_run
from inres.system import files


def build_report(workdir: Path) -> Path:
    """Write `<workdir>/report.html` from what the stages left in `workdir`.

    The file holds everything (styles, tables, images) and asks for nothing from outside. Parts
    whose files are absent are left out with a sentence.

    Raises:
      FileNotFoundError: there is no `evaluation/metrics.json`.
      ValueError: a file is damaged; the message names it.
    """
    run = read_run(workdir)
    sections = [
        ("Against the baselines", "baselines", comparisons.section(run)),
        ("Search", "search", search.section(run)),
        ("Codes and cost", "codes", codes.section(run)),
        ("Classification", "classification", classification.section(run)),
        ("Data", "data", data.section(run)),
        ("Lungs", "lungs", lungs.section(run)),
        ("Training", "training", training.section(run)),
        ("Settings", "settings", settings.section(run)),
    ]
    links = "".join(f'<a href="#{name}">{title}</a>' for title, name, _ in sections)
    body = "".join(f'<h2 id="{name}">{title}</h2>{text}' for title, name, text in sections)
    title = f"inres: {run.name}"
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{page.text(title)}</title><link rel="icon" href="data:,">'
        f"<style>{page.STYLE}</style></head><body><main>"
        f"<header><h1>Search for similar lung CT slices</h1>{head.summary(run)}</header>"
        f"{head.cards(run)}<nav>{links}</nav>{body}"
        '<footer class="note">Written by inres. For research; not a medical device.</footer>'
        "</main></body></html>\n"
    )
    out = run.workdir / "report.html"
    files.write_text(out, document)
    return out
