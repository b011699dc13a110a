"""Headers of MetaImage (.mhd, .mha): where the voxels are, and fields that SimpleITK ignores.

SimpleITK takes the first name of a field that it finds where the format has several, reads as
many numbers as it needs, and ignores units and intensity functions. A header is refused where that
would change values or geometry without a message.
"""

import itertools
import math
from pathlib import Path

import numpy as np

from inres.ct import fields as words
from inres.ct.damage import Placement, Stored
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
_KNOWN = (
    *("NDims", "DimSize", "ElementType", "ElementSpacing", "ElementSize", "ElementDataFile"),
    *("BinaryData", "CompressedData", "CompressedDataSize", "HeaderSize", "Modality"),
    *("ElementNumberOfChannels", "AnatomicalOrientation", "DistanceUnits"),
    *("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"),
    *(name for names in _SAME for name in names),
)
"""Fields on which voxels or their places depend."""
_VECTORS = ("DimSize", "ElementSpacing", "ElementSize", *_SAME[0], *_SAME[1])
"""Fields with as many numbers as there are dimensions."""
_BY_PLAIN_NAME = {name.lower(): name for name in _KNOWN}
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")
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
    _require_known_names(path, fields)
    for names in _SAME:
        _require_equal(path, fields, names)
    count = _integers(path, fields, "NDims")[0]
    before = itertools.takewhile(lambda name: name != "NDims", fields)
    if early := [name for name in before if name in _VECTORS]:
        raise _wrong(path, fields, "NDims", f"must come before {early[0]}")
    size = _integers(path, fields, "DimSize")
    if len(size) != count or min(size) < 1:
        raise _wrong(path, fields, "DimSize", f"must be {count} whole numbers above 0 (NDims)")
    element = _BYTES.get(fields.get("ElementType", ""))
    if element is None:
        raise _wrong(path, fields, "ElementType", f"must be one of {', '.join(_BYTES)}")
    _require_plain_values(path, fields)
    channels = _integers(path, fields, "ElementNumberOfChannels", 1)[0]
    packed = _is_true(path, fields, "CompressedData")
    _ = [_is_true(path, fields, name) for name in _SAME[2]]
    parts, local = _data_files(path, fields, size)
    if packed and len(parts) > 1:
        raise _wrong(path, fields, "CompressedData", "must be False where each slice has a file")
    stated = _integers(path, fields, "CompressedDataSize", -1)[0]
    skip = _integers(path, fields, "HeaderSize", 0)[0]
    if skip < -1 or (skip and packed) or (skip > 0 and local):
        must = "must be 0 where voxels are compressed or follow the header, else -1 or more"
        raise _wrong(path, fields, "HeaderSize", must)
    return Stored(
        header=path,
        parts=parts,
        need=math.prod(size) * element * channels,
        start=header_bytes if local else skip,
        packed="zlib" if packed else "",
        stated=stated if stated >= 0 else None,
        unplaced=_unplaced(fields, count),
        placement=_placement(fields, size),
        notes=_notes(fields, count),
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and its length in bytes.

    The names of slices that follow `ElementDataFile = LIST` are part of that field's value.
    """
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        for number in range(1000):
            line = words.read_line(file, path)
            key, equals, value = line.removeprefix("\ufeff").partition("=")
            if not equals:
                break
            key, value = key.strip(" \t"), value.strip(" \t")
            if ":" in key:  # it separates a name from a value too
                raise ScanError(f"{path}: {key} has a colon; write {key.partition(':')[0]} = ...")
            if key in fields and fields[key].split() != value.split():
                raise ScanError(
                    f"{path}: {key} is {fields[key]} and, in line {number + 1}, {value}; remove one"
                )
            fields[key] = value
            if key == "ElementDataFile":
                end = file.tell()
                if _is_list(value):
                    fields[key] += "\n" + words.split_list(file.read(1 << 22), path)
                elif not _is_local(value) and file.read(4096).strip():
                    raise ScanError(
                        f"{path}: what follows ElementDataFile, its last field, is ignored; move "
                        "or remove it"
                    )
                return fields, end
    raise ScanError(
        f"{path}: not a MetaImage header (no ElementDataFile line); fetch it again or remove it"
    )


def _is_list(target: str) -> bool:
    return target.startswith("LIST")


def _is_local(target: str) -> bool:
    return target.upper() == "LOCAL"


def _require_known_names(path: Path, fields: dict[str, str]) -> None:
    """Refuse fields that SimpleITK ignores because their names are not written exactly so."""
    for name in fields:
        plain = "".join(filter(str.isalpha, name)).lower()
        known = _BY_PLAIN_NAME.get(plain, name)
        if known != name:
            raise ScanError(f"{path}: {name} is no known field, but {known} is; rename it")


def _is_true(path: Path, fields: dict[str, str], name: str, default: str = "False") -> bool:
    value = fields.get(name, default).lower()
    if value not in (*_TRUE, *_FALSE):
        raise _wrong(path, fields, name, "must be True or False")
    return value in _TRUE


def _wrong(path: Path, fields: dict[str, str], name: str, must: str) -> ScanError:
    value = fields.get(name)
    is_ = "is missing" if value is None else f"is {value}"
    return ScanError(f"{path}: {name} {is_}; {must}; correct the header, or fetch it again")


def _integers(
    path: Path, fields: dict[str, str], name: str, default: int | None = None
) -> list[int]:
    if name not in fields and default is not None:
        return [default]
    found = words.wholes(fields.get(name, "").split())
    if not found:
        raise _wrong(path, fields, name, "must be whole numbers")
    return found


def _numbers(fields: dict[str, str], name: str, count: int) -> list[float]:
    """Finite numbers; empty if the field is missing, or not so many of them."""
    found = words.numbers(fields.get(name, "").split())
    return found if len(found) == count else []


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
    if not _is_true(path, fields, "BinaryData", "True"):
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
    if _is_local(target):
        return (path,), True
    if _is_list(target):
        found = [name.strip() for name in names.rstrip().split("\n")]
        inner = len(size) - 1
        if target[4:].strip().upper() not in ("", f"{inner}", f"{inner}D"):
            raise ScanError(
                f"{path}: ElementDataFile is {target}; must be LIST, with a file for each slice; "
                "correct the header"
            )
        _require_count(path, len(found), size)
    elif "%" in target:
        pattern, *range_ = target.rsplit(maxsplit=3)
        numbers = words.numbered(pattern, range_)
        if numbers is None or numbers.step < 0:
            raise ScanError(
                f"{path}: ElementDataFile is {target}; must be a pattern such as slice%03d.raw "
                "with its first and last number and their step, or a name without %; correct the "
                "header"
            )
        _require_count(path, len(numbers), size)
        found = [pattern % number for number in numbers]
    else:
        return (path.parent / target,), False
    return tuple(path.parent / name for name in found), False


def _require_count(path: Path, found: int, size: list[int]) -> None:
    if found != size[-1]:
        raise ScanError(
            f"{path}: {found} data files for {size[-1]} slices (DimSize {size}); correct the "
            "header, or fetch the other slices"
        )
    if found > words.MOST_FILES:
        raise ScanError(f"{path}: {found} data files, too many for a scan; correct the header")


def _unplaced(fields: dict[str, str], count: int) -> str:
    spacing = _numbers(fields, "ElementSpacing", count)
    if "ElementSpacing" in fields and (not spacing or min(spacing) <= 0):
        return f"ElementSpacing is {fields['ElementSpacing']}; must be {count} numbers above 0"
    thickness = _numbers(fields, "ElementSize", count)
    if "ElementSize" in fields and not thickness:
        return f"ElementSize is {fields['ElementSize']}; must be {count} numbers"
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


def _placement(fields: dict[str, str], size: list[int]) -> Placement | None:
    """The grid that the header describes, where it is complete."""

    def given(names: tuple[str, ...], count: int) -> list[float]:
        return next((found for name in names if (found := _numbers(fields, name, count))), [])

    spacing = given(("ElementSpacing", "ElementSize"), 3)
    if len(size) != 3 or not spacing:
        return None
    axes = np.array(given(_SAME[1], 9) or np.eye(3)).reshape(3, 3).T
    return np.c_[axes * spacing, given(_SAME[0], 3) or np.zeros(3)]


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
