"""The geometry of a scan, read and checked without its voxels.

World positions are x, y, z in millimetres in the LPS frame of LUNA16 and DICOM. Voxel indices
are z, y, x, in the order of the array; integers are voxel centres.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

Vector = tuple[float, float, float]


class ScanError(ValueError):
    """A scan cannot be read; the message names the file, the problem and the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Positions of voxels: world = origin + D S index, with spacings S and direction D."""

    spacing_mm: Vector
    """x, y, z."""
    origin_mm: Vector
    """World position (LPS) of the centre of voxel 0, 0, 0."""
    direction: np.ndarray
    """float64 [3, 3]; columns are the world directions of the axes x, y, z of the array."""

    def index_to_world(self, index_zyx: np.ndarray) -> np.ndarray:
        """World positions x, y, z of voxel indices z, y, x; both float64 [..., 3]."""
        index = np.asarray(index_zyx, np.float64)[..., ::-1]
        return (index * self.spacing_mm) @ self.direction.T + self.origin_mm

    def world_to_index(self, world_xyz: np.ndarray) -> np.ndarray:
        """Voxel indices z, y, x (not rounded) of world positions x, y, z; both float64 [..., 3]."""
        offset = np.asarray(world_xyz, np.float64) - self.origin_mm
        index = offset @ np.linalg.inv(self.direction).T / self.spacing_mm
        return index[..., ::-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header(Grid):
    """A scan without its voxels."""

    path: Path
    shape: tuple[int, int, int]
    """z, y, x."""
    slice_planes: tuple[float, ...] = ()
    """Where the stored slices lie on the z axis of the array, in planes, if slices at uneven
    distances were interpolated; empty: plane i is slice i."""
    notes: tuple[str, ...] = ()
    """What was decided where the files leave a choice, or are corrected."""
    series_uid: str = ""
    """SeriesInstanceUID of DICOM; empty where there is none, as in other formats."""

    @property
    def slices(self) -> int:
        """Number of stored slices."""
        return len(self.slice_planes) or self.shape[0]

    def plane_of(self, number: float) -> float:
        """The index on the z axis of the array of a stored slice, from 0, or between two."""
        if not self.slice_planes:
            return number
        inside = min(max(number, 0), self.slices - 1)
        plane = np.interp(inside, np.arange(self.slices), self.slice_planes)
        return float(plane) + number - inside

    @property
    def thickness_mm(self) -> float:
        """Distance between neighbouring slices as stored."""
        return self.spacing_mm[2]

    def contains(self, world_xyz: np.ndarray) -> np.ndarray:
        """Whether world positions [..., 3] lie within the scan's outer voxel faces: bool [...]."""
        index = self.world_to_index(world_xyz)
        return np.all((index >= -0.5) & (index <= np.array(self.shape) - 0.5), axis=-1)


def require_there(path: Path) -> None:
    """Raise a ScanError unless `path` is a regular file or a folder.

    A pipe or a device is refused because reading it could wait forever.
    """
    if not path.exists():
        raise ScanError(f"{path}: no such file or folder; check the path")
    if not (path.is_file() or path.is_dir()):
        raise ScanError(f"{path}: a pipe or device, not a regular file; save it as a file first")


def information(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header.

    Raises:
      ScanError: not an image that SimpleITK can read.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ScanError(
            f"{path}: not an image that SimpleITK can read ({_reason(error)}); "
            "expected .mhd, .mha, .nrrd, .nii, .nii.gz, DICOM or a common image format"
        ) from None
    return reader


def execute(reader: sitk.ImageFileReader | sitk.ImageSeriesReader, path: Path) -> sitk.Image:
    """The image with its voxels.

    Raises:
      ScanError: they cannot be read; names `path`.
    """
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise ScanError(
            f"{path}: its voxels cannot be read, the file is truncated or damaged "
            f"({_reason(error)}); fetch it again"
        ) from None


def header_of(path: Path, reader: sitk.ImageFileReader) -> Header:
    """The checked header of a scan.

    Raises:
      ScanError: not three dimensions, several channels, or as `checked_header`.
    """
    size = reader.GetSize()
    channels = reader.GetNumberOfComponents()
    if len(size) == 4 and size[3] == 1:
        size = size[:3]
    if len(size) != 3 or channels != 1:
        raise ScanError(
            f"{path}: {'x'.join(map(str, size))} with {channels} channel(s), not a scan; "
            "expected three dimensions and one channel"
        )
    dimension = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    return checked_header(path, size, reader.GetSpacing()[:3], reader.GetOrigin()[:3], direction)


def checked_header(
    path: Path,
    size: Sequence[int],
    spacing: Sequence[float],
    origin: Sequence[float],
    direction: np.ndarray,
) -> Header:
    """A header whose numbers are possible; sizes and positions are x, y, z.

    Raises:
      ScanError: a spacing or origin is not finite, a spacing not above 0, or the direction is no
        rotation.
    """
    if min(spacing) <= 0 or not np.all(np.isfinite([*spacing, *origin])):
        raise ScanError(
            f"{path}: spacing {spacing} and origin {origin}; must be finite, and spacing above 0; "
            "correct the header"
        )
    if abs(np.linalg.det(direction)) < 0.5:
        raise ScanError(
            f"{path}: direction {direction.ravel().tolist()} is no rotation; correct the header"
        )
    return Header(
        path=path,
        shape=(int(size[2]), int(size[1]), int(size[0])),
        spacing_mm=vector(spacing),
        origin_mm=vector(origin),
        direction=direction,
    )


def vector(values: Sequence[float] | np.ndarray) -> Vector:
    """Three numbers as Python floats."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def _reason(error: RuntimeError) -> str:
    """The last line of an ITK exception, without its prefix."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else "unknown reason"
    return re.sub(r"^(ITK|sitk::)\s?ERROR:\s*", "", line)[:200]
