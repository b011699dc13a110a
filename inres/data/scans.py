"""Scans to item store: every scan by itself, in parallel, resumable, then collected."""

import dataclasses
import math
import shutil
import signal
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import SimpleITK as sitk

from inres import sources
from inres.config import Config, Items
from inres.ct.header import ScanError
from inres.data import collect, columns, labels, normals, scan_items
from inres.data.collect import PrepareError
from inres.data.item_table import other_spellings, record_name
from inres.data.scan_items import Job
from inres.system import files
from inres.system.cluster import ClusterError, running_on
from inres.system.messages import listed
from inres.system.processes import running
from inres.vocabulary import SMALLEST_MM, out_of_range

PACKED_IMAGE, PACKED_MASK = 0.7, 0.05
"""Bytes of a pixel of CT and of a mask once compressed, at most; up to 0.67 and 0.03 measured."""


def prepare_scans(
    config: Config,
    *,
    root: Path,
    out: Path,
    workers: int,
    progress: sources.Progress,
    skip: Collection[str] = (),
) -> None:
    """Write the items of all scans below `root` as an item store to `out`.

    Each scan is first written to a file of its own under `out/scans`. A scan is skipped if its
    file was written with the same config, findings and data files. Once all are done, the store
    is written and `out/scans` removed.

    Args:
      config: the experiment; its source describes the scans.
      root: the data.
      out: the item store, as described in `inres.data.item_store`.
      workers: number of processes; one works in this process.
      progress: wraps long loops.
      skip: names of scans to leave out.

    Raises:
      NothingNew: all scans are left out.
      SourceError: the data has a problem that shows before any voxel is read.
      PrepareError: some scans cannot be read (all others are finished and kept), no item is left,
        or a worker was killed.
      OSError: the disk is full.
    """
    read = sources.get(config.data.kind).read
    assert read is not None
    described = labels.with_labels(read(root, config.data, progress), config.items.label)
    described = _without(described, skip)
    _check(described.scans, config, root)
    most = normals.most_per_scan(config.items.normals, len(described.scans))
    parts = out / "scans"
    parts.mkdir(parents=True, exist_ok=True)
    jobs = [Job(scan, config, most, scan_items.part_path(parts, scan)) for scan in described.scans]
    todo = [job for job in jobs if not job.done()]
    _require_space(out, jobs, todo, config.items)
    with files.full_disk_named(out, "make room and run again (finished scans are kept)"):
        _run(todo, workers, config.data.scheduler, done=len(jobs) - len(todo), progress=progress)
        collect.collect(jobs, described, config, out=out, progress=progress)
    shutil.rmtree(parts)


class NothingNew(ValueError):
    """All scans of the data were to be left out."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"all {len(names)} scans are there already")
        self.names = names


def _without(described: sources.Scans, skip: Collection[str]) -> sources.Scans:
    kept = tuple(scan for scan in described.scans if scan.uid not in skip)
    left = tuple(scan.uid for scan in described.scans if scan.uid in skip)
    if left and not kept:
        raise NothingNew(left)
    return dataclasses.replace(described, scans=kept, skipped=left)


def _check(scans: Sequence[sources.Scan], config: Config, root: Path) -> None:
    """Refuse descriptions from which no items can be cut.

    Raises:
      SourceError: no scan, two of one name, two nodules at one place, a nodule with a diameter or
        property that cannot be, columns that become one, or no lung mask where masks of the data
        are to be used.
    """
    if not scans:
        raise sources.SourceError(f"{root}: no scan")
    uids = Counter(scan.uid for scan in scans)
    names = Counter(finding.name for scan in scans for finding in scan.nodules)
    wants_masks = config.data.lung_masks == "luna16"
    problems = {
        "scans of one name": [uid for uid, count in uids.items() if count > 1],
        "nodules of one name": [name for name, count in names.items() if count > 1],
        "nodules at the place of another one of their scan; remove one": [
            f"{f.name} at {f.world_mm}"
            for scan in scans
            for f, again in zip(scan.nodules, _repeated(scan), strict=True)
            if again
        ],
        f"nodules with a diameter below {SMALLEST_MM:g} mm; is it in another unit?": [
            f"{f.name}: {f.diameter_mm:g}"
            for scan in scans
            for f in scan.nodules
            if f.diameter_mm < SMALLEST_MM
        ],
        "findings with a diameter that cannot be": [
            f"{f.name}: {problem}"
            for scan in scans
            for f in (*scan.nodules, *scan.excluded)
            if (problem := out_of_range("diameter_mm", f.diameter_mm))
        ],
        "columns of numbers in another spelling (rename them)": [
            f"{f.name}: {name}, known is {meant}"
            for scan in scans
            for f in scan.nodules
            for name, meant in other_spellings(f.columns).items()
            if not isinstance(f.columns[name], str)
        ],
        "properties out of range": [
            f"{f.name}: {problem}"
            for scan in scans
            for f in scan.nodules
            for name, value in f.columns.items()
            if not isinstance(value, str) and (problem := out_of_range(name, value))
        ],
        "scans without a lung mask (config.data.lung_masks = 'threshold' needs none)": [
            scan.uid for scan in scans if wants_masks and scan.lung_mask is None
        ],
    }
    for what, cases in problems.items():
        if cases:
            raise sources.SourceError(f"{root}: {len(cases)} {what} (first: {cases[0]})")
    every = [
        *(scan.columns for scan in scans),
        *(finding.columns for scan in scans for finding in scan.nodules),
    ]
    known = dict.fromkeys(name for given in every for name in given)
    try:
        columns.column_names(known)
        columns.column_names(map(record_name, known))  # `label` becomes `label_`
    except ValueError as error:
        raise sources.SourceError(f"{root}: {error}") from None


def _repeated(scan: sources.Scan) -> list[bool]:
    """Whether each nodule of a scan is exactly where an earlier one is."""
    places = [nodule.world_mm for nodule in scan.nodules]
    first = {place: number for number, place in reversed([*enumerate(places)])}
    return [first[place] < number for number, place in enumerate(places)]


def _require_space(out: Path, jobs: Sequence[Job], todo: Sequence[Job], config: Items) -> None:
    """Refuse to start where the files of the scans `todo` and the store of all cannot fit.

    Raises:
      OSError: the disk has too little room.
    """

    def size(part: Sequence[Job], normals: int) -> float:
        nodules = sum(len(job.scan.nodules) for job in part)
        slices = config.slices_per_nodule * nodules + normals
        slices += config.places_per_scan * sum(job.scan.spread for job in part)
        # An item has its slice, mask and neighbours, a nodule two slices of the audit; a cube has
        # values and states.
        images = (1 + 2 * config.neighbours) * slices + 2 * nodules
        cubes = config.cube_px**3 * slices if config.view == "cube" else 0
        pixels = config.canvas_px**2 * images + cubes
        return PACKED_IMAGE * pixels + PACKED_MASK * (config.canvas_px**2 * slices + cubes)

    # The files of the scans offer more normal slices than the store takes.
    parts = size(todo, sum(job.normals for job in todo))
    files.require_space(out, math.ceil(parts + size(jobs, config.normals)))


def _run(
    jobs: Sequence[Job], workers: int, scheduler: str, *, done: int, progress: sources.Progress
) -> None:
    """Do all jobs; unreadable scans are collected, so that one does not stop the others.

    Raises:
      PrepareError: some scans cannot be read, or a worker was killed.
    """
    if not jobs:
        return
    name = f"scans ({done} done before)" if done else "scans"
    alone = workers == 1 and not scheduler
    results = _serial(jobs) if alone else _parallel(jobs, min(workers, len(jobs)), scheduler)
    steps = progress(results, name=name, total=len(jobs), unit="scan")
    failed = sorted(error for error in steps if error is not None)
    if failed:
        raise PrepareError(
            f"{len(failed)} of {len(jobs)} scans could not be read; fetch them again or remove "
            "them, then run again (the others are kept):\n" + listed(failed)
        )


def _serial(jobs: Sequence[Job]) -> Iterator[str | None]:
    """Do the jobs in this process; the error of each, or None."""
    for job in jobs:
        try:
            scan_items.work(job)
            yield None
        except ScanError as error:
            yield str(error)


def _parallel(jobs: Sequence[Job], workers: int, scheduler: str) -> Iterator[str | None]:
    """Do the jobs in processes here, or on a cluster; the error of each, or None, as they finish.

    Raises:
      PrepareError: a worker was killed, or the cluster cannot be used.
    """
    each = [(job,) for job in jobs]
    try:
        with (
            running_on(scheduler, _work_on_cluster, each, shared=jobs[0].path.parent)
            if scheduler
            else running(scan_items.work, each, workers=workers, start=_start_worker)
        ) as prepared:
            for scan in prepared if scheduler else as_completed(prepared):
                try:
                    scan.result()
                    yield None
                except ScanError as error:
                    yield str(error)
    except BrokenProcessPool:
        raise PrepareError(
            "a worker was killed, most likely for lack of memory (up to 2 GB each); run again "
            "with fewer, such as config.data.workers = 1 (finished scans are kept)"
        ) from None
    except ClusterError as error:
        raise PrepareError(str(error)) from None


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _work_on_cluster(job: Job) -> None:
    """Do a job, unless a worker did it and died before it could say so."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if not job.done():
        scan_items.work(job)
