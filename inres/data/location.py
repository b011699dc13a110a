"""Where places of a scan lie in the lungs: side, height and distance to the pleura.

All are measured in a lung mask on cubic voxels, bool [Z, Y, X], whose indices increase towards the
patient's left, back and head, as in `inres.data.cut.Cut`.
"""

import numpy as np
from scipy import ndimage, spatial

from inres.ct import packed
from inres.ct.lungs import bounding_box
from inres.ct.pieces import pieces

NAMES = ("lung_side", "lung_height", "pleura_mm")
"""Properties of a place, in the order of `locate`."""
COARSE_MM = 4.0
"""Side of the voxels on which the two lungs are told apart."""
LEAST_SHARE = 0.05
"""Least volume of the smaller lung relative to the larger one; less may be a remnant of bowel."""
APART_MM = 50.0
"""Least distance from left to right between the centres of two pieces that are the two lungs."""


def locate(mask: np.ndarray, places: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The location of places in the lungs.

    - `lung_side`: -1 in the patient's right lung, 1 in the left. Places outside the lungs, such as
      in the mediastinum, belong to the nearer lung. Unknown unless the mask has two lungs.
    - `lung_height`: 0 at the lowest and 1 at the highest plane of the mask, linear between. Of a
      scan that does not contain the whole lungs, it is relative to what the scan contains.
    - `pleura_mm`: distance to the nearest voxel outside the mask, 0 for a place outside. Cavities
      in the mask, such as a vessel or a large nodule, count as inside, and so does everything
      beyond the ends of the scan.

    Args:
      mask: bool [Z, Y, X]. A mask that is empty or full knows no lungs: all is unknown.
      places: float [N, 3], indices z, y, x.
      spacing_mm: side of a voxel.

    Returns:
      float64 [N, 3], in the order of `NAMES`, NaN where unknown.
    """
    places = np.asarray(places, np.float64).reshape(-1, 3)
    if not mask.any() or mask.all():
        return np.full((len(places), len(NAMES)), np.nan)
    side = _side(mask, places, spacing_mm)
    return np.stack([side, _height(mask, places), _depth_mm(mask, places, spacing_mm)], 1)


def has_both_lungs(mask: np.ndarray, spacing_mm: float) -> bool:
    """Whether a mask [Z, Y, X] falls into two lungs, as `locate` tells them apart, but coarser."""
    return _parted(mask, spacing_mm, coarse_mm=2 * COARSE_MM) is not None


def _side(mask: np.ndarray, places: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The lung of each place, -1 or 1, float64 [N]; NaN where the mask has not two lungs.

    A place belongs to the nearest of the pieces of `_parted`.
    """
    parted = _parted(mask, spacing_mm)
    if parted is None:
        return np.full(len(places), np.nan)
    pieces, sides, step = parted
    voxels = np.argwhere(pieces)
    _, nearest = spatial.cKDTree(voxels).query(places / step)
    return sides[pieces[tuple(voxels[nearest].T)]]


def _parted(
    mask: np.ndarray, spacing_mm: float, *, coarse_mm: float = COARSE_MM
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """The pieces of a mask that are two lungs; None if there are no two.

    Lungs that touch are told apart by their cores: the mask is eroded, on a coarse grid, until it
    falls into two large pieces side by side.

    Args:
      coarse_mm: side of the grid's voxels.

    Returns:
      Labelled pieces on the coarse grid, int [Z, Y, X]; their sides as of `_sides`; and the step of
      the grid in voxels.
    """
    step = max(1, round(coarse_mm / spacing_mm))
    size_mm = step * spacing_mm
    depth = ndimage.distance_transform_edt(mask[::step, ::step, ::step], sampling=size_mm)
    for level in np.arange(0.0, depth.max(), size_mm):
        pieces, _ = ndimage.label(depth > level)
        sides = _sides(pieces, size_mm)
        if sides is not None:
            return pieces, sides, step
    return None


def _sides(pieces: np.ndarray, size_mm: float) -> np.ndarray | None:
    """The side of each of P labelled pieces [Z, Y, X], -1 or 1, float64 [1 + P] by label.

    The two lungs are the largest piece and the largest of those far enough to its side; None if
    there is no such pair. Each other piece belongs to the lung whose centre is nearer.
    """
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    columns = np.broadcast_to(np.arange(pieces.shape[2], dtype=np.float64), pieces.shape)
    centers = ndimage.mean(columns, pieces, np.arange(len(sizes)))
    first = int(sizes.argmax())
    beside = np.where(np.abs(centers - centers[first]) * size_mm >= APART_MM, sizes, 0)
    second = int(beside.argmax())
    if beside[second] < max(1, LEAST_SHARE * sizes[first]):
        return None
    return np.where(centers < (centers[first] + centers[second]) / 2, -1.0, 1.0)


def _height(mask: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Height of each place between the lowest and the highest plane of the mask, float64 [N]."""
    planes = np.flatnonzero(mask.any((1, 2)))
    base, apex = planes[0] - 0.5, planes[-1] + 0.5
    return np.clip((places[:, 0] - base) / (apex - base), 0, 1)


def _depth_mm(mask: np.ndarray, places: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Distance of each place to the nearest voxel outside the mask, float64 [N].

    The voxel outside that is nearest to a place inside has a neighbour inside, so only voxels with
    such a neighbour are searched.
    """
    box = bounding_box(mask, pad=1)
    assert box is not None
    outside = _open(~mask[box])
    grown = packed.dilate_cross(packed.pack(~outside), 1)
    border = packed.unpack(grown, outside.shape[2]) & outside
    low = np.array([part.start for part in box])
    # Few places are looked up, so a tree that is built quickly is best.
    tree = spatial.cKDTree(np.argwhere(border), compact_nodes=False, balanced_tree=False)
    distance, _ = tree.query(places - low)
    distance[np.isinf(distance)] = np.nan  # the mask reaches beyond the scan on all sides
    voxels = np.rint(places - low).astype(int)
    within = np.all((voxels >= 0) & (voxels < outside.shape), axis=1)
    within[within] = ~outside[tuple(voxels[within].T)]
    return np.where(within, distance * spacing_mm, 0.0)


def _open(outside: np.ndarray) -> np.ndarray:
    """`outside` without its pieces that touch no face of the array, which are cavities."""
    found = pieces(outside)
    low, high = found.boxes
    return found.mask(np.any((low == 0) | (high == outside.shape), axis=1))
