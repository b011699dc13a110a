"""Read a CT scan and bring it to a common orientation and spacing."""

import dataclasses
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from inres.ct.damage import check_data_file
from inres.ct.dicom import series_files, series_header
from inres.ct.header import (
    Grid,
    Header,
    Vector,
    execute,
    header_of,
    information,
    require_there,
    vector,
)

AIR_HU = -1024
"""Value of voxels outside a scan."""
_STRAIGHT = 1e-3
"""A direction matrix closer than this to the axes needs no resampling (0.06 degrees)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume(Grid):
    """A scan with its voxels."""

    hu: np.ndarray
    """int16 [Z, Y, X], Hounsfield units."""


def read_header(path: str | Path, *, series_uid: str = "") -> Header:
    """Read the geometry of a scan; its data file is checked for presence and size only.

    Raises:
      ScanError: as `read_scan`, if the problem shows without reading voxels.
    """
    path = Path(path)
    require_there(path)
    if path.is_dir():
        names = series_files(path, series_uid)
        return series_header(path, names)
    check_data_file(path, deep=False)
    return header_of(path, information(path))


def read_scan(path: str | Path, *, series_uid: str = "") -> Volume:
    """Read a scan as stored, without rotation or resampling.

    Args:
      path: .mhd, .mha, .nrrd, .nii or .nii.gz, or a folder with a DICOM series. Identical copies
        of a slice in the series are dropped with a warning.
      series_uid: which series, where the folder holds several.

    Raises:
      ScanError: no such file; missing, truncated or damaged data; not a three-dimensional grey
        image; or a DICOM series with gaps, different slices at one position or a tilted gantry.
    """
    path = Path(path)
    require_there(path)
    if path.is_dir():
        names = series_files(path, series_uid)
        header = series_header(path, names)
        series = sitk.ImageSeriesReader()
        series.SetFileNames([str(name) for name in names])
        image = execute(series, path)
    else:
        check_data_file(path, deep=True)
        reader = information(path)
        header = header_of(path, reader)
        image = execute(reader, path)
    hu = _to_int16(sitk.GetArrayFromImage(image)).reshape(header.shape)
    return Volume(
        hu=hu,
        spacing_mm=header.spacing_mm,
        origin_mm=header.origin_mm,
        direction=header.direction,
    )


def canonical(volume: Volume) -> Volume:
    """The scan with indices that increase towards the patient's left, back and head (LPS).

    Axes are swapped and flipped without changing values. Only an oblique scan is resampled
    (linear) onto upright axes that contain all of it; the corners are air.
    """
    nearest = _nearest_axes(volume.direction)
    order = [int(np.flatnonzero(nearest[axis])[0]) for axis in range(3)]
    direction = volume.direction[:, order]
    spacing = np.array(volume.spacing_mm)[order]
    hu = volume.hu.transpose([2 - order[2 - axis] for axis in range(3)])
    flips = [nearest[axis, order[axis]] < 0 for axis in range(3)]
    last = [hu.shape[2 - axis] - 1 if flips[axis] else 0 for axis in range(3)]
    origin = volume.origin_mm + direction @ (spacing * last)
    direction = direction * np.where(flips, -1.0, 1.0)
    hu = hu[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]
    upright = Volume(
        hu=np.ascontiguousarray(hu),
        spacing_mm=vector(spacing),
        origin_mm=vector(origin),
        direction=direction,
    )
    if np.abs(direction - np.eye(3)).max() <= _STRAIGHT:
        return upright
    corners = upright.index_to_world(np.indices((2, 2, 2)).reshape(3, -1).T * _last(upright))
    low, high = corners.min(0), corners.max(0)
    size = np.floor((high - low) / spacing + 1e-6).astype(int) + 1
    return _resampled(upright, size, vector(spacing), vector(low), np.eye(3))


def resample(volume: Volume, spacing_mm: float) -> Volume:
    """The scan on cubic voxels of side `spacing_mm`: linear, with the same axes and centre.

    Along axes that shrink by half or more it is smoothed first (Gaussian with a standard deviation
    of (ratio - 1) / 2 voxels), so that thin slices do not alias.
    """
    old_size = np.array(volume.hu.shape[::-1])
    old = np.array(volume.spacing_mm)
    size = np.maximum(1, np.rint(old_size * old / spacing_mm)).astype(int)
    # Both grids have the same centre, so every new voxel centre lies within the old voxels.
    offset = ((old_size - 1) * old - (size - 1) * spacing_mm) / 2
    origin = volume.origin_mm + volume.direction @ offset
    ratio = spacing_mm / old
    sigma = np.where(ratio >= 2, (ratio - 1) / 2, 0.0)[::-1]
    hu = volume.hu
    for axis in np.flatnonzero(sigma):
        hu = _smoothed(hu, float(sigma[axis]), int(axis))
    smooth = dataclasses.replace(volume, hu=hu)
    return _resampled(smooth, size, (spacing_mm,) * 3, vector(origin), volume.direction)


def resample_labels(labels: Volume, like: Volume) -> np.ndarray:
    """`labels` at the voxel centres of `like`: nearest, 0 outside; int16, shape of `like.hu`."""
    image = sitk.Resample(
        _image(labels), _image(like), sitk.Transform(), sitk.sitkNearestNeighbor, 0
    )
    return sitk.GetArrayFromImage(image)


def _to_int16(values: np.ndarray) -> np.ndarray:
    """Values rounded and clipped to int16; NaN becomes air."""
    if values.dtype == np.int16:
        return values
    low, high = -32768, 32767
    if np.issubdtype(values.dtype, np.integer):
        limits = np.iinfo(values.dtype)
        return np.clip(values, max(low, limits.min), min(high, limits.max)).astype(np.int16)
    return np.rint(np.clip(np.nan_to_num(values, nan=AIR_HU), low, high)).astype(np.int16)


def _nearest_axes(direction: np.ndarray) -> np.ndarray:
    """The signed permutation matrix nearest to `direction`, [3, 3]."""
    nearest = np.zeros((3, 3))
    left = np.abs(direction)
    for _ in range(3):
        row, column = np.unravel_index(np.argmax(left), left.shape)
        nearest[row, column] = np.sign(direction[row, column])
        left[row], left[:, column] = -1, -1
    return nearest


def _last(volume: Volume) -> np.ndarray:
    """Index z, y, x of the last voxel."""
    return np.array(volume.hu.shape) - 1


def _image(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.hu)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_mm)
    image.SetDirection(volume.direction.ravel().tolist())
    return image


def _resampled(
    volume: Volume, size_xyz: np.ndarray, spacing: Vector, origin: Vector, direction: np.ndarray
) -> Volume:
    image = sitk.Resample(
        _image(volume),
        [int(n) for n in size_xyz],
        sitk.Transform(),
        sitk.sitkLinear,
        origin,
        spacing,
        direction.ravel().tolist(),
        AIR_HU,
        sitk.sitkInt16,
    )
    hu = sitk.GetArrayFromImage(image)
    return Volume(hu=hu, spacing_mm=spacing, origin_mm=origin, direction=direction)


def _smoothed(hu: np.ndarray, sigma: float, axis: int) -> np.ndarray:
    """Gaussian filter along one axis, in slabs, so that only one slab is held as floats."""
    out = np.empty_like(hu)
    other = 1 if axis == 0 else 0
    for start in range(0, hu.shape[other], 32):
        part = (slice(None),) * other + (slice(start, start + 32),)
        slab = ndimage.gaussian_filter1d(hu[part].astype(np.float32), sigma, axis, mode="nearest")
        out[part] = np.rint(slab)
    return out
