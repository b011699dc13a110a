"""How a synthetic data set lies on disk: one file per layout, each with a `Layout`."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inres.config import Phantom
from inres.phantoms.plan import ScanPlan
from inres.phantoms.scan import Scan
from inres.system import files

FINDINGS_DIR = "findings"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a data set, below its root.

    Its functions are called in other processes, so they are functions of modules.
    """

    scans: str
    """Pattern of the scans that are there."""
    scan_files: Callable[[Path, ScanPlan, Phantom], list[Path]]
    """The files and folders of a complete scan under a root, in the order of writing; the last one
    matches `scans`."""
    write_scan: Callable[[Path, ScanPlan, Scan, Phantom], None]
    """Writes these files."""
    tables: tuple[str, ...]
    """The tables of a complete data set; absent if it is not."""
    write_tables: Callable[[Path, Sequence[ScanPlan]], None]
    """Writes these tables, from the findings of all scans."""


def findings_path(root: Path, plan: ScanPlan) -> Path:
    """The file of a scan's findings, in every layout."""
    return root / FINDINGS_DIR / f"{plan.uid}.json"


def read_findings(root: Path, plan: ScanPlan) -> dict[str, list[dict[str, Any]]]:
    """A scan's `annotations` and `excluded` findings: fields of `nodules.Finding`."""
    return files.read_json(findings_path(root, plan))


def write_findings(root: Path, plan: ScanPlan, scan: Scan) -> None:
    """Write a scan's findings, centres in world mm."""
    groups = {"annotations": scan.annotations, "excluded": scan.excluded}
    rows = {
        name: [{**vars(f), "centre": [round(float(v), 6) for v in f.centre]} for f in group]
        for name, group in groups.items()
    }
    files.write_json(findings_path(root, plan), rows)
