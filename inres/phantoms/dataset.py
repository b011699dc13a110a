"""Synthetic chest CT with nodules of known place and size, written in the layout of a collection.

Every file is a function of the config, a seed and the scan's index.
"""

import concurrent.futures
import contextlib
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from inres.config import Phantom
from inres.phantoms.layout import Layout, findings_path, read_findings, write_findings
from inres.phantoms.luna16_layout import LUNA16
from inres.phantoms.plan import ScanPlan, plan_dataset
from inres.phantoms.ratings import NAMES
from inres.phantoms.scan import make_scan
from inres.system import files
from inres.system import progress as bars
from inres.system.processes import running


def write_dataset(
    root: Path,
    config: Phantom,
    *,
    seed: int,
    workers: int = 0,
    progress: Callable[..., Any] = bars.progress,
    layout: Layout = LUNA16,
) -> None:
    """Write the data set, by default as a LUNA16 tree.

    Under `root` this writes `subset*/<uid>.mhd` with its data, `seg-lungs-LUNA16/<uid>.mhd` (the
    true lungs), and last `annotations_excluded.csv` and `annotations.csv`, which also has the
    ratings; or else the files of another layout. Every layout has `findings/<uid>.json` in addition
    (kind, margin, place and ratings of every finding). Complete scans are kept, so another call
    completes an interrupted data set. Scans without ratings, which older versions wrote, are made
    again with the same voxels.

    Args:
      root: the folder, created if absent.
      config: the data set.
      seed: seed of the data set.
      workers: number of processes; 0 means one per core.
      progress: wraps the loop over scans, as `inres.system.progress.progress`.
      layout: the collection whose layout is written.

    Raises:
      ValueError: `root` holds scans of another config or seed, or the lungs have no room.
    """
    root = Path(root)
    plans = plan_dataset(config, seed=seed)
    known = {path for plan in plans for path in layout.scan_files(root, plan, config)}
    foreign = sorted(path for path in root.glob(layout.scans) if path not in known)
    if foreign:
        raise ValueError(
            f"{foreign[0]}: {len(foreign)} scans in {root} were made with another config.phantom "
            "or seed; remove the folder or choose another one"
        )
    todo = [p for p in plans if not _is_complete(root, p, config, layout)]
    tables = [root / name for name in layout.tables]
    if todo:
        for table in tables:  # they are there of a complete data set alone
            table.unlink(missing_ok=True)
        workers = min(workers or os.cpu_count() or 1, len(todo))
        try:
            with contextlib.closing(_made(root, config, seed, todo, workers, layout)) as made:
                for _ in progress(made, name="phantom", total=len(todo), unit="scan"):
                    pass
        finally:
            files.remove_leftovers(root)  # of a worker that was killed, or interrupted in clean-up
    if todo or not all(t.is_file() for t in tables):
        layout.write_tables(root, plans)


def _is_complete(root: Path, plan: ScanPlan, config: Phantom, layout: Layout) -> bool:
    """Whether all files of a scan are there, and its nodules have ratings."""
    written = [findings_path(root, plan), *layout.scan_files(root, plan, config)]
    if not all(path.exists() for path in written):
        return False
    nodules = read_findings(root, plan)["annotations"]
    return all(set(NAMES) <= set(f.get("ratings", ())) for f in nodules)


def _made(
    root: Path, config: Phantom, seed: int, plans: list[ScanPlan], workers: int, layout: Layout
) -> Generator[str]:
    """Write scans in parallel and yield their uids; on any error the workers stop at once."""
    if workers == 1:
        for plan in plans:
            yield _write_scan(root, config, seed, plan, layout)
        return
    # Scans with thin slices take longest: they go first, so that workers finish together.
    slow_first = sorted(plans, key=lambda p: p.thickness_mm)
    jobs = [(root, config, seed, plan, layout) for plan in slow_first]
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


def _write_scan(root: Path, config: Phantom, seed: int, plan: ScanPlan, layout: Layout) -> str:
    """Make one scan and write its files, the findings first."""
    global _busy
    _busy = True
    try:
        if _stopping:
            raise KeyboardInterrupt
        scan = make_scan(config, seed=seed, index=plan.index, plan=plan)
        write_findings(root, plan, scan)
        layout.write_scan(root, plan, scan, config)
        return scan.uid
    finally:
        _busy = False
