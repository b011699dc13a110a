"""Headers of NIfTI-1 (.nii, .nii.gz, .hdr with .img): where the voxels are, and where they lie.

The format can state position and orientation twice (qform and sform), and spacing three times.
SimpleITK takes one of them. A header is refused where they differ.
"""

import dataclasses
import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from inres.ct.damage import Placement, Stored, apart
from inres.ct.header import ScanError

_BITS = {
    1: 1, 2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32,
    1024: 64, 1280: 64, 1536: 128, 1792: 128, 2304: 32,
}  # fmt: skip
"""Bits per voxel by datatype."""
_SCALE_TO_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
"""By code of the unit of length; an unknown unit is taken for mm, as SimpleITK does."""
_HEADER = struct.Struct("<i36x8h12x4h8f3f3xB128x2h3f3f12f16x4s")
"""sizeof_hdr, dim[8], intent_code to slice_start, pixdim[8], vox_offset, scl_slope, scl_inter,
xyzt_units, qform_code, sform_code, quaternion, offset, srow and magic."""
_SINGLE, _PAIR = b"n+1\0", b"ni1\0"
_FIRST_VOXEL = 352
"""Least offset of the voxels in a single file."""
_SAME = 0.1
"""Greatest difference of two statements of a position, in voxels."""
_LEAST_SLOPE = 1e-6
"""SimpleITK takes much smaller ones for none."""


@dataclasses.dataclass(frozen=True)
class _Fields:
    dim: tuple[int, ...]
    datatype: int
    bitpix: int
    pixdim: tuple[float, ...]
    vox_offset: float
    scl_slope: float
    scl_inter: float
    units: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: np.ndarray
    """float64 [3, 4]"""
    magic: bytes


def describe(path: Path) -> Stored:
    """What a NIfTI header says of its voxels.

    Raises:
      ScanError: not NIfTI-1, damaged, or its size, type, offset or scale contradict themselves.
    """
    name = path.name.lower()
    pair = not name.endswith((".nii", ".nii.gz"))
    header, data = (_beside(path, ".hdr"), _beside(path, ".img")) if pair else (path, path)
    fields = _read(header, pair=pair)
    size = fields.dim[1 : 1 + fields.dim[0]] if 1 <= fields.dim[0] <= 7 else ()
    if not size or min(size) < 1:
        raise _wrong(path, "dim", list(fields.dim), "must be 1 to 7, then so many sizes above 0")
    if _BITS.get(fields.datatype, 0) != fields.bitpix:
        raise _wrong(
            path, "datatype", f"{fields.datatype} with bitpix {fields.bitpix}", "must agree"
        )
    least = 0 if pair else _FIRST_VOXEL
    if not least <= fields.vox_offset < 1 << 31:
        raise _wrong(path, "vox_offset", fields.vox_offset, f"must be {least} or more")
    _require_scale(path, fields)
    packed = data.name.lower().endswith(".gz")
    start = int(fields.vox_offset)
    placement, unplaced = _placement(fields)
    return Stored(
        header=header,
        parts=(data,),
        need=-(-math.prod(size) * fields.bitpix // 8),
        start=0 if packed else start,
        packed="gzip" if packed else "",
        inside=start,
        unplaced=unplaced,
        placement=placement,
    )


def _beside(path: Path, suffix: str) -> Path:
    """The other file of a pair, packed or not, in whatever case its ending is."""
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    choices = [bare.with_suffix(s) for s in (suffix, suffix.upper())]
    choices += [Path(f"{choice}.gz") for choice in choices]
    return next((choice for choice in choices if choice.exists()), choices[0])


def _read(path: Path, *, pair: bool) -> _Fields:
    packed = path.name.lower().endswith(".gz")
    if not path.is_file():
        raise ScanError(f"{path}: no such file, but a .hdr and an .img belong together; fetch it")
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            head = file.read(_HEADER.size)
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(f"{path}: truncated or damaged ({error}); fetch it again") from None
    if len(head) < _HEADER.size and not head.startswith(b"\x1f\x8b"):
        raise ScanError(f"{path}: truncated, {len(head)} bytes of header; fetch it again")
    for order in "<>":
        length = struct.unpack_from(f"{order}i", head)[0]
        if length == _HEADER.size:
            fields = _unpack(head, order)
            break
        if head.startswith(b"\x1f\x8b"):
            raise ScanError(f"{path}: compressed with gzip; call it {path.name}.gz")
        if length == 540:
            raise ScanError(f"{path}: NIfTI-2, which is not supported; convert it to NIfTI-1")
    else:
        raise ScanError(f"{path}: not a NIfTI header; fetch it again, or remove it")
    if fields.magic != (_PAIR if pair else _SINGLE):
        raise ScanError(
            f"{path}: its magic is {fields.magic!r}, so Analyze, whose left and right are unknown, "
            "or the wrong ending; convert it to NIfTI"
        )
    return fields


def _unpack(head: bytes, order: str) -> _Fields:
    values: tuple[Any, ...] = struct.unpack(order + _HEADER.format[1:], head)
    return _Fields(
        dim=values[1:9],
        datatype=values[10],
        bitpix=values[11],
        pixdim=values[13:21],
        vox_offset=values[21],
        scl_slope=values[22],
        scl_inter=values[23],
        units=values[24] & 7,
        qform_code=values[25],
        sform_code=values[26],
        quaternion=values[27:30],
        qoffset=values[30:33],
        srow=np.array(values[33:45], np.float64).reshape(3, 4),
        magic=values[45],
    )


def _wrong(path: Path, name: str, value: object, must: str) -> ScanError:
    return ScanError(f"{path}: {name} is {value}; {must}; correct the header, or fetch it again")


def _require_scale(path: Path, fields: _Fields) -> None:
    """Refuse a scale that readers understand differently, or that turns values upside down."""
    slope, inter = fields.scl_slope, fields.scl_inter
    unused = slope == 0 or not math.isfinite(slope)
    if unused and math.isfinite(inter) and inter != 0:
        raise _wrong(path, "scl_slope", f"{slope} with scl_inter {inter}", "must be above 0")
    if not unused and (slope < _LEAST_SLOPE or not math.isfinite(inter)):
        raise _wrong(path, "scl_slope", f"{slope} with scl_inter {inter}", "must be above 0")


def _placement(fields: _Fields) -> tuple[Placement | None, str]:
    """The grid that the header describes (LPS); or None, and why it is not known."""
    spacing = np.array(fields.pixdim[1:4])
    if not np.all(np.isfinite(spacing)) or spacing.min() <= 0:
        return None, f"pixdim is {spacing.tolist()}; must be above 0"
    if fields.units not in _SCALE_TO_MM:
        return None, f"xyzt_units is {fields.units}; must be metres, mm or micrometres"
    if fields.qform_code <= 0 and fields.sform_code <= 0:
        return None, "neither qform nor sform is set, so left and right are unknown"
    affines = []
    if fields.qform_code > 0:
        affine = _qform(fields, spacing)
        if affine is None:
            return None, f"its quaternion {list(fields.quaternion)} is no rotation"
        affines.append(("qform", affine))
    if fields.sform_code > 0:
        affines.append(("sform", fields.srow))
    for name, affine in affines:
        found = np.linalg.norm(affine[:, :3], axis=0)
        if not np.allclose(found, spacing, rtol=1e-2, atol=1e-6):
            return None, f"pixdim is {spacing.tolist()}, but the spacing of {name} {found.tolist()}"
    if len(affines) == 2 and apart(affines[0][1], affines[1][1], fields.dim[1:4]) > _SAME:
        return None, "qform and sform place its voxels differently"
    scale = _SCALE_TO_MM[fields.units] * np.array([[-1.0], [-1.0], [1.0]])  # RAS to LPS
    return affines[-1][1] * scale, ""


def _qform(fields: _Fields, spacing: np.ndarray) -> np.ndarray | None:
    """The affine [3, 4] of the quaternion (NIfTI-1, method 2); None if it is no rotation."""
    b, c, d = fields.quaternion
    square = 1.0 - (b * b + c * c + d * d)
    if not square > -1e-3 or not np.all(np.isfinite(fields.qoffset)):
        return None
    a = math.sqrt(max(0.0, square))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    scale = spacing * [1.0, 1.0, -1.0 if fields.pixdim[0] < 0 else 1.0]
    return np.c_[rotation * scale, fields.qoffset]
