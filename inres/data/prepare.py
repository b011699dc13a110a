"""Scans to item store: every scan on its own, in parallel, resumable, then put together."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from inres.config import Config
from inres.ct import lungs
from inres.ct.header import ScanError, Vector
from inres.data.audit import PLANE_OFFSET
from inres.data.cut import Cut, canvases, cut_scan, inside_canvas
from inres.data.items import CLASS_NAMES, Item, size_class, write_table
from inres.sources.luna16 import Luna16, ScanEntry, read_luna16
from inres.system import files
from inres.system.processes import running
from inres.system.progress import progress as default_progress

AUDIT_COLUMNS = ("scan", "nodule", "diameter_mm", "threshold", "luna16", "repaired")
UNKNOWN_RADIUS_MM = 3.0
"""Taken for excluded findings without a diameter: LUNA16 leaves it out below 3 mm."""
MIN_GAP_MM = 3.0
"""Between normal slices of one scan."""
MIN_LUNG_SHARE = 0.2
"""A normal slice has at least this share of the scan's largest lung area."""
POINT_DEPTH_MM = 5.0
"""A normal's point lies this deep in the lung, where the lung is that wide."""
_FORMAT = 1
_SUFFIXES = (".mhd", ".raw", ".zraw")


class PrepareError(ValueError):
    """Scans could not be prepared; the message lists the first and says how to go on."""


def prepare(
    config: Config,
    *,
    root: str | Path,
    out: str | Path,
    workers: int | None = None,
    progress: Callable[..., Iterable[Any]] = default_progress,
) -> None:
    """Prepare the LUNA16 tree at `root` (or phantoms, the same tree) as an item store at `out`.

    Each scan ends in a file of its own under `out/scans`; a scan whose file is there, from the
    same config, findings and data file, is not done again. When all are done the store is
    written and `out/scans` removed.

    Args:
      config: the experiment.
      root: the tree.
      out: the item store, as described in `inres.data.items`.
      workers: processes; None takes `config.data.workers`, of which 0 means one per core.
        One worker works in this process.
      progress: wraps long loops, as `inres.system.progress.progress`.

    Raises:
      Luna16Error: something is wrong with the tree; found before work starts.
      PrepareError: some scans cannot be read (all others are done and kept), no item is left,
        or a worker was killed.
      OSError: the disk is full.
    """
    root, out = Path(root), Path(out)
    tree = read_luna16(
        root,
        max_thickness_mm=config.data.max_thickness_mm,
        expect_counts="off" if config.data.kind == "phantom" else config.data.expect_counts,
        need_masks=config.data.lung_masks == "luna16",
        progress=progress,
    )
    share = -(-config.items.normals // len(tree.scans))
    cap = min(config.items.normals, max(8, 4 * share))
    parts = out / "scans"
    parts.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(entry, config, cap, parts / f"{entry.uid}.npz") for entry in tree.scans]
    todo = [job for job in jobs if not job.done()]
    _require_space(out, jobs, todo, config)
    workers = config.data.workers if workers is None else workers
    with files.full_disk_named(out, "make room and run again (scans done are kept)"):
        _run(todo, workers or os.cpu_count() or 1, done=len(jobs) - len(todo), progress=progress)
        _assemble(jobs, tree, config, out=out, progress=progress)
    shutil.rmtree(parts)


def table2(items: Iterable[Item]) -> dict[str, int]:
    """The paper's Table 2: how many items each class has, by the names of its classes.

    A nodule counts once, however many of its slices train.
    """
    labels = [item.label for item in items if not item.offset_mm]
    return {name: labels.count(label) for label, name in enumerate(CLASS_NAMES)}


# One scan


@dataclasses.dataclass(frozen=True)
class _Job:
    """What a worker needs to prepare one scan."""

    entry: ScanEntry
    config: Config
    cap: int
    """Most normal slices to offer."""
    path: Path

    def fingerprint(self) -> str:
        """Changes with anything that the result depends on."""
        items = dataclasses.asdict(self.config.items)
        for name in ("normals", "view", "crop_mm", "segmented", "size_px"):
            del items[name]
        mask = self.entry.lung_mask if self.config.data.lung_masks == "luna16" else None
        files_of = [p.with_suffix(s) for p in (self.entry.path, mask) if p for s in _SUFFIXES]
        sources = [path for path in files_of if path.is_file()]
        stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(set(sources))]
        parts = [_FORMAT, items, self.config.data.seed, self.config.data.lung_masks, self.cap]
        parts += [repr(self.entry), stats]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def done(self) -> bool:
        """Whether `path` holds this very job's result."""
        if not self.path.is_file():
            return False
        try:
            with np.load(self.path) as stored:
                return str(stored["fingerprint"]) == self.fingerprint()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            return False


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _work(job: _Job) -> None:
    """Prepare one scan and write its file."""
    entry, config = job.entry, job.config
    wants_labels = config.data.lung_masks == "luna16"
    cut = cut_scan(entry.path, config, lung_mask=entry.lung_mask if wants_labels else None)
    items, planes, audit, audit_planes = [], [], [], []
    messages = list(cut.messages)
    for finding in entry.nodules:
        index = cut.volume.world_to_index(np.array(finding.world_mm))
        z = cut.nearest_plane(index[0])
        point = cut.in_canvas(index, config)
        if not inside_canvas(point, config):
            continue  # its picture would not show it; _assemble tells who is missing
        label = int(size_class(finding.diameter_mm))
        items.append(
            _item(entry, finding.world_mm, point, label, finding.name, finding.diameter_mm)
        )
        planes.append(z)
        radius = finding.diameter_mm / 2 / config.items.spacing_mm
        for plane in _planes_beside(cut, index[0], radius, config):
            aside = (plane - z) * config.items.spacing_mm
            items.append(dataclasses.replace(items[-1], offset_mm=aside))
            planes.append(plane)
        shares = {"threshold": cut.threshold, "luna16": cut.luna16, "repaired": cut.mask}
        audit.append(
            {"scan": entry.uid, "nodule": finding.name, "diameter_mm": finding.diameter_mm}
            | {k: lungs.coverage(m, index, radius) for k, m in shares.items() if m is not None}
        )
        audit_planes += [
            cut.nearest_plane(index[0] + sign * PLANE_OFFSET * radius) for sign in (-1, 1)
        ]
    rng = np.random.default_rng([config.data.seed, zlib.crc32(entry.uid.encode())])
    for z in _normal_planes(cut, job, rng):
        place = np.array([z, *_lung_point(cut, z, config, rng)], np.float64)
        world = cut.volume.index_to_world(place)
        point = cut.in_canvas(place, config)
        items.append(_item(entry, (world[0], world[1], world[2]), point, 0, "", 0.0))
        planes.append(z)
    with files.atomic_path(job.path) as part:
        np.savez_compressed(
            part,
            fingerprint=np.array(job.fingerprint()),
            text=np.array(json.dumps([[vars(i) for i in items], audit, messages])),
            slices=canvases([cut.plane(z, config) for z in planes], config),
            neighbours=canvases([n for z in planes for n in cut.neighbours(z, config)], config),
            lung_masks=canvases([cut.mask_plane(z, config) for z in planes], config),
            audit_slices=canvases([cut.plane(z, config) for z in audit_planes], config),
        )


def _planes_beside(cut: Cut, center: float, radius: float, config: Config) -> list[int]:
    """Planes of a nodule beside its central one, for training, evenly spread and all different.

    None is further from `center` than half of `radius`: there the nodule's disc has sqrt(3) / 2 of
    its diameter, 0.87, or more.
    """
    count = config.items.slices_per_nodule
    central = cut.nearest_plane(center)
    first = min(central, int(np.ceil(center - radius / 2)))
    last = max(central, int(np.floor(center + radius / 2)))
    places = center + (np.arange(count) - count // 2) / max(count - 1, 1) * radius
    planes = {cut.nearest_plane(place) for place in np.clip(places, first, last)}
    return sorted(planes - {central})


def _item(
    entry: ScanEntry,
    world_mm: Vector,
    point: tuple[float, float],
    label: int,
    nodule: str,
    diameter_mm: float,
) -> Item:
    x, y, z = (round(float(value), 4) for value in world_mm)
    return Item(
        image="",
        scan=entry.uid,
        nodule=nodule,
        label=label,
        diameter_mm=diameter_mm,
        subset=entry.subset,
        x_mm=x,
        y_mm=y,
        z_mm=z,
        row=round(point[0], 3),
        col=round(point[1], 3),
    )


def _normal_planes(cut: Cut, job: _Job, rng: np.random.Generator) -> list[int]:
    """Up to `job.cap` planes clear of all findings, in random order, not neighbours."""
    items = job.config.items
    clear = cut.mask.sum((1, 2))
    clear = clear >= max(1, MIN_LUNG_SHARE * clear.max())
    heights = np.arange(len(clear))
    for finding in (*job.entry.nodules, *job.entry.excluded):
        z = cut.volume.world_to_index(np.array(finding.world_mm))[0]
        radius = UNKNOWN_RADIUS_MM if np.isnan(finding.diameter_mm) else finding.diameter_mm / 2
        clear &= np.abs(heights - z) * items.spacing_mm >= radius + items.normal_clearance_mm
    chosen: list[int] = []
    for z in rng.permutation(np.flatnonzero(clear)):
        if len(chosen) == job.cap:
            break
        if all(abs(z - other) * items.spacing_mm >= MIN_GAP_MM for other in chosen):
            chosen.append(int(z))
    return chosen


def _lung_point(cut: Cut, z: int, config: Config, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a random point of the lungs in plane `z`, deep where it can be."""
    inside = np.zeros_like(cut.mask[z])
    half = config.items.canvas_px // 2
    rows, cols = (slice(max(0, c - half), c - half + 2 * half) for c in cut.center)
    inside[rows, cols] = cut.mask[z][rows, cols]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    deep = min(POINT_DEPTH_MM / config.items.spacing_mm, depth.max() / 2)
    points = np.argwhere(inside & (depth >= deep))
    row, col = points[rng.choice(len(points))]
    return int(row), int(col)


# All scans


def _require_space(out: Path, jobs: Sequence[_Job], todo: Sequence[_Job], config: Config) -> None:
    """Refuse to start where the files of the scans `todo` and the store of all cannot fit.

    Raises:
      OSError: the disk has too little room.
    """
    items = config.items

    def size(part: Sequence[_Job]) -> int:
        nodules = sum(len(job.entry.nodules) for job in part)
        normals = -(-items.normals * len(part) // len(jobs))
        shown = items.slices_per_nodule * nodules + normals
        # An item has its slice, mask and neighbours, a nodule two slices of the audit.
        return items.canvas_px**2 * ((2 + 2 * items.neighbours) * shown + 2 * nodules)

    # A scan's file offers more normals than the store takes of it, but is compressed.
    files.require_space(out, size(todo) + size(jobs))


def _run(
    jobs: Sequence[_Job], workers: int, *, done: int, progress: Callable[..., Iterable[Any]]
) -> None:
    """Do all jobs; unreadable scans are collected, so that one does not stop the others."""
    failed: list[str] = []
    if not jobs:
        return
    name = f"scans ({done} done before)" if done else "scans"
    results = _serial(jobs) if workers == 1 else _parallel(jobs, min(workers, len(jobs)))
    for error in progress(results, name=name, total=len(jobs), unit="scan"):
        if error is not None:
            failed.append(error)
    if failed:
        more = f"\n... and {len(failed) - 10} more" if len(failed) > 10 else ""
        raise PrepareError(
            f"{len(failed)} of {len(jobs)} scans could not be read; fetch them again or remove "
            "them, then run again (the others are kept):\n" + "\n".join(sorted(failed)[:10]) + more
        )


def _serial(jobs: Sequence[_Job]) -> Iterator[str | None]:
    for job in jobs:
        try:
            _work(job)
            yield None
        except ScanError as error:
            yield str(error)


def _parallel(jobs: Sequence[_Job], workers: int) -> Iterator[str | None]:
    try:
        each = [(job,) for job in jobs]
        with running(_work, each, workers=workers, start=_start_worker) as prepared:
            for scan in as_completed(prepared):
                try:
                    scan.result()
                    yield None
                except ScanError as error:
                    yield str(error)
    except BrokenProcessPool:
        raise PrepareError(
            "a worker died, most likely for want of memory (up to 2 GB each); run again with "
            "fewer, --config.data.workers=1 (finished scans are kept)"
        ) from None


def _assemble(
    jobs: Sequence[_Job],
    tree: Luna16,
    config: Config,
    *,
    out: Path,
    progress: Callable[..., Iterable[Any]],
) -> None:
    """Put the scans' files together; the table comes last, so that a store is whole or absent."""
    texts = []
    for job in jobs:
        with np.load(job.path) as stored:
            texts.append(json.loads(str(stored["text"])))
    offered = [sum(not item["nodule"] for item in items) for items, _, _ in texts]
    quota = _even(offered, config.items.normals, np.random.default_rng(config.data.seed))
    # A file's normals come after its nodules, in random order: a prefix is a random choice.
    counts = [
        len(items) - offer + take
        for (items, _, _), offer, take in zip(texts, offered, quota, strict=True)
    ]
    items = [Item(**row) for (r, _, _), n in zip(texts, counts, strict=True) for row in r[:n]]
    audit = [row for _, rows, _ in texts for row in rows]
    messages = [*tree.messages, *(text for _, _, lines in texts for text in lines)]
    if not items:
        raise PrepareError(
            f"{out}: not one item; no nodule lies inside of its canvas (items.canvas_mm = "
            f"{config.items.canvas_mm:g}) and no slice is clear of all findings"
        )
    if sum(quota) < config.items.normals:
        messages.append(
            f"{sum(quota)} normal slices instead of {config.items.normals}: no more are clear of "
            f"all findings by {config.items.normal_clearance_mm:g} mm"
        )
    kept = {item.nodule for item in items}
    nodules = [finding.name for entry in tree.scans for finding in entry.nodules]
    lost = [name for name in nodules if name not in kept]
    if lost:
        messages.append(
            f"{len(lost)} of {len(nodules)} nodules left out: outside of the canvas round their "
            f"scan's lungs (first: {lost[0]}); raise --config.items.canvas_mm"
        )
    for name in ("items.csv", "meta.json", "neighbours.npy"):
        (out / name).unlink(missing_ok=True)
    side, beside = config.items.canvas_px, 2 * config.items.neighbours
    with (
        files.array_file(out / "slices.npy", (len(items), side, side)) as slices,
        (
            files.array_file(out / "neighbours.npy", (len(items), beside, side, side))
            if beside
            else contextlib.nullcontext()
        ) as neighbours,
        files.array_file(out / "lung_masks.npy", (len(items), side, side)) as masks,
        files.array_file(out / "audit_slices.npy", (2 * len(audit), side, side)) as planes,
    ):
        pairs = list(zip(jobs, counts, strict=True))
        for job, count in progress(pairs, name="item store", total=len(pairs), unit="scan"):
            with np.load(job.path) as stored:
                slices.write(stored["slices"][:count].tobytes())
                masks.write(stored["lung_masks"][:count].tobytes())
                if neighbours is not None:
                    neighbours.write(stored["neighbours"][: count * beside].tobytes())
                planes.write(stored["audit_slices"].tobytes())
    files.write_csv(out / "audit.csv", AUDIT_COLUMNS, audit)
    write_table(out / "items.csv", items)
    files.write_json(out / "meta.json", _meta(items, audit, messages, tree, config))


def _meta(
    items: Sequence[Item],
    audit: Sequence[dict[str, Any]],
    messages: Sequence[str],
    tree: Luna16,
    config: Config,
) -> dict[str, Any]:
    return {
        "window_hu": [config.items.hu_min, config.items.hu_max],
        "spacing_mm": config.items.spacing_mm,
        "canvas_px": config.items.canvas_px,
        "threshold_hu": lungs.THRESHOLD_HU,
        "lung_masks": config.data.lung_masks,
        "scans": len(tree.scans),
        "table2": table2(items),
        "normals": {
            "asked": config.items.normals,
            "made": sum(not item.nodule for item in items),
        },
        "audit": {
            name: float(np.mean([row[name] for row in audit]))
            for name in AUDIT_COLUMNS[3:]
            if audit and name in audit[0]
        },
        "messages": list(messages),
    }


def _even(offered: Sequence[int], total: int, rng: np.random.Generator) -> list[int]:
    """How many to take of each offer: `total` if there are as many, as evenly as can be."""
    take = np.zeros(len(offered), int)
    left = min(total, sum(offered))
    while left:
        open_ = np.flatnonzero(take < np.array(offered))
        if left < len(open_):
            take[rng.permutation(open_)[:left]] += 1
            break
        step = min(left // len(open_), int((np.array(offered) - take)[open_].min()))
        take[open_] += step
        left -= step * len(open_)
    return take.tolist()
