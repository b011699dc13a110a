"""Synthetic chest CT, written in LUNA16's layout, with nodules of known place and size.

Every file is a function of the config, a seed and the scan's index.
"""

import concurrent.futures
import contextlib
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from inres.config import Phantom
from inres.phantoms.plan import ScanPlan, plan_dataset
from inres.phantoms.ratings import NAMES
from inres.phantoms.scan import Scan, make_scan
from inres.system import files
from inres.system import progress as bars
from inres.system.processes import running

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
"""Columns of LUNA16's tables; those of the ratings follow in `annotations.csv`."""
LUNG_DIR = "seg-lungs-LUNA16"
FINDINGS_DIR = "findings"


def scan_files(root: Path, plan: ScanPlan, config: Phantom) -> list[Path]:
    """The files of a complete scan, in the order in which they are written."""
    suffix = ".zraw" if config.compress else ".raw"
    base, mask = root / f"subset{plan.subset}" / plan.uid, root / LUNG_DIR / plan.uid
    return [
        root / FINDINGS_DIR / f"{plan.uid}.json",
        Path(f"{mask}{suffix}"),
        Path(f"{mask}.mhd"),
        Path(f"{base}{suffix}"),
        Path(f"{base}.mhd"),
    ]


def write_dataset(
    root: Path,
    config: Phantom,
    *,
    seed: int,
    workers: int = 0,
    progress: Callable[..., Any] = bars.progress,
) -> None:
    """Write the data set as a LUNA16 tree.

    Under `root` this writes `subset*/<uid>.mhd` with its data, `seg-lungs-LUNA16/<uid>.mhd` (the
    true lungs), `findings/<uid>.json` (kind, margin, place and ratings of every finding, in
    addition to LUNA16's layout), and last `annotations_excluded.csv` and `annotations.csv`, which
    also has the ratings. Complete scans are kept, so another call completes an interrupted data
    set. Scans without ratings, which older versions wrote, are made again with the same voxels.

    Args:
      root: the folder, created if absent.
      config: the data set.
      seed: seed of the data set.
      workers: number of processes; 0 means one per core.
      progress: wraps the loop over scans, as `inres.system.progress.progress`.

    Raises:
      ValueError: `root` holds scans of another config or seed, or the lungs have no room.
    """
    root = Path(root)
    plans = plan_dataset(config, seed=seed)
    known = {plan.uid for plan in plans}
    foreign = sorted(p for p in root.glob("subset*/*.mhd") if p.stem not in known)
    if foreign:
        raise ValueError(
            f"{foreign[0]}: {len(foreign)} scans in {root} were made with another config.phantom "
            "or seed; remove the folder or choose another one"
        )
    todo = [p for p in plans if not _is_complete(root, p, config)]
    tables = [root / "annotations.csv", root / "annotations_excluded.csv"]
    if todo:
        for table in tables:  # they are there of a complete data set alone
            table.unlink(missing_ok=True)
        workers = min(workers or os.cpu_count() or 1, len(todo))
        try:
            with contextlib.closing(_made(root, config, seed, todo, workers)) as made:
                for _ in progress(made, name="phantom", total=len(todo), unit="scan"):
                    pass
        finally:
            files.remove_leftovers(root)  # of a worker that was killed, or interrupted in clean-up
    if todo or not all(t.is_file() for t in tables):
        _write_tables(root, plans)


def _is_complete(root: Path, plan: ScanPlan, config: Phantom) -> bool:
    """Whether all files of a scan are there, and its nodules have ratings."""
    written = scan_files(root, plan, config)
    if not all(path.is_file() for path in written):
        return False
    return all(set(NAMES) <= set(f.get("ratings", ())) for f in _nodules(written[0]))


def _nodules(findings: Path) -> list[dict[str, Any]]:
    """The nodules in the file of a scan's findings."""
    return files.read_json(findings)["annotations"]


def _made(
    root: Path, config: Phantom, seed: int, plans: list[ScanPlan], workers: int
) -> Generator[str]:
    """Write scans in parallel and yield their uids; on any error the workers stop at once."""
    if workers == 1:
        for plan in plans:
            yield _write_scan(root, config, seed, plan)
        return
    # Scans with thin slices take longest: they go first, so that workers finish together.
    slow_first = sorted(plans, key=lambda p: p.thickness_mm)
    jobs = [(root, config, seed, plan) for plan in slow_first]
    with running(_write_scan, jobs, workers=workers, start=_start_worker) as written:
        for scan in concurrent.futures.as_completed(written):
            yield scan.result()


_stopping = False
_busy = False


def _stop_worker(signum: int, frame: object) -> None:
    global _stopping
    _stopping = True
    if _busy:
        raise KeyboardInterrupt  # unwinds the current scan and removes its temporary files


def _start_worker() -> None:
    signal.signal(signal.SIGINT, _stop_worker)
    signal.signal(signal.SIGTERM, _stop_worker)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _write_scan(root: Path, config: Phantom, seed: int, plan: ScanPlan) -> str:
    """Make one scan and write its files, the scan's header last."""
    global _busy
    _busy = True
    try:
        if _stopping:
            raise KeyboardInterrupt
        scan = make_scan(config, seed=seed, index=plan.index, plan=plan)
        findings, mask_data, mask, data, header = scan_files(root, plan, config)
        groups = {"annotations": scan.annotations, "excluded": scan.excluded}
        rows = {
            name: [{**vars(f), "centre": [round(float(v), 6) for v in f.centre]} for f in group]
            for name, group in groups.items()
        }
        files.write_json(findings, rows)
        _write_image(mask, mask_data, scan.lungs, scan, compress=config.compress)
        _write_image(header, data, scan.hu, scan, compress=config.compress)
        return scan.uid
    finally:
        _busy = False


def _write_image(
    header: Path, data: Path, array: np.ndarray, scan: Scan, *, compress: bool
) -> None:
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


def _write_tables(root: Path, plans: list[ScanPlan]) -> None:
    """Write the findings of all scans to the two tables, `annotations.csv` last."""
    found = {p.uid: files.read_json(root / FINDINGS_DIR / f"{p.uid}.json") for p in plans}
    tables = (("excluded", "annotations_excluded", ()), ("annotations", "annotations", NAMES))
    for group, name, ratings in tables:
        rows = []
        for uid, findings in found.items():
            for f in findings[group]:
                numbers = (*f["centre"], f["diameter_mm"])
                text = [f"{v:.6f}" if v != -1 else "-1" for v in numbers]
                row = dict(zip(COLUMNS, (uid, *text), strict=True))
                rows.append(row | {rating: f["ratings"][rating] for rating in ratings})
        files.write_csv(root / f"{name}.csv", (*COLUMNS, *ratings), rows)
