"""Sections of the report: one module each. A new section is one file here and no other edit.

A module of this package ends with the registration of its section under its own name, which is
also the section's anchor on the page:

    SECTIONS.add("search", Section("Search", 20, section), module=__name__)
"""

import dataclasses
from collections.abc import Callable

from inres.report.run import Run
from inres.system.registry import Registry


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of the report."""

    title: str
    order: int
    """Sections are sorted by this number; use one between those of its neighbours."""
    html: Callable[[Run], str]
    """The section's body; missing files are replaced by a sentence."""


SECTIONS: Registry[Section] = Registry("report section", __name__)


def ordered() -> list[tuple[str, Section]]:
    """All sections with their anchors, in the order of the page."""
    named = [(name, SECTIONS.get(name)) for name in SECTIONS.names()]
    return sorted(named, key=lambda pair: pair[1].order)
