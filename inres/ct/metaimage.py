"""Headers of MetaImage (.mhd, .mha): where the voxels are, and fields that SimpleITK ignores.

SimpleITK takes the first name of a field that it finds where the format has several, reads as
many numbers as it needs, and ignores units and intensity functions. A header is refused where that
would change values or geometry without a message.
"""

import math
import os
from pathlib import Path

import numpy as np

from inres.ct.damage import Stored
from inres.ct.header import ScanError

_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}  # fmt: skip
_SAME = (
    ("Offset", "Position", "Origin"),
    ("TransformMatrix", "Rotation", "Orientation"),
    ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
)
"""Names of one and the same field."""
_MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "?", "")
_ENDS = ("RL", "AP", "IS")
"""Letters of the sides that the world axes x, y, z come from and go to (LPS)."""
_CLOSE = 1e-3


def describe(path: Path) -> Stored:
    """What a MetaImage header says of its voxels.

    Raises:
      ScanError: the header is damaged, contradicts itself, or states values that SimpleITK ignores.
    """
    fields, header_bytes = _fields(path)
    for names in _SAME:
        _require_equal(path, fields, names)
    count = _integers(path, fields, "NDims")[0] if "NDims" in fields else 3
    size = _integers(path, fields, "DimSize")
    if len(size) != count or min(size) < 1:
        raise _wrong(path, fields, "DimSize", f"must be {count} whole numbers above 0 (NDims)")
    element = _BYTES.get(fields.get("ElementType", ""))
    if element is None:
        raise _wrong(path, fields, "ElementType", f"must be one of {', '.join(_BYTES)}")
    _require_plain_values(path, fields)
    channels = _integers(path, fields, "ElementNumberOfChannels", 1)[0]
    packed = fields.get("CompressedData", "False").lower() == "true"
    parts, local = _data_files(path, fields, size)
    if packed and len(parts) > 1:
        raise _wrong(path, fields, "CompressedData", "must be False where each slice has a file")
    stated = _integers(path, fields, "CompressedDataSize", -1)[0]
    return Stored(
        header=path,
        parts=parts,
        need=math.prod(size) * element * channels,
        start=header_bytes if local else max(-1, _integers(path, fields, "HeaderSize", 0)[0]),
        packed="zlib" if packed else "",
        stated=stated if stated >= 0 else None,
        unplaced=_unplaced(fields, count),
        notes=_notes(fields, count),
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and its length in bytes.

    The names of slices that follow `ElementDataFile = LIST` are part of that field's value.
    """
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        for number in range(1000):
            line = os.fsdecode(file.readline(4096))
            key, equals, value = line.removeprefix("\ufeff").partition("=")
            if not equals:
                break
            key, value = key.strip(), value.strip()
            if key in fields and fields[key].split() != value.split():
                raise ScanError(
                    f"{path}: {key} is {fields[key]} and, in line {number + 1}, {value}; remove one"
                )
            fields[key] = value
            if key == "ElementDataFile":
                end = file.tell()
                if value.upper().startswith("LIST"):
                    fields[key] += "\n" + os.fsdecode(file.read(1 << 22))
                return fields, end
    raise ScanError(
        f"{path}: not a MetaImage header (no ElementDataFile line); fetch it again or remove it"
    )


def _wrong(path: Path, fields: dict[str, str], name: str, must: str) -> ScanError:
    value = fields.get(name)
    is_ = "is missing" if value is None else f"is {value}"
    return ScanError(f"{path}: {name} {is_}; {must}; correct the header, or fetch it again")


def _integers(
    path: Path, fields: dict[str, str], name: str, default: int | None = None
) -> list[int]:
    if name not in fields and default is not None:
        return [default]
    try:
        found = [int(text) for text in fields.get(name, "").split()]
    except ValueError:
        found = []
    if not found:
        raise _wrong(path, fields, name, "must be whole numbers")
    return found


def _numbers(fields: dict[str, str], name: str, count: int) -> list[float]:
    """Finite numbers; empty if the field is missing, or not so many of them."""
    try:
        found = [float(text) for text in fields.get(name, "").split()]
    except ValueError:
        return []
    return found if len(found) == count and all(map(math.isfinite, found)) else []


def _require_equal(path: Path, fields: dict[str, str], names: tuple[str, ...]) -> None:
    """Refuse different values of a field that is given under several names."""
    given = [name for name in names if name in fields]
    for other in given[1:]:
        if _comparable(fields[other]) != _comparable(fields[given[0]]):
            raise ScanError(
                f"{path}: {given[0]} is {fields[given[0]]}, but {other}, which means the same, is "
                f"{fields[other]}; remove the wrong one"
            )


def _comparable(text: str) -> tuple[object, ...]:
    try:
        return tuple(float(word) for word in text.split())
    except ValueError:
        return tuple(text.lower().split())


def _require_plain_values(path: Path, fields: dict[str, str]) -> None:
    """Refuse values that are not HU as they are stored."""
    if fields.get("BinaryData", "True").lower() == "false":
        raise _wrong(path, fields, "BinaryData", "must be True: convert it to a binary file")
    for name, plain in (
        ("ElementToIntensityFunctionSlope", 1.0),
        ("ElementToIntensityFunctionOffset", 0.0),
    ):
        if name in fields and _numbers(fields, name, 1) != [plain]:
            raise _wrong(path, fields, name, f"must be {plain:g}: apply it to the voxels")
    modality = fields.get("Modality", "MET_MOD_CT").upper().removeprefix("MET_MOD_")
    if modality not in ("CT", "OTHER", "UNKNOWN"):
        raise _wrong(path, fields, "Modality", "must be MET_MOD_CT: only CT has HU")


def _data_files(
    path: Path, fields: dict[str, str], size: list[int]
) -> tuple[tuple[Path, ...], bool]:
    """The files with the voxels, and whether they follow the header in the same file."""
    target, _, names = fields["ElementDataFile"].partition("\n")
    if target.upper() == "LOCAL":
        return (path,), True
    if target.upper().startswith("LIST"):
        found = [name.strip() for name in names.splitlines() if name.strip()]
        dimensions = target[4:].strip().upper().removesuffix("D")
        inner = int(dimensions) if dimensions.isdigit() else len(size) - 1
        needed = math.prod(size[inner:])
    elif "%" in target:
        pattern, *range_ = target.rsplit(maxsplit=3)
        try:
            first, last, step = map(int, range_)
            found = [pattern % number for number in range(first, last + 1, step)]
        except (TypeError, ValueError):
            raise ScanError(
                f"{path}: ElementDataFile is {target}; must be a pattern such as slice%03d.raw "
                "with its first and last number and their step; correct the header"
            ) from None
        needed = size[-1]
    else:
        return (path.parent / target,), False
    if len(found) != needed:
        raise ScanError(
            f"{path}: {len(found)} data files for {needed} slices (DimSize {size}); correct the "
            "header, or fetch the other slices"
        )
    return tuple(path.parent / name for name in found), False


def _unplaced(fields: dict[str, str], count: int) -> str:
    spacing = _numbers(fields, "ElementSpacing", count)
    if "ElementSpacing" in fields and (not spacing or min(spacing) <= 0):
        return f"ElementSpacing is {fields['ElementSpacing']}; must be {count} numbers above 0"
    thickness = _numbers(fields, "ElementSize", count)
    if not spacing and (not thickness or min(thickness) <= 0):
        return "ElementSpacing is missing"
    if spacing and thickness and not np.allclose(spacing[:2], thickness[:2], rtol=0.01):
        return f"ElementSpacing is {fields['ElementSpacing']}, ElementSize {fields['ElementSize']}"
    units = fields.get("DistanceUnits", "mm")
    if units.lower() not in _MILLIMETRES:
        return f"DistanceUnits is {units}; must be mm"
    for names, length in ((_SAME[0], count), (_SAME[1], count**2)):
        for name in names:
            if name in fields and not _numbers(fields, name, length):
                return f"{name} is {fields[name]}; must be {length} numbers"
    stated = _stated(fields)
    if stated not in ("", "RAI") and not any(name in fields for name in _SAME[1]):
        return f"AnatomicalOrientation is {stated}, but TransformMatrix, which is used, is missing"
    return ""


def _stated(fields: dict[str, str]) -> str:
    """Three letters of `AnatomicalOrientation`; empty if they are missing or no orientation."""
    text = fields.get("AnatomicalOrientation", "").upper()
    return text if sorted(map(_axis, text)) == [0, 1, 2] else ""


def _notes(fields: dict[str, str], count: int) -> tuple[str, ...]:
    """What is assumed of the orientation, and which statement of it is not used."""
    if count != 3:
        return ()
    notes = [
        f"{names[0]} is missing; taken for {default}"
        for names, default in (
            (_SAME[0], "0 0 0, so positions are relative to the first voxel"),
            (_SAME[1], "axial slices in LPS"),
        )
        if not any(name in fields for name in names)
    ]
    matrix = next((m for name in _SAME[1] if (m := _numbers(fields, name, 9))), None)
    stated = _stated(fields)
    if matrix and stated:
        meant = _orientation(np.array(matrix).reshape(3, 3))
        if meant != stated:
            notes.append(
                f"AnatomicalOrientation is {stated}, but TransformMatrix, which is used, means "
                f"{meant}"
            )
    return tuple(notes)


def _axis(letter: str) -> int:
    """The world axis of a letter; -1 if it is none."""
    return next((axis for axis, ends in enumerate(_ENDS) if letter in ends), -1)


def _orientation(axes: np.ndarray) -> str:
    """Letters of the sides that the axes (rows of [3, 3], LPS) come from, as SimpleITK writes them.

    Three letters; of an oblique axis that of the nearest world axis.
    """
    nearest = np.abs(axes).argmax(1)
    return "".join(_ENDS[axis][int(row[axis] < 0)] for axis, row in zip(nearest, axes, strict=True))
