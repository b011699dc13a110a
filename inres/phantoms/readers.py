"""Four readers who mark the findings of a phantom scan, and disagree.

A reader outlines a nodule as a ball of about its diameter at about its place, gives ratings near
those of the nodule, and misses some. What they mark follows from a seed.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from inres.phantoms.nodules import Finding
from inres.phantoms.scan import Scan

READERS = 4
NAMES = (
    *("subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation"),
    *("spiculation", "texture", "malignancy"),
)
"""Names of the ratings, in the order of the LIDC's files."""
MARKED_BY = {4: 0.62, 3: 0.22, 2: 0.1, 1: 0.06}
"""Shares of nodules that so many readers mark as nodules of 3 mm or more."""
SEEN = 0.6
"""Share of the other findings that a reader marks."""
SIZE_SD, PLACE_SD = 0.06, 0.04
"""Standard deviations of an outline's diameter and place, relative to the true diameter."""
RATING_SD = 0.5
"""Standard deviation of a reader's rating before it is rounded."""
HOLLOW = 0.3
"""Share of outlines of nodules of 10 mm or more from which a hole is excluded."""


@dataclasses.dataclass(frozen=True)
class Outline:
    """A closed outline in one plane, through the first pixels outside of what it encloses."""

    plane: int
    """Number of the plane from the lowest one, from 0."""
    points: np.ndarray
    """int64 [N, 2], columns and rows; the last point is the first one."""
    hole: bool = False
    """Whether the outline and what it encloses are excluded."""


@dataclasses.dataclass(frozen=True)
class OutlinedNodule:
    """A nodule of 3 mm or more as a reader marked it."""

    finding: int
    """Number of the finding among the scan's annotations."""
    ratings: Mapping[str, int]
    """By name; 0 is unknown."""
    outlines: tuple[Outline, ...]


@dataclasses.dataclass(frozen=True)
class Point:
    """A nodule under 3 mm, or what is no nodule."""

    nodule: bool
    plane: int
    point: tuple[int, int]
    """Column and row."""


@dataclasses.dataclass(frozen=True)
class Session:
    """What one reader marked."""

    nodules: tuple[OutlinedNodule, ...]
    points: tuple[Point, ...]


def read_scan(scan: Scan, rng: np.random.Generator) -> tuple[Session, ...]:
    """What each of the readers marks in a scan."""
    nodules: list[list[OutlinedNodule]] = [[] for _ in range(READERS)]
    points: list[list[Point]] = [[] for _ in range(READERS)]
    for number, finding in enumerate(scan.annotations):
        count = rng.choice(list(MARKED_BY), p=list(MARKED_BY.values()))
        order = rng.permutation(READERS)
        for reader in order[:count]:
            nodules[reader].append(_outlined(number, finding, scan, rng))
        for reader in order[count:]:
            if finding.diameter_mm < 5 and rng.random() < SEEN:  # it looks smaller to this reader
                points[reader].append(_point(finding, scan, nodule=True))
    for finding in scan.excluded:
        for reader in range(READERS):
            if rng.random() < SEEN:
                points[reader].append(_point(finding, scan, nodule=finding.diameter_mm > 0))
    return tuple(Session(tuple(n), tuple(p)) for n, p in zip(nodules, points, strict=True))


def _outlined(
    number: int, finding: Finding, scan: Scan, rng: np.random.Generator
) -> OutlinedNodule:
    diameter = finding.diameter_mm * (1 + SIZE_SD * np.clip(rng.normal(), -2, 2))
    centre = finding.centre + PLACE_SD * finding.diameter_mm * np.clip(rng.normal(size=3), -2, 2)
    outlines = ball(scan, centre, diameter)
    if finding.diameter_mm >= 10 and rng.random() < HOLLOW:
        outlines += [
            dataclasses.replace(outline, hole=True) for outline in ball(scan, centre, diameter / 4)
        ]
    return OutlinedNodule(number, _ratings(finding, rng), tuple(outlines))


def ball(scan: Scan, centre: np.ndarray, diameter_mm: float) -> list[Outline]:
    """The outlines of a ball, one for each plane in which it has pixels.

    One that lies between all planes has one pixel.

    Args:
      centre: x, y, z in mm in the world.
    """
    column, row, plane = _index(scan, centre)
    radius = diameter_mm / 2
    reach = int(np.ceil(radius / scan.spacing[2]))
    outlines = []
    for z in range(round(plane) - reach, round(plane) + reach + 1):
        if not 0 <= z < len(scan.hu):
            continue
        within = radius**2 - ((z - plane) * scan.spacing[2]) ** 2
        if within > 0 and (points := _around_disc(column, row, np.sqrt(within), scan)) is not None:
            outlines.append(Outline(z, points))
    if not outlines:
        points = _around_disc(round(column), round(row), 0.1 * scan.spacing[0], scan)
        assert points is not None
        outlines.append(Outline(round(plane), points))
    return outlines


def _around_disc(column: float, row: float, radius_mm: float, scan: Scan) -> np.ndarray | None:
    """The pixels around a disc in the order of their angle; None where it holds no pixel."""
    low = np.floor([column - radius_mm / scan.spacing[0], row - radius_mm / scan.spacing[1]]) - 2
    size = 2 * int(np.ceil(radius_mm / min(scan.spacing[:2]))) + 6
    rows, columns = np.mgrid[:size, :size] + low[::-1].reshape(2, 1, 1)
    away = np.hypot((columns - column) * scan.spacing[0], (rows - row) * scan.spacing[1])
    disc = away <= radius_mm
    if not disc.any():
        return None
    ring = ndimage.binary_dilation(disc) & ~disc
    points = np.stack([columns[ring], rows[ring]], axis=1)
    angles = np.arctan2(points[:, 1] - rows[disc].mean(), points[:, 0] - columns[disc].mean())
    points = points[np.argsort(angles)].astype(int)
    return np.concatenate([points, points[:1]])


def _point(finding: Finding, scan: Scan, *, nodule: bool) -> Point:
    column, row, plane = (round(value) for value in _index(scan, finding.centre))
    return Point(nodule, min(max(plane, 0), len(scan.hu) - 1), (column, row))


def _index(scan: Scan, world_mm: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Column, row and plane, not rounded."""
    offset = np.asarray(world_mm) - scan.origin
    column, row, plane = offset @ np.array(scan.direction).reshape(3, 3) / scan.spacing
    return float(column), float(row), float(plane)


def _ratings(finding: Finding, rng: np.random.Generator) -> dict[str, int]:
    """Ratings near the true ones; subtlety and malignancy follow from size and spiculation."""
    size = finding.diameter_mm
    true = {
        "subtlety": 2 + size / 6,
        "malignancy": 1 + size / 10 + 0.5 * (finding.ratings["spiculation"] - 1),
        **finding.ratings,
    }
    ratings = {name: _rounded(true[name], name, rng) for name in NAMES if name in true}
    ratings["internalStructure"] = 1 if rng.random() < 0.95 else 4
    if rng.random() < 0.02:
        ratings["texture"] = 0
    return {name: ratings[name] for name in NAMES}


def _rounded(true: float, name: str, rng: np.random.Generator) -> int:
    most = 6 if name == "calcification" else 5
    return int(np.clip(np.rint(true + RATING_SD * rng.normal()), 1, most))
