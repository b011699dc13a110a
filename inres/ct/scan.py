"""Read a CT scan, know where its voxels lie, bring it to one orientation and spacing.

World positions are x, y, z in millimetres in the LPS frame of LUNA16 and DICOM. Voxel indices
are z, y, x, the order of the array; whole numbers are voxel centres.
"""

import dataclasses
import gzip
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

Vector = tuple[float, float, float]

AIR_HU = -1024
"""What lies outside of a scan."""
_STRAIGHT = 1e-3
"""A direction matrix nearer than this to whole axes needs no resampling (0.06 degrees)."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}  # fmt: skip


class ScanError(ValueError):
    """A scan cannot be read; the message names the file, what is wrong and the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Where voxels lie: world = origin + D S index, with S the spacings and D the direction."""

    spacing_mm: Vector
    """x, y, z."""
    origin_mm: Vector
    """World position (LPS) of the centre of voxel 0, 0, 0."""
    direction: np.ndarray
    """float64 [3, 3]; column j is the world direction of array axis x, y, z."""

    def index_to_world(self, index_zyx: np.ndarray) -> np.ndarray:
        """World positions x, y, z of voxel indices z, y, x. float64 [..., 3] both."""
        index = np.asarray(index_zyx, np.float64)[..., ::-1]
        return (index * self.spacing_mm) @ self.direction.T + self.origin_mm

    def world_to_index(self, world_xyz: np.ndarray) -> np.ndarray:
        """Voxel indices z, y, x (not rounded) of world positions x, y, z. float64 [..., 3] both."""
        offset = np.asarray(world_xyz, np.float64) - self.origin_mm
        index = offset @ np.linalg.inv(self.direction).T / self.spacing_mm
        return index[..., ::-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header(Grid):
    """A scan without its voxels."""

    path: Path
    shape: tuple[int, int, int]
    """z, y, x."""

    @property
    def thickness_mm(self) -> float:
        """Distance of neighbouring slices as stored."""
        return self.spacing_mm[2]

    def contains(self, world_xyz: np.ndarray) -> np.ndarray:
        """Whether world positions [..., 3] lie within the scan's outer voxel faces. bool [...]."""
        index = self.world_to_index(world_xyz)
        return np.all((index >= -0.5) & (index <= np.array(self.shape) - 0.5), axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume(Grid):
    """A scan."""

    hu: np.ndarray
    """int16 [Z, Y, X], Hounsfield units."""


def read_header(path: str | Path, *, series_uid: str = "") -> Header:
    """Geometry of the scan at `path`, its data file checked for presence and size, not read.

    Raises:
      ScanError: as `read_scan`, as far as it shows without reading voxels.
    """
    path = Path(path)
    _require_there(path)
    if path.is_dir():
        names = _series_files(path, series_uid)
        return _series_header(path, names)
    _check_data_file(path, deep=False)
    return _header(path, _information(path))


def read_scan(path: str | Path, *, series_uid: str = "") -> Volume:
    """Read a scan as it is stored: no turning, no resampling.

    Args:
      path: .mhd, .mha, .nrrd, .nii or .nii.gz, or a directory with a DICOM series. Within the
        series identical copies of a slice are dropped with a warning.
      series_uid: which series, where the directory holds several.

    Raises:
      ScanError: no such file, missing, truncated or damaged data, no three-dimensional
        grey image, or a DICOM series with holes, contradicting copies or a tilted gantry.
    """
    path = Path(path)
    _require_there(path)
    if path.is_dir():
        names = _series_files(path, series_uid)
        header = _series_header(path, names)
        series = sitk.ImageSeriesReader()
        series.SetFileNames([str(name) for name in names])
        image = _execute(series, path)
    else:
        _check_data_file(path, deep=True)
        reader = _information(path)
        header = _header(path, reader)
        image = _execute(reader, path)
    hu = _to_int16(sitk.GetArrayFromImage(image)).reshape(header.shape)
    return Volume(
        hu=hu,
        spacing_mm=header.spacing_mm,
        origin_mm=header.origin_mm,
        direction=header.direction,
    )


def canonical(volume: Volume) -> Volume:
    """The same scan with indices that grow towards the patient's left, back and head (LPS).

    Axes are exchanged and flipped without touching values. Only a scan that lies oblique is
    resampled, linearly, onto upright axes that hold all of it; the corners are air.
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
        spacing_mm=_vector(spacing),
        origin_mm=_vector(origin),
        direction=direction,
    )
    if np.abs(direction - np.eye(3)).max() <= _STRAIGHT:
        return upright
    corners = upright.index_to_world(np.indices((2, 2, 2)).reshape(3, -1).T * _last(upright))
    low, high = corners.min(0), corners.max(0)
    size = np.floor((high - low) / spacing + 1e-6).astype(int) + 1
    return _resampled(upright, size, _vector(spacing), _vector(low), np.eye(3))


def resample(volume: Volume, spacing_mm: float) -> Volume:
    """The scan on cubic voxels with sides of `spacing_mm`, linear, same axes, same centre.

    Axes that shrink by half or more are smoothed first (Gaussian of (ratio - 1) / 2 voxels),
    so that fine slices do not alias.
    """
    old_size = np.array(volume.hu.shape[::-1])
    old = np.array(volume.spacing_mm)
    size = np.maximum(1, np.rint(old_size * old / spacing_mm)).astype(int)
    # Both grids share their centre, so every new voxel centre lies within the old voxels.
    offset = ((old_size - 1) * old - (size - 1) * spacing_mm) / 2
    origin = volume.origin_mm + volume.direction @ offset
    ratio = spacing_mm / old
    sigma = np.where(ratio >= 2, (ratio - 1) / 2, 0.0)[::-1]
    hu = volume.hu
    for axis in np.flatnonzero(sigma):
        hu = _smoothed(hu, float(sigma[axis]), int(axis))
    smooth = dataclasses.replace(volume, hu=hu)
    return _resampled(smooth, size, (spacing_mm,) * 3, _vector(origin), volume.direction)


def resample_labels(labels: Volume, like: Volume) -> np.ndarray:
    """`labels` at the voxel centres of `like`, nearest, 0 outside. int16, shape of `like.hu`."""
    image = sitk.Resample(
        _image(labels), _image(like), sitk.Transform(), sitk.sitkNearestNeighbor, 0
    )
    return sitk.GetArrayFromImage(image)


def read_image(path: str | Path) -> np.ndarray:
    """Any image SimpleITK reads, in its own values, grey. [Y, X], or [Z, Y, X] if deeper.

    Colour becomes luminance (ITU-R 601), alpha is dropped. The dtype is the file's.

    Raises:
      ScanError: no such file, not an image, or damaged.
    """
    path = Path(path)
    _require_there(path)
    if path.is_dir():
        raise ScanError(f"{path}: a folder, not an image; name a file")
    _check_data_file(path, deep=True)
    reader = _information(path)
    image = _execute(reader, path)
    pixels = sitk.GetArrayFromImage(image)
    channels = image.GetNumberOfComponentsPerPixel()
    if channels > 1:
        colour = pixels[..., :3] if channels >= 3 else pixels[..., :1]
        weights = _GREY if channels >= 3 else np.ones(1, np.float32)
        grey = colour.astype(np.float32) @ weights
        whole = np.issubdtype(pixels.dtype, np.integer)
        pixels = (np.rint(grey) if whole else grey).astype(pixels.dtype)
    return pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels


def to_grey8(image: np.ndarray, *, hu_min: float, hu_max: float, name: str) -> np.ndarray:
    """8 bits of an image whose type says what its values mean. uint8, same shape.

    8-bit images stay; unsigned 16 bits are scaled by their full range; signed and floating
    values are Hounsfield units and are windowed.

    Raises:
      ScanError: unsigned of more bits. `name` is named.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return np.rint(image / 257.0).astype(np.uint8)
    if np.issubdtype(image.dtype, np.unsignedinteger):
        raise ScanError(
            f"{name}: {image.dtype} pixels; convert to 8 bits, or to signed HU (.mha, .nii.gz)"
        )
    share = (np.nan_to_num(image.astype(np.float32), nan=hu_min) - hu_min) / (hu_max - hu_min)
    return np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)


def twelve_bits(low: float, high: float) -> str:
    """What is wrong with unsigned 16-bit pixels from `low` to `high`: 12-bit data; empty: nothing.

    A lone dark image can look like it, a whole set of images hardly.
    """
    if not 0 < high - low < 4096:
        return ""
    return (
        f"16-bit pixels from {low:g} to {high:g}, so 12-bit data with an unknown offset from HU "
        "(32768 in some sets); convert to 8 bits, or to signed HU (.mha, .nii.gz)"
    )


def refuse_twelve_bits(image: np.ndarray, name: str) -> None:
    """Refuse a lone image of `twelve_bits`, whose set is not there to be asked.

    Raises:
      ScanError: it is of them; `name` is named.
    """
    wrong = twelve_bits(image.min(), image.max()) if image.dtype == np.uint16 else ""
    if wrong:
        raise ScanError(f"{name}: {wrong}")


def _to_int16(values: np.ndarray) -> np.ndarray:
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
    return np.array(volume.hu.shape) - 1


def _vector(values: Sequence[float] | np.ndarray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


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
    """Gaussian along one axis, by slabs, so that only a slab is ever held in float."""
    out = np.empty_like(hu)
    other = 1 if axis == 0 else 0
    for start in range(0, hu.shape[other], 32):
        part = (slice(None),) * other + (slice(start, start + 32),)
        slab = ndimage.gaussian_filter1d(hu[part].astype(np.float32), sigma, axis, mode="nearest")
        out[part] = np.rint(slab)
    return out


def _require_there(path: Path) -> None:
    if not path.exists():
        raise ScanError(f"{path}: no such file or folder; check the path")


def _information(path: Path) -> sitk.ImageFileReader:
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


def _execute(reader: sitk.ImageFileReader | sitk.ImageSeriesReader, path: Path) -> sitk.Image:
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise ScanError(
            f"{path}: its voxels cannot be read, the file is truncated or damaged "
            f"({_reason(error)}); fetch it again"
        ) from None


def _reason(error: RuntimeError) -> str:
    """The last telling line of an ITK exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else "unknown reason"
    return re.sub(r"^(ITK|sitk::)\s?ERROR:\s*", "", line)[:200]


def _header(path: Path, reader: sitk.ImageFileReader) -> Header:
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
    return _checked_header(path, size, reader.GetSpacing()[:3], reader.GetOrigin()[:3], direction)


def _checked_header(
    path: Path,
    size: Sequence[int],
    spacing: Sequence[float],
    origin: Sequence[float],
    direction: np.ndarray,
) -> Header:
    if min(spacing) <= 0 or not np.all(np.isfinite([*spacing, *origin])):
        raise ScanError(
            f"{path}: spacing {spacing} and origin {origin}; must be finite, spacing > 0"
        )
    if abs(np.linalg.det(direction)) < 0.5:
        raise ScanError(
            f"{path}: direction {direction.ravel().tolist()} is no rotation; repair the header"
        )
    return Header(
        path=path,
        shape=(int(size[2]), int(size[1]), int(size[0])),
        spacing_mm=_vector(spacing),
        origin_mm=_vector(origin),
        direction=direction,
    )


# Missing, truncated and damaged data files. SimpleITK says "No such file or directory" for a
# truncated MetaImage and reads a damaged .zraw or a truncated NIfTI without a word.


def _check_data_file(path: Path, *, deep: bool) -> None:
    name = path.name.lower()
    if name.endswith((".mhd", ".mha")):
        _check_metaimage(path, deep=deep)
    elif name.endswith((".nii", ".nii.gz")):
        _check_nifti(path, deep=deep)


def _check_metaimage(path: Path, *, deep: bool) -> None:
    fields, header_bytes = _metaimage_fields(path)
    target = fields["ElementDataFile"]
    if target.upper().startswith("LIST") or "%" in target:
        return
    local = target.upper() == "LOCAL"
    data = path if local else path.parent / target
    if not data.is_file():
        raise ScanError(f"{path}: its data file {data} is missing; fetch it again")
    try:
        dims = [int(n) for n in fields["DimSize"].split()]
        element = _META_BYTES[fields["ElementType"]]
        channels = int(fields.get("ElementNumberOfChannels", 1))
        stated = int(fields.get("CompressedDataSize", 0))
        skip = header_bytes if local else max(0, int(fields.get("HeaderSize", 0)))
    except (KeyError, ValueError) as error:
        raise ScanError(f"{path}: damaged header ({error}); fetch it again") from None
    need = int(np.prod(dims)) * element * channels
    have = data.stat().st_size - skip
    compressed = fields.get("CompressedData", "False").lower() == "true"
    expected = stated if compressed else need
    if have < expected:
        raise ScanError(
            f"{data}: truncated, {have} bytes of {expected} (for {path.name}); fetch it again"
        )
    if compressed and deep:
        _check_stream(data, need, _inflated(data, skip), owner=path)


def _metaimage_fields(path: Path) -> tuple[dict[str, str], int]:
    """Header fields and the header's length in bytes."""
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        for _ in range(1000):
            line = file.readline(4096)
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return fields, file.tell()
    raise ScanError(
        f"{path}: not a MetaImage header (no ElementDataFile line); fetch it again or remove it"
    )


def _check_nifti(path: Path, *, deep: bool) -> None:
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            head = file.read(352)
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(f"{path}: truncated or damaged ({error}); fetch it again") from None
    if len(head) < 348:
        raise ScanError(f"{path}: truncated, {len(head)} bytes of header; fetch it again")
    for order in ("<", ">"):
        if np.frombuffer(head[:4], f"{order}i4")[0] == 348:
            break
    else:
        return  # NIfTI-2 or nothing of the kind; ITK decides
    dims = np.frombuffer(head[40:56], f"{order}i2").astype(np.int64)
    bits = int(np.frombuffer(head[72:74], f"{order}i2")[0])
    start = int(np.frombuffer(head[108:112], f"{order}f4")[0])
    need = start + int(np.prod(np.maximum(dims[1 : 1 + max(0, dims[0])], 1))) * bits // 8
    if not packed:
        have = path.stat().st_size
        if have < need:
            raise ScanError(f"{path}: truncated, {have} bytes of {need}; fetch it again")
    elif deep:
        _check_stream(path, need, _unpacked(path), owner=path)


def _check_stream(data: Path, need: int, sizes: Iterator[int], *, owner: Path) -> None:
    have = 0
    try:
        for size in sizes:
            have += size
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(
            f"{data}: truncated or damaged after {have} of {need} unpacked bytes ({error}); "
            f"fetch it again (for {owner.name})"
        ) from None
    if have < need:
        raise ScanError(
            f"{data}: truncated, {have} unpacked bytes of {need} (for {owner.name}); fetch it again"
        )


def _inflated(data: Path, skip: int) -> Iterator[int]:
    """Lengths of the unpacked pieces of a zlib stream; EOFError where it stops early."""
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip
    with open(data, "rb") as file:
        file.seek(skip)
        while not stream.eof:
            piece = file.read(1 << 20)
            if not piece:
                raise EOFError("the stream ends early")
            yield len(stream.decompress(piece))


def _unpacked(path: Path) -> Iterator[int]:
    with gzip.open(path) as file:
        while piece := file.read(1 << 22):
            yield len(piece)


# DICOM


def _series_files(path: Path, series_uid: str) -> list[Path]:
    """The files of one series of a directory, in order along the slice axis, copies dropped."""
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    if not found:
        raise ScanError(
            f"{path}: a folder without a DICOM series; name a folder of DICOM slices, "
            "or an .mhd, .nrrd or .nii.gz file"
        )
    if series_uid and series_uid not in found:
        raise ScanError(f"{path}: no series {series_uid}; found {', '.join(found)}")
    if not series_uid and len(found) > 1:
        raise ScanError(
            f"{path}: {len(found)} DICOM series ({', '.join(found)}); name one by its uid, "
            "or keep one to a folder"
        )
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series_uid or found[0])
    return _without_copies([Path(name) for name in names])


def _without_copies(names: list[Path]) -> list[Path]:
    placed = [(name, _information(name)) for name in names]
    normal = np.array(placed[0][1].GetDirection()).reshape(3, 3)[:, 2]
    heights = np.array([float(normal @ np.array(r.GetOrigin())) for _, r in placed])
    ordered = [int(i) for i in np.argsort(heights, kind="stable")]
    keep = ordered[:1]
    for i in ordered[1:]:
        if heights[i] - heights[keep[-1]] > 1e-3:
            keep.append(i)
            continue
        first, second = names[keep[-1]], names[i]
        if not np.array_equal(read_image(first), read_image(second)):
            raise ScanError(
                f"{first} and {second}: two different slices at the same position "
                f"({heights[i]:g} mm); remove one"
            )
        warnings.warn(f"{second}: copy of {first}, left out", stacklevel=4)
    return [names[i] for i in keep]


def _series_header(path: Path, names: list[Path]) -> Header:
    readers = [_information(name) for name in names]
    first = _header(names[0], readers[0])
    for name, reader in zip(names, readers, strict=True):
        here = _header(name, reader)
        if here.shape != first.shape or here.spacing_mm[:2] != first.spacing_mm[:2]:
            raise ScanError(
                f"{name}: {here.shape[1:]} pixels of {here.spacing_mm[:2]} mm, but {names[0]} has "
                f"{first.shape[1:]} of {first.spacing_mm[:2]}; keep one series to a folder"
            )
    thickness = first.spacing_mm[2]
    if len(names) > 1:
        origins = np.array([reader.GetOrigin() for reader in readers])
        steps = np.diff(origins, axis=0)
        along = steps @ first.direction[:, 2]
        thickness = float(along.mean())
        widest = int(along.argmax())
        if along[widest] > 1.5 * np.median(along):
            raise ScanError(
                f"{path}: {along[widest]:g} mm between {names[widest].name} and "
                f"{names[widest + 1].name}, elsewhere {np.median(along):g}; slices are missing"
            )
        across = np.linalg.norm(steps.sum(0) - along.sum() * first.direction[:, 2])
        if across > 1.0:
            raise ScanError(
                f"{path}: slices shift sideways by {across:g} mm over the scan (tilted gantry); "
                "convert it with a tool that corrects the tilt, such as dcm2niix"
            )
    size = (first.shape[2], first.shape[1], len(names) * first.shape[0])
    spacing = (*first.spacing_mm[:2], thickness)
    return _checked_header(path, size, spacing, first.origin_mm, first.direction)
