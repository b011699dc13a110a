"""The layout of Tianchi 2017: MetaImages in parts for training and validation, tables by part.

The last subset is the official validation. Scans without nodules, which Tianchi does not have, are
its test part, of which no nodules are published.
"""

from collections.abc import Sequence
from pathlib import Path

from inres.config import Phantom
from inres.phantoms.layout import Layout, read_findings
from inres.phantoms.luna16_layout import COLUMNS, image_files, table_rows, write_image
from inres.phantoms.plan import ScanPlan
from inres.phantoms.scan import Scan
from inres.system import files

PARTS = ("train", "val")


def name(plan: ScanPlan) -> str:
    """The name of a scan's file."""
    return f"LKDS-{plan.index + 1:05d}"


def part(plan: ScanPlan, config: Phantom) -> str:
    """The folder of a scan."""
    if not plan.nodules:
        return "test_subset00"
    last = config.subsets > 1 and plan.subset == config.subsets - 1
    return "val_subset00" if last else f"train_subset{plan.subset:02d}"


def scan_files(root: Path, plan: ScanPlan, config: Phantom) -> list[Path]:
    """Data and header of the scan."""
    return image_files(root / part(plan, config) / name(plan), config)


def write_scan(root: Path, plan: ScanPlan, scan: Scan, config: Phantom) -> None:
    """Write the scan, its header last."""
    data, header = scan_files(root, plan, config)
    write_image(header, data, scan.hu, scan, compress=config.compress)


def write_tables(root: Path, plans: Sequence[ScanPlan]) -> None:
    """Write the tables of both parts; as in the real ones, some names have _ in place of -."""
    for which in PARTS:
        rows = []
        for plan in plans:
            if not list(root.glob(f"{which}_subset*/{name(plan)}.mhd")):
                continue
            uid = name(plan).replace("-", "_") if plan.index % 3 == 0 else name(plan)
            rows += table_rows(uid, read_findings(root, plan)["annotations"])
        files.write_csv(root / "csv" / which / "annotations.csv", COLUMNS, rows)


TIANCHI = Layout(
    scans="*_subset*/*.mhd",
    scan_files=scan_files,
    write_scan=write_scan,
    tables=tuple(f"csv/{which}/annotations.csv" for which in PARTS),
    write_tables=write_tables,
)
