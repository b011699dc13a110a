"""Sections of the report: found by listing their package, in their order."""

import sys

import pytest

from inres.report import sections
from inres.report.build import build_report
from inres.system import files

NEW = '''
"""A section of its own file."""
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section


def section(run: Run) -> str:
    return f"<p>There are {len(run.metrics)} metrics.</p>"


SECTIONS.add("counted", Section("What was counted", 25, section), module=__name__)
'''


@pytest.fixture
def workdir(tmp_path):
    files.write_json(tmp_path / "run" / "evaluation" / "metrics.json", {"pool": None})
    return tmp_path / "run"


def test_a_new_section_is_one_file(workdir, tmp_path, monkeypatch):
    before = build_report(workdir).read_text(encoding="utf-8")
    assert "counted" not in before
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "counted.py").write_text(NEW)
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path / "more")])
    try:
        page = build_report(workdir).read_text(encoding="utf-8")
    finally:
        sys.modules.pop("inres.report.sections.counted", None)
        sections.SECTIONS._entries.pop("counted", None)
        sections.SECTIONS._modules.pop("counted", None)
    assert '<h2 id="counted">What was counted</h2><p>There are 1 metrics.</p>' in page
    assert '<a href="#counted">What was counted</a>' in page
    # Between Search (20) and Codes and cost (30).
    assert page.index('id="search"') < page.index('id="counted"') < page.index('id="codes"')


def test_sections_have_their_order_and_anchors():
    assert [name for name, _ in sections.ordered()] == [
        *("baselines", "similarity", "search", "codes", "classification"),
        *("data", "lungs", "training", "settings"),
    ]
    orders = [one.order for _, one in sections.ordered()]
    assert len(set(orders)) == len(orders)
