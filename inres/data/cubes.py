"""Isotropic cubes around a location, from a scan or from a stack of slices.

A cube has the axes y, x, z and D voxels of side_mm / D along each. It is centred on its location:
if D is odd, voxel D // 2 of each axis lies there. Choose an odd D, so that the central plane of a
cube from a stack is the stack's own slice.
"""

import numpy as np
from scipy import ndimage

from inres.ct.hu import AIR_HU
from inres.data import stacks

_CLOSE = 1e-6
"""Tolerance of a comparison of positions, in voxels."""

UNKNOWN, OUTSIDE, LUNG = np.uint8(0), np.uint8(1), np.uint8(2)
"""States of a voxel: unknown, known and outside the lungs, known and inside them."""


def states(known: np.ndarray, lungs: np.ndarray | None) -> np.ndarray:
    """The state of each voxel of a cube: uint8 [D, D, D].

    Args:
      known: bool [D, D, D], or [D] along z.
      lungs: bool [D, D, D]; None, where nothing was segmented: all known voxels count as lung.
    """
    known = np.broadcast_to(known, (known.shape[-1],) * 3)
    inside = known if lungs is None else known & lungs
    return np.where(inside, LUNG, np.where(known, OUTSIDE, UNKNOWN))


def cube_from_volume(
    hu: np.ndarray,
    index: tuple[float, float, float] | np.ndarray,
    *,
    spacing_mm: tuple[float, float, float],
    side_mm: float,
    side_px: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a cube from a scan: linear, smoothed first along axes that become coarser.

    Only the part of the scan around the cube is copied.

    Args:
      hu: int16 or float [Z, Y, X].
      index: z, y, x of the centre, not rounded, as of `Grid.world_to_index`.
      spacing_mm: of the scan, in the order x, y, z, as in `Grid`.
      side_mm: width of the cube.
      side_px: D.

    Returns:
      values: float32 [D, D, D] in HU, axes y, x, z; AIR_HU where unknown.
      known: bool [D, D, D], whether the voxel's centre lies within the scan's outer voxel faces.
    """
    step = side_mm / side_px / np.array(spacing_mm[::-1])
    places = np.array(index) + np.multiply.outer(_offsets(side_px), step)  # [D, 3]
    sigma = np.maximum(0.0, (step - 1.0) / 2.0)
    margin = np.ceil(4.0 * sigma).astype(int) + 1  # where gaussian_filter cuts its kernel off
    last = np.array(hu.shape) - 1
    start = np.clip(np.floor(places[0]).astype(int) - margin, 0, last)
    stop = np.clip(np.ceil(places[-1]).astype(int) + margin, 0, last) + 1
    part = hu[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))].astype(np.float32)
    smooth = ndimage.gaussian_filter(part, sigma, mode="nearest")
    values = ndimage.affine_transform(
        smooth, step, places[0] - start, (side_px,) * 3, order=1, mode="nearest"
    )
    inside = (places >= -0.5 - _CLOSE) & (places <= last + 0.5 + _CLOSE)
    z, y, x = inside.T
    known = z[:, None, None] & y[:, None] & x
    return _z_last(np.where(known, values, np.float32(AIR_HU))), _z_last(known)


def cube_from_stack(
    planes: np.ndarray,
    z_mm: np.ndarray,
    centre_mm: float,
    *,
    width_mm: float,
    side_mm: float,
    side_px: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a cube from the slices of one nodule: linear, smoothed first as `cube_from_volume`.

    What is known along z is as in `stacks.planes_at`: of a single slice, one plane of the cube (two
    if D is even).

    Args:
      planes: uint8 [C, S, S], each `width_mm` wide and centred on the nodule, in any order.
      z_mm: [C], their positions along z.
      centre_mm: position of the cube's centre along z.
      width_mm: width of a slice.
      side_mm: width of the cube, at most `width_mm`.
      side_px: D.

    Returns:
      values: uint8 [D, D, D], axes y, x, z; 0 where unknown.
      known: bool [D], along z.

    Raises:
      ValueError: the cube is wider than the slices, or a position is unknown or occurs twice.
    """
    if side_mm > width_mm:
        raise ValueError(
            f"the cube is {side_mm:g} mm wide, but the slices only {width_mm:g} mm; "
            "choose a cube that is no wider"
        )
    order = np.argsort(z_mm)
    heights = np.asarray(z_mm, np.float64)[order]
    gaps = np.diff(heights)
    if not np.all(np.isfinite(heights)) or np.any(gaps <= 0):
        raise ValueError(
            f"z_mm of a stack is {', '.join(f'{z:g}' for z in heights)}: must be known and "
            "different for each slice; correct these rows of the table"
        )
    step = side_mm / side_px
    wanted = centre_mm + _offsets(side_px) * step
    pixel = width_mm / planes.shape[-1]
    images = _in_plane(planes[order], step / pixel, side_px)
    if len(gaps):
        sigma = max(0.0, (step / float(np.median(gaps)) - 1.0) / 2.0)
        images = ndimage.gaussian_filter(images, (sigma, 0.0, 0.0), mode="nearest")
    values, known = stacks.planes_at(images, heights, wanted, thickness_mm=step)
    values = np.where(known[:, None, None], np.rint(values), 0).astype(np.uint8)
    return _z_last(values), known


def _z_last(volume: np.ndarray) -> np.ndarray:
    """[Z, Y, X] -> [Y, X, Z]."""
    return np.ascontiguousarray(np.moveaxis(volume, 0, -1))


def _offsets(side_px: int) -> np.ndarray:
    """Positions of a cube's voxels relative to its centre, in voxels. float64 [side_px]."""
    return np.arange(side_px) - (side_px - 1) / 2


def _in_plane(planes: np.ndarray, step: float, side_px: int) -> np.ndarray:
    """The middle of slices [C, S, S] at every `step` pixels: float32 [C, side_px, side_px]."""
    sigma = max(0.0, (step - 1.0) / 2.0)
    smooth = ndimage.gaussian_filter(planes.astype(np.float32), (0.0, sigma, sigma), mode="nearest")
    first = (planes.shape[-1] - 1) / 2 + _offsets(side_px)[0] * step
    shape = (len(planes), side_px, side_px)
    return ndimage.affine_transform(
        smooth, (1.0, step, step), (0.0, first, first), shape, order=1, mode="nearest"
    )
