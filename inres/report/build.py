"""The report as a whole: its sections in their order, in one file."""

from pathlib import Path

from inres.report import cards, head, page, sections
from inres.report.run import read_run
from inres.system import files


def build_report(workdir: Path) -> Path:
    """Write `<workdir>/report.html` from what the stages left in `workdir`.

    The file contains everything (styles, tables, images) and loads nothing from elsewhere. A part
    whose files are missing is replaced by a sentence.

    Raises:
      FileNotFoundError: there is no `evaluation/metrics.json`.
      ValueError: a file is damaged; the message names it.
    """
    run = read_run(workdir)
    shown = sections.ordered()
    links = "".join(f'<a href="#{anchor}">{one.title}</a>' for anchor, one in shown)
    body = "".join(f'<h2 id="{anchor}">{one.title}</h2>{one.html(run)}' for anchor, one in shown)
    title = f"inres: {run.name}"
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{page.text(title)}</title><link rel="icon" href="data:,">'
        f"<style>{page.STYLE}</style></head><body><main>"
        f"<header><h1>Search for similar cases in lung CT</h1>{head.summary(run)}</header>"
        f"{cards.cards(run)}<nav>{links}</nav>{body}"
        '<footer class="note">Written by inres. For research; not a medical device.</footer>'
        "</main></body></html>\n"
    )
    out = run.workdir / "report.html"
    files.write_text(out, document)
    return out
