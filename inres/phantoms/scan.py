"""One synthetic scan: anatomy sampled at the scan's resolution, with findings and noise."""

import dataclasses

import numpy as np
import scipy.fft

from inres.config import Phantom
from inres.phantoms import trees
from inres.phantoms.anatomy import Chest, Person, build_chest, draw_person
from inres.phantoms.drawing import Canvas, draw_airways, draw_vessels
from inres.phantoms.nodules import Finding, Places, draw_excluded_at, draw_nodule_at, place_nodules
from inres.phantoms.plan import ScanPlan, plan_dataset

LEFT_LUNG, RIGHT_LUNG, AIRWAY = 3, 4, 5
"""Labels of `seg-lungs-LUNA16`."""
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
    """3 x 3 direction cosines, by rows."""
    annotations: tuple[Finding, ...]
    """Nodules; centres in world mm."""
    excluded: tuple[Finding, ...]
    """Other findings; centres in world mm, diameter -1 where they are no nodules."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the voxels of a scan lie in the anatomy's frame, in mm."""

    x: np.ndarray
    y: np.ndarray
    """float32 voxel centres; descending where the scan is flipped."""
    z: np.ndarray
    """float32 voxel centres, ascending."""
    steps: np.ndarray
    """float64: x and y relative to the middle of the slice."""
    field_mm: float
    """Side of a slice."""
    pixel_mm: float
    thickness_mm: float

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest voxel centre along each axis, as keywords of `build_chest`."""
        return {
            "x_mm": (self.x.min(), self.x.max()),
            "y_mm": (self.y.min(), self.y.max()),
            "z_mm": (self.z[0], self.z[-1]),
        }


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
      seed: seed of the data set.
      index: number of the scan, below `config.scans`.
      plan: the contents; by default `plan_dataset(config, seed=seed)[index]`.
      noise: factor on the noise; 0 gives a scan without noise.

    Raises:
      ValueError: the lungs have no room for the planned findings.
    """
    plan = plan_dataset(config, seed=seed)[index] if plan is None else plan
    rng = np.random.default_rng([seed, 1, index])
    person = draw_person(rng, extent_mm=config.extent_mm)
    grid = _draw_grid(rng, config, plan, person)
    chest = build_chest(person, rng, **grid.ranges)
    density = VESSEL_DENSITY * min(1.0, 1 / grid.pixel_mm)  # large pixels show fewer vessels
    tubes = trees.vessels(chest, person, rng, density=density)
    bronchi = trees.airways(chest, person, rng)

    clear = 3.5 * plan.thickness_mm + 1
    z_mm = (float(grid.z[0]), float(grid.z[-1]))
    places = Places(chest, tubes, rng, z_mm=z_mm, clear_mm=clear)
    nodules, others = place_nodules(plan.nodules, plan.excluded, places, rng)

    blur = max(grid.pixel_mm, rng.uniform(0.8, 1.2))
    hu, lungs = _sample(chest, grid, blur, _table(rng, person, grid.x, grid.y))
    canvas = Canvas(hu, grid.x, grid.y, grid.z, plan.thickness_mm, blur)
    draw_vessels(canvas, tubes, max(person.blood_hu, 40.0))
    draw_airways(canvas, bronchi, lungs, AIRWAY)
    for finding in others:
        draw_excluded_at(canvas, finding, rng)
    nodules = [
        dataclasses.replace(
            finding, ratings=draw_nodule_at(canvas, finding, rng, blood_hu=person.blood_hu)
        )
        for finding in nodules
    ]
    if noise:
        _add_noise(hu, np.random.default_rng([seed, 2, index]), grid.pixel_mm, noise)
    np.maximum(hu, -1024, out=hu)
    if plan.padding_hu:
        outside = np.hypot(*np.meshgrid(grid.steps, grid.steps)) > grid.field_mm / 2
        hu[:, outside] = plan.padding_hu
    return _in_world(rng, plan, grid, hu, lungs, nodules, others)


def _draw_grid(rng: np.random.Generator, config: Phantom, plan: ScanPlan, person: Person) -> Grid:
    """A random field of view that holds the person's lungs."""
    reach = 2 * person.half_width_mm
    field = float(np.clip(reach + rng.uniform(30, 105), max(256.0, reach + 24), 460))
    pixel = field / config.matrix
    count = round(config.extent_mm / plan.thickness_mm)
    bottom = _bottom(rng, config.extent_mm, person.height_mm)
    middle = np.array([rng.normal(0, 2), rng.normal(4, 3)])
    steps = (np.arange(config.matrix) - (config.matrix - 1) / 2) * pixel
    steps = steps[::-1] if plan.flipped else steps
    return Grid(
        x=(steps + middle[0]).astype(np.float32),
        y=(steps + middle[1]).astype(np.float32),
        z=(bottom + np.arange(count) * plan.thickness_mm).astype(np.float32),
        steps=steps,
        field_mm=field,
        pixel_mm=pixel,
        thickness_mm=plan.thickness_mm,
    )


def _in_world(
    rng: np.random.Generator,
    plan: ScanPlan,
    grid: Grid,
    hu: np.ndarray,
    lungs: np.ndarray,
    nodules: list[Finding],
    others: list[Finding],
) -> Scan:
    """The scan and its findings at a random place in the world."""
    offset = np.array([rng.uniform(-25, 25), rng.uniform(-180, 20), rng.uniform(-420, 40)])
    sign = -1.0 if plan.flipped else 1.0
    origin = np.array([grid.x[0], grid.y[0], grid.z[0]], np.float64) + offset
    annotations, excluded = (
        tuple(dataclasses.replace(f, centre=f.centre + offset) for f in group)
        for group in (nodules, others)
    )
    return Scan(
        uid=plan.uid,
        hu=hu,
        lungs=lungs,
        spacing=(grid.pixel_mm, grid.pixel_mm, plan.thickness_mm),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=(sign, 0.0, 0.0, 0.0, sign, 0.0, 0.0, 0.0, 1.0),
        annotations=annotations,
        excluded=excluded,
    )


def _bottom(rng: np.random.Generator, extent_mm: float, height_mm: float) -> float:
    """Height of the lowest slice, so that the lungs fill the scan or are inside it."""
    low, high = sorted((-15.0, height_mm - extent_mm + 15.0))
    return float(rng.uniform(low, high))


def _lerp(axis: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower indices, and weights of the upper neighbours, for linear interpolation."""
    position = np.clip((at - axis[0]) / (axis[1] - axis[0]), 0, len(axis) - 1.001)
    index = position.astype(np.intp)
    return index, (position - index).astype(np.float32)


def _sample(
    chest: Chest, grid: Grid, blur: float, table: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """HU (int16) and lung labels (uint8) [Z, Y, X] of the anatomy, borders anti-aliased.

    `blur` is the width in mm over which a border rises, `table` the HU [Y, X] around the patient.
    """
    x, y, z, thickness = grid.x, grid.y, grid.z, grid.thickness_mm
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
        if thickness > 1.2:  # the pleura is oblique: average it over the slice
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


def _table(rng: np.random.Generator, person: Person, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """HU [Y, X] outside the patient: air, and the couch under the back."""
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
    """Add noise with the spectrum of a reconstruction kernel, stronger towards the middle."""
    count, rows, cols = hu.shape
    sigma = factor * rng.uniform(12, 34)
    cut = rng.uniform(0.28, 0.55)  # cycles per mm
    keep = np.float32(rng.uniform(0.0, 0.5))  # share of the previous slice
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
        # Two shifted fields of the bank make a new one; drawing all takes three times as long.
        a, b = rng.integers(0, len(bank), 2)
        fresh = bank[a] + np.roll(bank[b], rng.integers(1, (rows, cols)), axis=(0, 1))
        fresh = np.roll(fresh, rng.integers(0, (rows, cols)), axis=(0, 1))
        last = keep * last + mix * fresh
        hu[k] += np.rint(last * spread).astype(np.int16)
