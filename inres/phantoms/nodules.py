"""Placing findings in the lungs, and drawing them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from inres.phantoms.anatomy import Chest
from inres.phantoms.drawing import Blob, Canvas, Tube, draw_blob, draw_vessels
from inres.phantoms.plan import Nodule
from inres.phantoms.ratings import GLASS_HU, rate


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding and its place; the centre is in the anatomy's frame, or in the world's."""

    centre: np.ndarray
    diameter_mm: float
    """-1 for a finding that is no nodule, as LUNA16 marks excluded findings."""
    kind: str
    margin: str
    place: str
    radius_mm: float
    """Radius of a sphere that contains it."""
    ratings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Of a drawn nodule, by `inres.phantoms.ratings`."""


class Places:
    """Chooses places in the lungs of a chest that do not overlap."""

    gap_mm = 4.0

    def __init__(
        self,
        chest: Chest,
        tubes: Sequence[Tube],
        rng: np.random.Generator,
        *,
        z_mm: tuple[float, float],
        clear_mm: float,
    ):
        """Findings keep a distance of `clear_mm` from the ends `z_mm` of the scan."""
        self._chest, self._rng = chest, rng
        self._low, self._high = z_mm[0] + clear_mm, z_mm[1] - clear_mm
        self._taken: list[tuple[np.ndarray, float]] = []
        gradient = np.gradient(chest.lung, *(float(a[1] - a[0]) for a in self._axes))
        slope = np.sqrt(sum(g * g for g in gradient))
        self._depth = chest.lung / np.clip(slope, 1, 4)
        self._inside = np.argwhere(self._depth > -1)
        forks = [(t.p + t.q) / 2 for t in tubes if 0.5 < min(t.rp, t.rq) < 2.5]
        self._forks = np.array(forks).reshape(-1, 3)

    @property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._chest.z, self._chest.y, self._chest.x

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Depth below the pleura in mm of points [N, 3]."""
        index = [
            (points[:, 2 - k] - axis[0]) / (axis[1] - axis[0]) for k, axis in enumerate(self._axes)
        ]
        return map_coordinates(self._depth, index, order=1, mode="nearest")

    def _candidates(self, place: str, count: int) -> np.ndarray:
        """Random points [count, 3]: at vessels, or anywhere in the lungs."""
        if place == "vessel" and len(self._forks):
            points = self._forks[self._rng.integers(0, len(self._forks), count)]
            return points + self._rng.normal(0, 0.8, points.shape)
        rows = self._inside[self._rng.integers(0, len(self._inside), count)]
        at = rows + self._rng.uniform(-0.5, 0.5, rows.shape)
        low = [axis[0] for axis in self._axes]
        step = [axis[1] - axis[0] for axis in self._axes]
        return (low + at * step)[:, ::-1]

    def take(self, radius_mm: float, place: str) -> tuple[np.ndarray, str]:
        """Choose a centre for a finding of `radius_mm`.

        Returns:
          The centre, and the kind of place: `place`, or another kind if that has no room.

        Raises:
          ValueError: the lungs have no room left.
        """
        wishes = {"isolated": (radius_mm + 1.5, 1e3), "vessel": (0.8 * radius_mm, 1e3)}
        pleura = (max(0.45 * radius_mm, 0.7), max(0.9 * radius_mm, 1.5))
        for gap in (self.gap_mm, 1.0):
            for where in dict.fromkeys((place, "pleura", "vessel", "isolated", "anywhere")):
                low, high = {**wishes, "pleura": pleura}.get(where, (0.3 * radius_mm, 1e3))
                points = self._candidates(where, 3000)
                fits = (points[:, 2] - radius_mm > self._low) & (
                    points[:, 2] + radius_mm < self._high
                )
                depth = self.depth(points)
                fits &= (depth > low) & (depth < high)
                for other, other_radius in self._taken:
                    apart = np.linalg.norm(points - other, axis=1)
                    fits &= apart > radius_mm + other_radius + gap
                if fits.any():
                    centre = points[int(np.argmax(fits))]
                    self._taken.append((centre, radius_mm))
                    return centre, where
        raise ValueError(
            f"no room for {len(self._taken) + 1} findings in one phantom scan; decrease "
            "config.phantom.nodules_per_scan or config.phantom.excluded_per_scan, or increase "
            "config.phantom.extent_mm"
        )


def place_nodules(
    nodules: Sequence[Nodule], excluded: int, places: Places, rng: np.random.Generator
) -> tuple[list[Finding], list[Finding]]:
    """Place all nodules, largest first, then `excluded` other findings."""
    found = []
    for nodule in sorted(nodules, key=lambda n: -n.diameter_mm):
        radius = nodule.diameter_mm / 2
        centre, place = places.take(radius, nodule.place)
        found.append(
            Finding(centre, nodule.diameter_mm, nodule.kind, nodule.margin, place, 1.2 * radius)
        )
    others = []
    for _ in range(excluded):
        kind = str(rng.choice(("speck", "scar", "micronodule"), p=(0.45, 0.35, 0.2)))
        size = rng.uniform(8, 20) if kind == "scar" else rng.uniform(1.8, 3.0)
        where = "pleura" if kind == "scar" else str(rng.choice(("isolated", "pleura", "vessel")))
        # A scar is long, but starts at the pleura like a small nodule.
        centre, place = places.take(2.0 if kind == "scar" else size / 2, where)
        marked = kind == "micronodule" or (kind == "speck" and rng.random() < 0.3)
        others.append(Finding(centre, size if marked else -1.0, kind, "smooth", place, size / 2))
    return found, others


def _blob(
    centre: np.ndarray,
    diameter_mm: float,
    rng: np.random.Generator,
    *,
    lobulated: bool,
    **look: float,
) -> Blob:
    """A body whose long and short axes have a mean of `diameter_mm`."""
    e = rng.uniform(0.02, 0.16)
    axes = diameter_mm / 2 * np.array([1 + e, 1 + rng.uniform(-0.5, 0.5) * e, 1 - e])
    lobes = int(rng.integers(4, 8)) if lobulated else 2
    height = rng.uniform(0.1, 0.26, lobes) if lobulated else rng.uniform(-0.04, 0.06, lobes)
    directions = rng.normal(size=(lobes, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Blob(
        centre=np.asarray(centre, np.float64),
        axes_mm=axes,
        rotation=Rotation.from_quat(rng.normal(size=4)).as_matrix(),
        lobe_directions=directions,
        lobe_heights=height,
        lobe_sharpness=float(rng.uniform(3.0, 7.0)),
        **look,
    )


def draw_nodule_at(
    canvas: Canvas, finding: Finding, rng: np.random.Generator, *, blood_hu: float
) -> dict[str, float]:
    """Draw a nodule as its kind and margin say, and return its ratings."""
    d, centre = finding.diameter_mm, finding.centre
    lobed = finding.margin == "lobulated"
    rough = {"smooth": 0.05, "lobulated": 0.07, "spiculated": 0.09}[finding.margin]
    soft = min(rng.uniform(0.4, 1.3), 0.22 * d)
    if finding.kind in ("solid", "calcified"):
        hu = rng.normal(30 + 0.15 * (blood_hu - 40), 15)
        hu = rng.uniform(250, 600) if finding.kind == "calcified" else hu
        body = _blob(centre, d, rng, lobulated=lobed, hu=hu, edge_mm=soft, rough=rough)
    else:
        hu = rng.uniform(GLASS_HU, -470)
        body = _blob(
            centre, d, rng, lobulated=lobed, hu=hu, edge_mm=0.08 * d, mottle=0.14, rough=rough
        )
    draw_blob(canvas, body, rng)
    core = None
    if finding.kind == "part_solid":
        middle = centre + rng.normal(0, 0.06 * d, 3)
        hu = rng.normal(10, 20)
        size = d * rng.uniform(0.35, 0.6)
        core = _blob(middle, size, rng, lobulated=lobed, hu=hu, edge_mm=0.4, rough=0.1)
        draw_blob(canvas, core, rng)
    spicules = _spicules(finding, rng) if finding.margin == "spiculated" else []
    spicule_hu = -350.0 if finding.kind == "ground_glass" else 20.0
    draw_vessels(canvas, spicules, spicule_hu)
    return rate(body, core, spicules, spicule_hu=spicule_hu)


def _spicules(finding: Finding, rng: np.random.Generator) -> list[Tube]:
    """Fine strands that radiate from the surface; they do not count towards the diameter."""
    r = finding.diameter_mm / 2
    count = int(rng.integers(10, 16) + 1.4 * finding.diameter_mm)
    ways = rng.normal(size=(count, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    strands = []
    for way in ways:
        root, tip = (finding.centre + reach * way for reach in (0.75 * r, r + 1))
        tip = tip + (way + rng.normal(0, 0.25, 3)) * rng.exponential(1.2 + 0.25 * r)
        strands.append(Tube(root, tip, 0.6 + 0.06 * r * rng.random(), 0.3))
    return strands


def draw_excluded_at(canvas: Canvas, finding: Finding, rng: np.random.Generator) -> None:
    """Draw a calcified speck, a scar or a nodule below 3 mm."""
    size = 2 * finding.radius_mm
    if finding.kind == "scar":
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        side = rng.normal(0, 0.12 * size, 3)
        ends = [
            finding.centre - way * size / 2,
            finding.centre + side,
            finding.centre + way * size / 2,
        ]
        wide = rng.uniform(0.7, 1.5)
        strands = [Tube(ends[0], ends[1], wide, 0.8 * wide), Tube(ends[1], ends[2], wide, 0.4)]
        draw_vessels(canvas, strands, 10.0)
    else:
        hu = rng.uniform(300, 900) if finding.kind == "speck" else 20.0
        draw_blob(
            canvas, _blob(finding.centre, size, rng, lobulated=False, hu=hu, edge_mm=0.0), rng
        )
