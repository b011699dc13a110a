"""Connected components of a mask, each measured."""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError, distance

from inres.ct.header import Grid, Header, ScanError, Vector, vector
from inres.ct.image import read_image
from inres.ct.scan import read_header

MOST = 1000
"""Components that a mask may have; noise has more."""
MOST_MM3 = 5e5
"""Volume that all components may have together, that of a sphere of 98 mm; a lung has more."""
_SAME_VOXELS = 0.1
"""Greatest distance of the corners of a mask from those of its scan, in voxels."""


@dataclasses.dataclass(frozen=True)
class Component:
    """A connected set of voxels of one value."""

    value: int
    """In the mask."""
    centre_mm: Vector
    """World position (LPS) of its centroid."""
    volume_mm3: float
    longest_axial_mm: float
    """Longest distance between two points of its outline in one axial slice."""

    @property
    def diameter_mm(self) -> float:
        """The diameter of the sphere of the same volume."""
        return 2 * (3 * self.volume_mm3 / (4 * math.pi)) ** (1 / 3)


def read_components(path: Path, scan: Header) -> list[Component]:
    """The components of a mask file on the grid of a scan, by value and then by size.

    The axes of the mask may be in another order or direction than those of the scan, as long as
    the voxels are the same.

    Raises:
      ScanError: the mask cannot be read, its voxels are not those of the scan, or its values are
        not whole numbers or not those of a mask.
    """
    grid = read_header(path)
    require_same_voxels(grid, scan)
    labels = read_image(path).reshape(grid.shape)
    whole = np.isfinite(labels).all() and np.array_equal(labels, np.rint(labels))
    if not whole:
        low, high = float(np.nanmin(labels)), float(np.nanmax(labels))
        raise ScanError(
            f"{path}: values from {low:g} to {high:g} that are not whole numbers, so no mask; save "
            "it with 0 for the background and a whole number for each kind of finding"
        )
    try:
        return components(labels, grid)
    except ValueError as error:
        raise ScanError(f"{path}: {error}") from None


def require_same_voxels(mask: Header, scan: Header) -> None:
    """Check that a mask and a scan have the same voxels, whatever the order of their axes.

    Raises:
      ScanError: they do not; names both.
    """
    reach = _SAME_VOXELS * min(scan.spacing_mm)
    same = sorted(mask.shape) == sorted(scan.shape)
    if same:
        apart = distance.cdist(_corners(mask), _corners(scan))
        same = bool(apart.min(axis=1).max() <= reach and apart.min(axis=0).max() <= reach)
    if not same:
        raise ScanError(
            f"{mask.path}: not on the voxels of its scan {scan.path} ({_extent(mask)}; the scan: "
            f"{_extent(scan)}); save the mask with the geometry of the scan"
        )


def components(labels: np.ndarray, grid: Grid) -> list[Component]:
    """The components of each value but 0, by value and then from the largest.

    Voxels that touch in a corner are connected.

    Args:
      labels: whole numbers [Z, Y, X].
      grid: the positions of the voxels.

    Raises:
      ValueError: there are more than `MOST`, they have more than `MOST_MM3`, or a value below 0.
    """
    voxel_mm3 = math.prod(grid.spacing_mm) * abs(np.linalg.det(grid.direction))
    volume = np.count_nonzero(labels) * voxel_mm3
    if volume > MOST_MM3:
        raise ValueError(
            f"{volume / 1e6:.1f} litres are marked, so no mask of findings; check that its "
            "background is 0, and that it is not a mask of the lungs (larger masses can be listed "
            "by centre and diameter)"
        )
    if labels.min(initial=0) < 0:
        raise ValueError(
            f"values down to {labels.min():g}, so no mask; save it with 0 for the background and a "
            "number above 0 for each kind of finding"
        )
    places = np.argwhere(labels)
    values = labels[tuple(places.T)]
    found: list[Component] = []
    for value in np.unique(values):
        parts = _separated(places[values == value])
        if len(found) + len(parts) > MOST:
            raise ValueError(
                f"more than {MOST} separate components, so no mask of findings; check that it is "
                "not the scan itself"
            )
        here = [
            Component(
                value=int(value),
                centre_mm=vector(grid.index_to_world(part.mean(axis=0))),
                volume_mm3=len(part) * voxel_mm3,
                longest_axial_mm=_longest_axial_mm(part, grid),
            )
            for part in parts
        ]
        found += sorted(here, key=lambda one: -one.volume_mm3)
    return found


def _separated(places: np.ndarray) -> list[np.ndarray]:
    """Voxels int [N, 3] by connected component."""
    first = places.min(axis=0)
    box = np.zeros(places.max(axis=0) - first + 1, bool)
    box[tuple((places - first).T)] = True
    parts, _ = ndimage.label(box, np.ones((3, 3, 3)))
    which = parts[tuple((places - first).T)]
    order = np.argsort(which, kind="stable")
    return np.split(places[order], np.flatnonzero(np.diff(which[order])) + 1)


def _longest_axial_mm(index: np.ndarray, grid: Grid) -> float:
    """The longest axial extent of voxels int [N, 3] (z, y, x), between the middles of their sides.

    Slices are those along the axis of the array that is nearest to the body axis.
    """
    through = 2 - int(np.argmax(np.abs(grid.direction[2])))
    plane = [axis for axis in range(3) if axis != through]
    sides = np.array(grid.spacing_mm)[::-1][plane]
    half = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
    longest = 0.0
    for number in np.unique(index[:, through]):
        pixels = index[index[:, through] == number][:, plane]
        points = ((pixels[:, None] + half).reshape(-1, 2)) * sides
        longest = max(longest, float(distance.pdist(_hull(points)).max()))
    return longest


def _hull(points: np.ndarray) -> np.ndarray:
    """The corners of the convex hull of points [N, 2], among which the farthest two are."""
    try:
        return points[ConvexHull(points).vertices]
    except QhullError:
        return points


def _corners(header: Header) -> np.ndarray:
    """World positions of the eight outer voxels, [8, 3]."""
    last = np.array(header.shape) - 1
    return header.index_to_world(np.array(list(itertools.product((0, 1), repeat=3))) * last)


def _extent(header: Header) -> str:
    """Size, spacing and extent of a grid as text."""
    size = " x ".join(map(str, reversed(header.shape)))
    spacing = " x ".join(f"{mm:.4g}" for mm in header.spacing_mm)
    corners = _corners(header)
    low, high = (
        ", ".join(f"{mm:.1f}" for mm in values) for values in (corners.min(0), corners.max(0))
    )
    return f"{size} voxels of {spacing} mm from ({low}) to ({high})"
