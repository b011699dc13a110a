"""The size and place of one reader's mark, from its outlines.

An outline runs through the first pixels outside of a nodule, so the nodule is what it encloses,
without the outline itself. A hole is what its outline encloses, with the outline. The diameter is
that of a sphere of the nodule's volume. With all three, a mark has the diameter that LUNA16 lists
for it (`experiments.lidc_check`).
"""

import dataclasses
import math

import numpy as np
from scipy import ndimage, spatial

from inres.lidc.planes import Planes
from inres.lidc.readings import Contour, Mark


@dataclasses.dataclass(frozen=True, eq=False)
class Mask:
    """The pixels of a mark."""

    pixels: np.ndarray
    """bool [K, rows, columns]."""
    z_mm: np.ndarray
    """float64 [K], ascending, of each slice."""
    first: tuple[int, int]
    """Row and column of the first pixel in the series' slices."""


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """A mark with its size and place."""

    mark: Mark
    volume_mm3: float
    extent_mm: float
    """Largest width in a slice."""
    world_mm: np.ndarray
    """float64 [3], the centre of mass."""

    @property
    def diameter_mm(self) -> float:
        """Diameter of a sphere of the mark's volume."""
        return sphere_diameter(self.volume_mm3)


def sphere_diameter(volume_mm3: float) -> float:
    """Diameter in mm of a sphere of this volume."""
    return float(np.cbrt(6 * volume_mm3 / math.pi))


def mask(mark: Mark) -> Mask:
    """The pixels of a mark; none where its outlines enclose nothing."""
    points = np.concatenate([contour.points for contour in mark.contours])
    low, high = points.min(axis=0), points.max(axis=0)
    shape = (int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
    heights = np.unique([contour.z_mm for contour in mark.contours])
    pixels = np.zeros((len(heights), *shape), bool)
    for contour in sorted(mark.contours, key=lambda contour: contour.hole):
        plane = pixels[np.searchsorted(heights, contour.z_mm)]
        line = _line(contour, low, shape)
        filled = ndimage.binary_fill_holes(line)
        if contour.hole:
            plane &= ~filled
        else:
            plane |= filled & ~line
    return Mask(pixels, heights, (int(low[1]), int(low[0])))


def measure(mark: Mark, planes: Planes) -> Measured:
    """The size and place of a mark in a series with these planes.

    A mark that encloses no pixel has no volume, and its place is the middle of its outlines.
    """
    found = mask(mark)
    places, counts = [], []
    for z_mm, plane in zip(found.z_mm, found.pixels, strict=True):
        if plane.any():
            row, column = np.argwhere(plane).mean(axis=0) + found.first
            places.append(planes.world_mm(z_mm, np.array([[column, row]]))[0])
            counts.append(int(plane.sum()))
    if not places:
        middles = [(c.z_mm, np.mean(c.points, axis=0)[None]) for c in mark.contours]
        places = [planes.world_mm(z_mm, middle)[0] for z_mm, middle in middles]
        counts = [len(contour.points) for contour in mark.contours]
    return Measured(
        mark=mark,
        volume_mm3=float(found.pixels.sum()) * planes.pixel_mm2 * planes.slice_mm,
        extent_mm=max(_width_mm(contour, planes) for contour in mark.contours),
        world_mm=np.average(places, axis=0, weights=counts),
    )


def _line(contour: Contour, low: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of a closed outline, bool [rows, columns]; gaps between its points are bridged."""
    points = np.array(contour.points) - low
    steps = np.roll(points, -1, axis=0) - points
    counts = np.maximum(1, np.abs(steps).max(axis=1))
    which = np.repeat(np.arange(len(points)), counts)
    share = (np.arange(len(which)) - (np.cumsum(counts) - counts)[which]) / counts[which]
    column, row = np.rint(points[which] + steps[which] * share[:, None]).astype(int).T
    line = np.zeros(shape, bool)
    line[row, column] = True
    return line


def _width_mm(contour: Contour, planes: Planes) -> float:
    """Largest width of what an outline encloses.

    It is a pixel less than the distance of the outline's centres on both sides.
    """
    if contour.hole or len(contour.points) < 2:
        return 0.0
    places = planes.world_mm(contour.z_mm, np.array(contour.points))
    return max(0.0, float(spatial.distance.pdist(places).max()) - math.sqrt(planes.pixel_mm2))
