"""Read a CT scan and bring it to a common orientation and spacing."""

import dataclasses
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from inres.ct import dicom, linear
from inres.ct.damage import Placement, Stored, apart
from inres.ct.formats import check_data_file
from inres.ct.header import (
    PLACED,
    Grid,
    Header,
    ScanError,
    Vector,
    execute,
    header_of,
    image_format,
    information,
    require_there,
    vector,
)
from inres.ct.hu import AIR_HU, to_int16
from inres.system.progress import Step, untold

_STRAIGHT = 1e-3
"""A direction matrix closer than this to the axes needs no resampling (0.06 degrees)."""
_SAME_PLACE = 0.2
"""Largest difference of positions by two readers, in voxels. NIfTI may state two that differ."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume(Grid):
    """A scan with its voxels."""

    hu: np.ndarray
    """int16 [Z, Y, X], Hounsfield units."""
    notes: tuple[str, ...] = ()
    """What was decided where the files leave a choice, or are corrected."""


def read_header(path: str | Path, *, series_uid: str = "", kernel: str = "") -> Header:
    """Read the geometry of a scan; its data file is checked for presence and size only.

    Args:
      path, series_uid, kernel: as in `read_scan`.

    Raises:
      ScanError: as `read_scan`, if the problem shows without reading voxels.
    """
    path = Path(path)
    require_there(path)
    if _is_dicom(path):
        return dicom.open_stack(path, series_uid=series_uid, kernel=kernel).header
    stored = _placed(path, deep=False)
    return _file_header(path, information(path), stored)


def read_scan(path: str | Path, *, series_uid: str = "", kernel: str = "") -> Volume:
    """Read a scan as stored, without rotation.

    Args:
      path: .mhd, .mha, .nrrd, .nii or .nii.gz, or a folder with DICOM files (`inres.ct.dicom`).
      series_uid: which series, where the folder holds several; empty: the rules of
        `inres.ct.dicom.choice.choose`.
      kernel: a text that ConvolutionKernel or SeriesDescription of the series must contain, unless
        `series_uid` is given.

    Returns:
      The scan. Only DICOM slices at uneven distances are resampled, along their normal. The slices
      of a tilted gantry are as stored, and `direction` then has a third column that is not
      perpendicular to the others.

    Raises:
      ScanError: no such file; missing, truncated or damaged data; not a three-dimensional grey
        image; or DICOM without a CT volume, or one whose HU or geometry are not certain.
    """
    return volume_of(*read_voxels(path, series_uid=series_uid, kernel=kernel))


def read_voxels(
    path: str | Path, *, series_uid: str = "", kernel: str = "", step: Step = untold
) -> tuple[Header, np.ndarray]:
    """As `read_scan`: the header, with the notes on the voxels, and the HU, int16 [Z, Y, X]."""
    path = Path(path)
    step("reading the header", None)
    require_there(path)
    if _is_dicom(path):
        stack = dicom.open_stack(path, series_uid=series_uid, kernel=kernel)
        hu, notes = dicom.read_stack(stack, step=step)
        return dataclasses.replace(stack.header, notes=(*stack.header.notes, *notes)), hu
    step("reading the scan", None)
    stored = _placed(path, deep=True)
    reader = information(path)
    header = _file_header(path, reader, stored)
    values = sitk.GetArrayFromImage(execute(reader, path)).reshape(header.shape)
    notes = header.notes
    if values.dtype.kind == "f" and (unknown := int(values.size - np.isfinite(values).sum())):
        notes += (f"{unknown} voxels are no numbers; taken for air",)
    return dataclasses.replace(header, notes=notes), to_int16(values)


def _placed(path: Path, *, deep: bool) -> Stored | None:
    """Check a file as `check_data_file`; its position and orientation must be known.

    Raises:
      ScanError: they are not.
    """
    stored = check_data_file(path, deep=deep)
    if stored is not None and stored.unplaced:
        raise ScanError(f"{path}: {stored.unplaced}; correct the header")
    if stored is None and image_format(path) not in (*PLACED, ""):
        raise ScanError(
            f"{path}: a format without position and orientation, or a misleading ending; convert "
            "the scan to .mhd, .nrrd, .nii.gz or DICOM"
        )
    return stored


def _file_header(path: Path, reader: sitk.ImageFileReader, stored: Stored | None) -> Header:
    header = header_of(path, reader)
    if stored is None:
        return header
    if stored.placement is not None:
        _require_placed(header, stored.placement)
    return dataclasses.replace(header, notes=stored.notes)


def _require_placed(header: Header, placement: Placement) -> None:
    """Check that SimpleITK understood the geometry as the header of the file states it.

    Raises:
      ScanError: it did not.
    """
    z, y, x = header.shape
    read = np.c_[header.direction * header.spacing_mm, header.origin_mm]
    if apart(read, placement, (x, y, z)) > _SAME_PLACE:
        raise ScanError(
            f"{header.path}: its fields place the voxels at {placement.round(4).tolist()} (affine, "
            f"LPS), but SimpleITK at {read.round(4).tolist()}; write the header again, such as "
            "with SimpleITK"
        )


def _is_dicom(path: Path) -> bool:
    try:
        return path.is_dir() or dicom.is_dicom(path)
    except OSError as error:
        raise ScanError(f"{path}: cannot be opened ({error.strerror or error})") from None


def volume_of(header: Header, hu: np.ndarray) -> Volume:
    """A header and its voxels as a volume."""
    return Volume(
        hu=hu,
        spacing_mm=header.spacing_mm,
        origin_mm=header.origin_mm,
        direction=header.direction,
        notes=header.notes,
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
    x, y, z = (int(n) for n in size)
    hu = linear.resampled(
        volume.hu,
        first=(offset / old)[::-1],
        step=ratio[::-1],
        shape=(z, y, x),
        sigma=np.where(ratio >= 2, (ratio - 1) / 2, 0.0)[::-1],
    )
    return dataclasses.replace(
        volume, hu=hu, spacing_mm=(spacing_mm,) * 3, origin_mm=vector(origin)
    )


def resample_labels(labels: Volume, like: Volume) -> np.ndarray:
    """`labels` at the voxel centres of `like`: nearest, 0 outside; int16, shape of `like.hu`."""
    image = sitk.Resample(
        _image(labels), _image(like), sitk.Transform(), sitk.sitkNearestNeighbor, 0
    )
    return sitk.GetArrayFromImage(image)


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
