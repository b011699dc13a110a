"""LUNA16's layout: subsets of MetaImages, lung masks, and two tables."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from inres.config import Phantom
from inres.phantoms.layout import Layout, read_findings
from inres.phantoms.plan import ScanPlan
from inres.phantoms.ratings import NAMES
from inres.phantoms.scan import Scan
from inres.system import files

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
"""Columns of LUNA16's tables; those of the ratings follow in `annotations.csv`."""
LUNG_DIR = "seg-lungs-LUNA16"


def scan_files(root: Path, plan: ScanPlan, config: Phantom) -> list[Path]:
    """Mask and scan, each with its data file first."""
    mask, scan = root / LUNG_DIR / plan.uid, root / f"subset{plan.subset}" / plan.uid
    return [*image_files(mask, config), *image_files(scan, config)]


def image_files(stem: Path, config: Phantom) -> list[Path]:
    """The data file and then the header of a MetaImage."""
    suffix = ".zraw" if config.compress else ".raw"
    return [Path(f"{stem}{suffix}"), Path(f"{stem}.mhd")]


def write_scan(root: Path, plan: ScanPlan, scan: Scan, config: Phantom) -> None:
    """Write mask and scan, the scan's header last."""
    mask_data, mask, data, header = scan_files(root, plan, config)
    write_image(mask, mask_data, scan.lungs, scan, compress=config.compress)
    write_image(header, data, scan.hu, scan, compress=config.compress)


def write_image(header: Path, data: Path, array: np.ndarray, scan: Scan, *, compress: bool) -> None:
    """Write a MetaImage whose header appears only after its data."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(scan.spacing)
    image.SetOrigin(scan.origin)
    image.SetDirection(scan.direction)
    writer = sitk.ImageFileWriter()
    writer.SetUseCompression(compress)
    writer.SetCompressionLevel(1)
    with files.atomic_path(header) as part:
        writer.SetFileName(str(part))
        writer.Execute(image)
        with files.atomic_path(data) as whole:
            os.replace(part.with_suffix(data.suffix), whole)


def write_tables(root: Path, plans: Sequence[ScanPlan]) -> None:
    """Write the findings of all scans to the two tables, `annotations.csv` last."""
    found = {plan.uid: read_findings(root, plan) for plan in plans}
    for group, name, ratings in (
        ("excluded", "annotations_excluded", ()),
        ("annotations", "annotations", NAMES),
    ):
        rows = [
            row
            for uid, findings in found.items()
            for row in table_rows(uid, findings[group], ratings)
        ]
        files.write_csv(root / f"{name}.csv", (*COLUMNS, *ratings), rows)


def table_rows(
    uid: str, findings: Iterable[Mapping[str, Any]], ratings: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rows of `COLUMNS` and ratings for the findings of one scan."""
    rows = []
    for finding in findings:
        numbers = (*finding["centre"], finding["diameter_mm"])
        text = [f"{value:.6f}" if value != -1 else "-1" for value in numbers]
        row = dict(zip(COLUMNS, (uid, *text), strict=True))
        rows.append(row | {rating: finding["ratings"][rating] for rating in ratings})
    return rows


LUNA16 = Layout(
    scans="subset*/*.mhd",
    scan_files=scan_files,
    write_scan=write_scan,
    tables=("annotations.csv", "annotations_excluded.csv"),
    write_tables=write_tables,
)
