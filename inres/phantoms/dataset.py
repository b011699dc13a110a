"""Synthetic chest CT, written in LUNA16's layout, with nodules whose place and size are known.

The anatomy (`phantom_anatomy`) is a set of smooth fields on a coarse grid; here it is sampled at
the scan's own resolution, vessels, airways and nodules are drawn in, and noise is added slice by
slice. Everything follows from the config, a seed and the scan's index.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import SimpleITK as sitk

from inres.config import Phantom
from inres.phantoms import trees as trees
from inres.phantoms.anatomy import Chest, build_chest, draw_person
from inres.phantoms.drawing import Canvas, draw_airways, draw_vessels
from inres.phantoms.nodules import Finding, Places, draw_excluded_at, draw_nodule_at, place_nodules
from inres.phantoms.plan import ScanPlan, plan_dataset
from inres.system import files
from inres.system import progress as bars
from inres.system.processes import running

LEFT_LUNG, RIGHT_LUNG, AIRWAY = 3, 4, 5
"""Labels of `seg-lungs-LUNA16`."""
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
LUNG_DIR = "seg-lungs-LUNA16"
FINDINGS_DIR = "findings"
VESSEL_DENSITY = 1.0
"""Branch ends per cm3 of lung."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """A synthetic scan."""

    uid: str
    hu: np.ndarray
    """int16 [Z, Y, X]."""
    lungs: np.ndarray
    """uint8 [Z, Y, X]: 0, LEFT_LUNG, RIGHT_LUNG, AIRWAY (trachea and main bronchi)."""
    spacing: tuple[float, float, float]
    """mm along x, y, z."""
    origin: tuple[float, float, float]
    """World (LPS) position of voxel (0, 0, 0), mm."""
    direction: tuple[float, ...]
    """Row-major 3 x 3 direction cosines."""
    annotations: tuple[Finding, ...]
    """Nodules; centres in world mm."""
    excluded: tuple[Finding, ...]
    """Other findings; centres in world mm, diameter -1 where they are no nodules."""


def make_scan(
    config: Phantom,
    *,
    seed: int,
    index: int,
    plan: ScanPlan | None = None,
    noise: float = 1.0,
) -> Scan:
    """Make scan `index` of the data set; a pure function of its arguments.

    Args:
      config: the data set.
      seed: of the data set.
      index: of the scan, below `config.scans`.
      plan: what to put in; by default `plan_dataset(config, seed=seed)[index]`.
      noise: factor on the noise; 0 gives a scan without noise.
    """
    plan = plan_dataset(config, seed=seed)[index] if plan is None else plan
    rng = np.random.default_rng([seed, 1, index])
    person = draw_person(rng, extent_mm=config.extent_mm)
    reach = 2 * person.half_width_mm
    field = float(np.clip(reach + rng.uniform(30, 105), max(256.0, reach + 24), 460))
    spacing = field / config.matrix
    count = round(config.extent_mm / plan.thickness_mm)
    bottom = _bottom(rng, config.extent_mm, person.height_mm)
    middle = np.array([rng.normal(0, 2), rng.normal(4, 3)])

    steps = (np.arange(config.matrix) - (config.matrix - 1) / 2) * spacing
    steps = steps[::-1] if plan.flipped else steps
    x, y = (steps + middle[0]).astype(np.float32), (steps + middle[1]).astype(np.float32)
    z = (bottom + np.arange(count) * plan.thickness_mm).astype(np.float32)
    ranges = {"x_mm": (x.min(), x.max()), "y_mm": (y.min(), y.max()), "z_mm": (z[0], z[-1])}
    chest = build_chest(person, rng, **ranges)
    density = VESSEL_DENSITY * min(1.0, 1 / spacing)  # large pixels show fewer vessels
    tubes = trees.vessels(chest, person, rng, density=density)
    bronchi = trees.airways(chest, person, rng)

    clear = 3.5 * plan.thickness_mm + 1
    places = Places(chest, tubes, rng, z_mm=(float(z[0]), float(z[-1])), clear_mm=clear)
    nodules, others = place_nodules(plan.nodules, plan.excluded, places, rng)

    blur = max(spacing, rng.uniform(0.8, 1.2))
    hu, lungs = _sample(chest, x, y, z, plan.thickness_mm, blur, _table(rng, person, x, y))
    canvas = Canvas(hu, x, y, z, plan.thickness_mm, blur)
    draw_vessels(canvas, tubes, max(person.blood_hu, 40.0))
    draw_airways(canvas, bronchi, lungs, AIRWAY)
    for finding in others:
        draw_excluded_at(canvas, finding, rng)
    for finding in nodules:
        draw_nodule_at(canvas, finding, rng, blood_hu=person.blood_hu)
    if noise:
        _add_noise(hu, np.random.default_rng([seed, 2, index]), spacing, noise)
    np.maximum(hu, -1024, out=hu)
    if plan.padding_hu:
        hu[:, np.hypot(*np.meshgrid(steps, steps)) > field / 2] = plan.padding_hu

    offset = np.array([rng.uniform(-25, 25), rng.uniform(-180, 20), rng.uniform(-420, 40)])
    sign = -1.0 if plan.flipped else 1.0
    origin = np.array([x[0], y[0], z[0]], np.float64) + offset
    world = [
        tuple(dataclasses.replace(f, centre=f.centre + offset) for f in group)
        for group in (nodules, others)
    ]
    return Scan(
        uid=plan.uid,
        hu=hu,
        lungs=lungs,
        spacing=(spacing, spacing, plan.thickness_mm),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=(sign, 0.0, 0.0, 0.0, sign, 0.0, 0.0, 0.0, 1.0),
        annotations=world[0],
        excluded=world[1],
    )


def _bottom(rng: np.random.Generator, extent_mm: float, height_mm: float) -> float:
    """Height of the lowest slice: the lungs fill the scan, or lie within it."""
    low, high = sorted((-15.0, height_mm - extent_mm + 15.0))
    return float(rng.uniform(low, high))


def _lerp(axis: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower index and weight of the upper neighbour for linear interpolation."""
    position = np.clip((at - axis[0]) / (axis[1] - axis[0]), 0, len(axis) - 1.001)
    index = position.astype(np.intp)
    return index, (position - index).astype(np.float32)


def _sample(
    chest: Chest,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    thickness: float,
    blur: float,
    table: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """HU (int16) and lung labels (uint8) [Z, Y, X] of the anatomy, borders anti-aliased."""
    shape = (len(z), len(y), len(x))
    hu, labels = np.empty(shape, np.int16), np.zeros(shape, np.uint8)
    fields = np.stack(
        [chest.body, chest.tissue, chest.bone, chest.marrow, chest.lung, chest.lung_hu], axis=1
    )
    xi, xw = _lerp(chest.x, x)
    yi, yw = _lerp(chest.y, y)
    yw = yw[:, None]
    side = np.where(x > chest.midline_mm, LEFT_LUNG, RIGHT_LUNG).astype(np.uint8)
    per_mm = np.float32(1 / blur)

    def level(height: float, which: slice) -> np.ndarray:
        i, w = (v.item() for v in _lerp(chest.z, np.asarray(height)))
        return fields[i, which] * (1 - w) + fields[i + 1, which] * w

    for k, height in enumerate(z):
        coarse = level(height, slice(0, 6))
        if thickness > 1.2:  # the pleura slants: average it over the slice
            halves = [level(height + d * thickness, slice(4, 5)) for d in (-0.3, 0.3)]
            coarse = np.concatenate([coarse, *halves])
        fine = np.take(coarse, xi, axis=2)
        fine += xw * (np.take(coarse, xi + 1, axis=2) - fine)
        upper = np.take(fine, yi + 1, axis=1)
        fine = np.take(fine, yi, axis=1)
        upper -= fine
        upper *= yw
        fine += upper
        body, value, bone, marrow, lung, lung_hu = fine[:6]
        edges = fine[6:] if len(fine) > 6 else lung[None]
        cover = np.clip(edges * per_mm + np.float32(0.5), 0, 1).mean(axis=0)
        shell = np.clip(bone * np.float32(-1 / 2.4) + np.float32(0.85), 0, 1)
        marrow = marrow + shell * (620 - marrow)
        value = value + np.clip(bone * np.float32(1 / 1.6) + np.float32(0.5), 0, 1) * (
            marrow - value
        )
        value += cover * (lung_hu - value)
        skin = np.clip(body * per_mm + np.float32(0.5), 0, 1)
        hu[k] = table + skin * (value - table)
        labels[k] = (lung > 0) * side
    return hu, labels


def _table(rng: np.random.Generator, person, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """HU [Y, X] of what lies outside the patient: air and the couch under the back."""
    image = np.full((len(y), len(x)), -1000.0, np.float32)
    back = person.scale * (person.cage[2] + 27 + 0.5 * person.fat_mm)
    sag = x[None] ** 2 / rng.uniform(900, 1600)
    pad = y[:, None] - (back + rng.uniform(1, 4) - sag * 0.8)
    image += 60 * np.clip(pad, 0, 1) * np.clip(14 - pad, 0, 1)
    for depth, hu in ((rng.uniform(8, 16), -560.0), (rng.uniform(36, 60), -640.0)):
        sheet = np.clip(1.6 - np.abs(y[:, None] - (back + depth - sag)), 0, 1)
        sheet = sheet * (np.abs(x[None]) < 205)
        image += sheet * (hu - image)
    return image


def _add_noise(hu: np.ndarray, rng: np.random.Generator, spacing: float, factor: float) -> None:
    """Add noise with a reconstruction kernel's spectrum, stronger towards the middle."""
    count, rows, cols = hu.shape
    sigma = factor * rng.uniform(12, 34)
    cut = rng.uniform(0.28, 0.55)  # cycles per mm
    keep = np.float32(rng.uniform(0.0, 0.5))  # of the slice before
    fy, fx = scipy.fft.fftfreq(rows, spacing)[:, None], scipy.fft.rfftfreq(cols, spacing)
    f = np.hypot(fy, fx)
    response = (np.sqrt(f + 0.02) * np.exp(-((f / cut) ** 2))).astype(np.float32)
    white = rng.standard_normal((min(count, 12), *response.shape, 2), dtype=np.float32)
    bank = scipy.fft.irfft2(white.view(np.complex64)[..., 0] * response, s=(rows, cols))
    bank *= np.float32(sigma) / bank.std()
    v, u = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, cols)
    spread = (0.6 + 0.65 * np.exp(-1.6 * (u * u + v * v))).astype(np.float32)
    last = np.zeros((rows, cols), np.float32)
    mix = np.float32(np.sqrt((1 - keep**2) / 2))
    for k in range(count):
        # Two shifted fields of the bank make a new one; drawing each anew takes thrice as long.
        a, b = rng.integers(0, len(bank), 2)
        fresh = bank[a] + np.roll(bank[b], rng.integers(1, (rows, cols)), axis=(0, 1))
        fresh = np.roll(fresh, rng.integers(0, (rows, cols)), axis=(0, 1))
        last = keep * last + mix * fresh
        hu[k] += np.rint(last * spread).astype(np.int16)


def scan_files(root: Path, plan: ScanPlan, config: Phantom) -> list[Path]:
    """The files of a whole scan, in the order in which they are written."""
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

    `root/subset*/<uid>.mhd` with its data, `annotations.csv`, `annotations_excluded.csv` (both
    written last), `seg-lungs-LUNA16/<uid>.mhd` (the true lungs), and `findings/<uid>.json` (kind,
    margin and place of every finding, beyond LUNA16's layout). Whole scans are kept, so an
    interrupted data set is completed by another call.

    Args:
      root: the folder, made if absent.
      config: the data set.
      seed: of the data set.
      workers: processes; 0 means one per core.
      progress: a progress bar like `inres.system.progress.progress`.

    Raises:
      ValueError: `root` holds scans of another config or seed, or the lungs have no room.
    """
    root = Path(root)
    plans = plan_dataset(config, seed=seed)
    known = {plan.uid for plan in plans}
    foreign = sorted(p for p in root.glob("subset*/*.mhd") if p.stem not in known)
    if foreign:
        raise ValueError(
            f"{foreign[0]}: {len(foreign)} scans in {root} are not of this phantom config and "
            "seed; remove the folder or choose another one"
        )
    todo = [p for p in plans if not all(f.is_file() for f in scan_files(root, p, config))]
    tables = [root / "annotations.csv", root / "annotations_excluded.csv"]
    if todo:
        workers = min(workers or os.cpu_count() or 1, len(todo))
        try:
            with contextlib.closing(_made(root, config, seed, todo, workers)) as made:
                for _ in progress(made, name="phantom", total=len(todo), unit="scan"):
                    pass
        finally:
            files.remove_leftovers(root)  # of a worker interrupted as it tidied up, or killed
    if todo or not all(t.is_file() for t in tables):
        _write_tables(root, plans)


def _made(
    root: Path, config: Phantom, seed: int, plans: list[ScanPlan], workers: int
) -> Generator[str]:
    """Write scans in parallel, giving each one's uid; on any error the workers stop at once."""
    if workers == 1:
        for plan in plans:
            yield _write_scan(root, config, seed, plan)
        return
    # Thin slices take longest: they go first, so that none is left over at the end.
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
        raise KeyboardInterrupt  # unwinds the scan in hand, whose temporary files are removed


def _start_worker() -> None:
    signal.signal(signal.SIGINT, _stop_worker)
    signal.signal(signal.SIGTERM, _stop_worker)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _write_scan(root: Path, config: Phantom, seed: int, plan: ScanPlan) -> str:
    """Make one scan and write its files, the header of the scan last."""
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
    """Write a MetaImage whose header appears only when its data is in place."""
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
    """Collect all scans' findings into the two tables, `annotations.csv` last."""
    found = {p.uid: files.read_json(root / FINDINGS_DIR / f"{p.uid}.json") for p in plans}
    for name, group in (("annotations_excluded", "excluded"), ("annotations", "annotations")):
        rows = []
        for uid, findings in found.items():
            for f in findings[group]:
                numbers = (*f["centre"], f["diameter_mm"])
                text = [f"{v:.6f}" if v != -1 else "-1" for v in numbers]
                rows.append(dict(zip(COLUMNS, (uid, *text), strict=True)))
        files.write_csv(root / f"{name}.csv", COLUMNS, rows)
