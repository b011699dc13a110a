"""The layout of the Data Science Bowl 2017: a DICOM folder per patient, and tables of labels.

A patient has cancer if the largest nodule is larger than in half of all scans. The last subset are
the test patients of stage 1. One slice lies next to the folders, as in the real data.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.config import Phantom
from inres.phantoms.dicom_series import Series, uid_of, write_series
from inres.phantoms.layout import Layout
from inres.phantoms.plan import ScanPlan
from inres.phantoms.scan import Scan
from inres.system import files

STAGE = "stage1"
LABELS, SOLUTION = "stage1_labels.csv", "stage1_solution.csv"


def patient(plan: ScanPlan) -> str:
    """The patient, 32 hexadecimal digits."""
    return hashlib.sha256(plan.uid.encode()).hexdigest()[:32]


def scan_files(root: Path, plan: ScanPlan, config: Phantom) -> list[Path]:
    """The folder of the slices."""
    return [root / STAGE / patient(plan)]


def write_scan(root: Path, plan: ScanPlan, scan: Scan, config: Phantom) -> None:
    """Write the slices."""
    series = Series(patient=patient(plan), series_uid=plan.uid, study_uid=uid_of(plan.uid, "study"))
    (folder,) = scan_files(root, plan, config)
    write_series(folder, scan, series, name=_slice_name)


def _slice_name(series: Series, number: int) -> str:
    digest = hashlib.sha256(f"{series.series_uid} {number}".encode()).hexdigest()
    return f"{digest[:32]}.dcm"


def has_cancer(plans: Sequence[ScanPlan]) -> list[bool]:
    """The label of each patient."""
    largest = [max((n.diameter_mm for n in plan.nodules), default=0.0) for plan in plans]
    return [size > float(np.median(largest)) for size in largest]


def write_tables(root: Path, plans: Sequence[ScanPlan]) -> None:
    """Write the labels of both parts of stage 1, and a stray slice."""
    labels = has_cancer(plans)
    last = max(plan.subset for plan in plans)
    for table, columns in ((SOLUTION, ("id", "cancer", "Usage")), (LABELS, ("id", "cancer"))):
        values = [
            (patient(plan), int(label), "Public")
            for plan, label in zip(plans, labels, strict=True)
            if (plan.subset == last > 0) == (table == SOLUTION)
        ]
        rows = [dict(zip(columns, row, strict=False)) for row in values]
        files.write_csv(root / table, columns, rows)
    first = min((root / STAGE / patient(plans[0])).iterdir())
    shutil.copyfile(first, root / STAGE / first.name)


DSB2017 = Layout(
    scans=f"{STAGE}/*/",
    scan_files=scan_files,
    write_scan=write_scan,
    tables=(SOLUTION, LABELS),
    write_tables=write_tables,
)
