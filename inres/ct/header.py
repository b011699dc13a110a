"""The geometry of a scan, read and checked without its voxels.

World positions are x, y, z in millimetres in the LPS frame of LUNA16 and DICOM. Voxel indices
are z, y, x, in the order of the array; integers are voxel centres.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from inres.system import files, memory

Vector = tuple[float, float, float]


SPACINGS_MM = (0.1, 25.0)
"""Distances of voxels that a CT can have. Others are in another unit."""
LONGEST_MM = 3000.0
"""Greatest extent of a CT; whole bodies are shorter."""
_MAGIC = {
    **{b"\xff\xd8\xff": "a JPEG", b"\x89png": "a PNG", b"ii*\0": "a TIFF", b"mm\0*": "a TIFF"},
    **{b"bm": "a BMP", b"gif8": "a GIF", b"riff": "a WebP", b"%pdf": "a PDF", b"\x1f\x8b": "gzip"},
    **{b"<!doctype": "a web page", b"<html": "a web page", b"pk\3\4": "a zip archive"},
    **{b"nrrd000": "NRRD", b"objecttype": "MetaImage", b"ndims": "MetaImage"},
    **{b"version https://git-lfs": "a pointer of Git LFS instead of the file"},
}
"""What files are that begin so (in lower case)."""
_READERS = {
    **dict.fromkeys((".mhd", ".mha"), "MetaImageIO"),
    **dict.fromkeys((".nrrd", ".nhdr"), "NrrdImageIO"),
    **dict.fromkeys((".nii", ".nii.gz", ".hdr", ".img", ".img.gz"), "NiftiImageIO"),
}
"""SimpleITK's readers by the ending of a file, for the formats whose headers are checked."""
PLACED = ("HDF5ImageIO", "MINCImageIO")
"""SimpleITK's readers of other formats that state position and orientation."""
_SQUARE = 0.02
"""Greatest cosine between two axes of a file, and difference of their length from 1."""


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
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ScanError(f"{path}: its name is not UTF-8; rename it") from None
    wrong = files.no_file(path)
    if not wrong or wrong.startswith("a folder"):
        return
    if wrong == "no such file":
        raise ScanError(f"{path}: no such file or folder; check the path")
    remedy = "save it as a file first" if "pipe" in wrong else "restore it"
    raise ScanError(f"{path}: {wrong}; {remedy}")


def reader_by_name(path: Path) -> str:
    """SimpleITK's reader by the ending of a file; empty where no header is checked."""
    name = path.name.lower()
    return next((reader for ending, reader in _READERS.items() if name.endswith(ending)), "")


def image_format(path: Path) -> str:
    """The name of SimpleITK's reader for a file, such as `PNGImageIO`; empty if it has none."""
    try:
        return sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    except RuntimeError:
        return ""


def information(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header.

    A header that was checked is read by the reader of its format. SimpleITK would take the first
    one that recognises the contents, which may find another header in the same file.

    Raises:
      ScanError: not an image that SimpleITK can read.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(reader_by_name(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        reason = _reason(error)
        if reason.startswith("Unable to determine ImageIO"):
            reason = _contents(path) or reason
        raise ScanError(
            f"{path}: not an image that SimpleITK can read ({reason}); "
            "expected .mhd, .mha, .nrrd, .nii, .nii.gz, DICOM or a common image format"
        ) from None
    return reader


def _contents(path: Path) -> str:
    """What a file holds instead of what its ending says; empty if that is not known."""
    try:
        with open(path, "rb") as file:
            start = file.read(64).lstrip().lower()
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    if not start:
        return "the file is empty"
    found = next((what for magic, what in _MAGIC.items() if start.startswith(magic)), "")
    return f"it holds {found}" if found else ""


def execute(reader: sitk.ImageFileReader, path: Path) -> sitk.Image:
    """The image with its voxels.

    Raises:
      ScanError: they cannot be read, or do not fit in memory; names `path`.
    """
    size, channels = reader.GetSize(), reader.GetNumberOfComponents()
    # As stored (8 bytes at most), and once more as an array.
    if wrong := memory.lacking(16 * math.prod(size) * channels):
        raise ScanError(
            f"{path}: {' x '.join(map(str, size))} voxels are too many: {wrong}; correct the "
            "header, or use a machine with more memory"
        )
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
    if len(size) > 3 and set(size[3:]) == {1}:
        size = size[:3]
    if len(size) != 3 or channels != 1:
        raise ScanError(
            f"{path}: {'x'.join(map(str, size))} with {channels} channel(s), not a scan; "
            "expected three dimensions and one channel"
        )
    dimension = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    if np.abs(direction.T @ direction - np.eye(3)).max() > _SQUARE:
        raise ScanError(
            f"{path}: its axes {direction.ravel().round(4).tolist()} are not perpendicular and of "
            "length 1; correct the header, or resample it onto such axes"
        )
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
      ScanError: a size is 0, a spacing or origin is not finite, a spacing or extent is not in mm,
        or the direction is no rotation.
    """
    if min(size) < 1:
        raise ScanError(f"{path}: {'x'.join(map(str, size))} voxels; fetch it again")
    if min(spacing) <= 0 or not np.all(np.isfinite([*spacing, *origin])):
        raise ScanError(
            f"{path}: spacing {spacing} and origin {origin}; must be finite, and spacing above 0; "
            "correct the header"
        )
    low, high = SPACINGS_MM
    longest = max(n * step for n, step in zip(size, spacing, strict=True))
    if min(spacing) < low or max(spacing) > high or longest > LONGEST_MM:
        raise ScanError(
            f"{path}: voxels {_by(spacing)} mm apart, {longest:.4g} mm in all; a CT has {low:g} to "
            f"{high:g} mm, {LONGEST_MM:g} in all; correct the header, which must be in mm"
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


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def vector(values: Sequence[float] | np.ndarray) -> Vector:
    """Three numbers as Python floats."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def _reason(error: RuntimeError) -> str:
    """The last line of an ITK exception, without its prefix."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else "unknown reason"
    return re.sub(r"^(ITK|sitk::)\s?ERROR:\s*", "", line)[:200]
