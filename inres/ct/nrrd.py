"""Headers of NRRD (.nrrd, .nhdr): where the voxels are, and fields that SimpleITK ignores.

SimpleITK ignores units and quantization, and takes a spacing of 1 mm where none is given. A header
is refused where that would change values or geometry without a message.
"""

import math
import re
from pathlib import Path
from typing import Literal

import numpy as np

from inres.ct import fields as words
from inres.ct.damage import Placement, Stored
from inres.ct.header import ScanError

_BYTES = {
    **dict.fromkeys(("char", "int8", "uchar", "uint8"), 1),
    **dict.fromkeys(("short", "int16", "ushort", "uint16"), 2),
    **dict.fromkeys(("int", "int32", "uint", "uint32", "float"), 4),
    **dict.fromkeys(("longlong", "int64", "ulonglong", "uint64", "double"), 8),
}
_PACKED: dict[str, Literal["", "gzip"]] = {"raw": "", "gz": "gzip", "gzip": "gzip"}
_WORDS = {"right": "r", "left": "l", "anterior": "a", "posterior": "p", "superior": "s"}
_SPACES = ("ras", "las", "lps")
"""Spaces whose axes are sides of the patient, as SimpleITK converts them to LPS."""
MOST_LINES = 1000
"""Of a header."""
_VECTOR = re.compile(r"\(([^)]*)\)")
_MILLIMETRES = ("mm", "millimeter", "millimetre", "")


def describe(path: Path) -> Stored:
    """What a NRRD header says of its voxels.

    Raises:
      ScanError: the header is damaged, or states values that SimpleITK ignores or cannot read.
    """
    fields, header_bytes = _fields(path)
    size = words.wholes(fields.get("sizes", "").split())
    if not size or min(size) < 1 or fields.get("dimension") != str(len(size)):
        raise _wrong(path, fields, "sizes", "must be as many whole numbers above 0 as dimension")
    element = _BYTES.get(_type_name(fields.get("type", "")))
    if element is None:
        raise _wrong(path, fields, "type", "must be a type of numbers, such as int16")
    encoding = fields.get("encoding", "").lower()
    if encoding not in _PACKED:
        raise _wrong(path, fields, "encoding", "must be raw or gzip")
    for name in ("oldmin", "oldmax"):
        if name in fields:
            raise _wrong(path, fields, name, "must not be set: undo the quantization of the voxels")
    parts, own = _data_files(path, fields, size)
    skip = _integer(path, fields, "byteskip")
    if skip < -1:
        raise _wrong(path, fields, "byteskip", "must be -1 (voxels are the end) or more")
    if _integer(path, fields, "lineskip"):
        raise _wrong(path, fields, "lineskip", "must be 0: give the same place as byte skip")
    start = header_bytes if own else 0
    packed = _PACKED[encoding]
    placement, unplaced = _placement(fields, len(size))
    return Stored(
        header=path,
        parts=parts,
        need=math.prod(size) * element,
        start=start if packed else -1 if skip < 0 else start + skip,
        packed=packed,
        inside=max(0, skip) if packed else 0,
        unplaced=unplaced,
        placement=placement,
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header by name without spaces, and its length in bytes.

    The names of files that follow `data file: LIST` are part of that field's value.
    """
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        if not file.readline(16).startswith(b"NRRD000"):
            raise ScanError(f"{path}: not a NRRD header; fetch it again, or remove it")
        for number in range(MOST_LINES + 1):
            line = words.read_line(file, path)
            if not line.strip(" \t"):
                break  # the header ends with an empty line, a detached one with the file
            if number == MOST_LINES:
                raise ScanError(f"{path}: more than {MOST_LINES} lines of header; shorten it")
            name, colon, value = line.partition(":")
            if line.startswith("#") or not colon or value.startswith("="):
                continue  # a comment, or a key with a value of some program
            name = name.replace(" ", "").lower()
            if name in fields:
                raise ScanError(f"{path}: {name} is given twice; remove one")
            fields[name] = value.strip()
            if name == "datafile" and value.strip().upper().startswith("LIST"):
                fields[name] += "\n" + words.split_list(file.read(1 << 22), path)
                break
        return fields, file.tell()


def _type_name(text: str) -> str:
    """The shortest name of a type, as `ushort` of `unsigned short int`."""
    name = text.lower().replace("unsigned ", "u").replace("signed ", "").replace(" ", "")
    name = name.removesuffix("_t")
    return name if name in ("int", "uint") else name.removesuffix("int")


def _wrong(path: Path, fields: dict[str, str], name: str, must: str) -> ScanError:
    value = fields.get(name)
    is_ = "is missing" if value is None else f"is {value}"
    return ScanError(f"{path}: {name} {is_}; {must}; correct the header, or fetch it again")


def _integer(path: Path, fields: dict[str, str], name: str) -> int:
    found = words.wholes([fields.get(name, "0")])
    if not found:
        raise _wrong(path, fields, name, "must be a whole number")
    return found[0]


def _data_files(
    path: Path, fields: dict[str, str], size: list[int]
) -> tuple[tuple[Path, ...], bool]:
    """The files with the voxels, and whether they follow the header in the same file."""
    target, _, names = fields.get("datafile", "").partition("\n")
    if not target:
        return (path,), True
    if target.upper().startswith("LIST"):
        found = [name.strip() for name in names.split("\n") if name.strip()]
        _require_count(path, len(found), size)
    elif "%" in target:
        pattern, *range_ = target.split()
        numbers = words.numbered(pattern, range_)
        if numbers is None:
            raise _wrong(
                path,
                fields,
                "datafile",
                "must be a pattern such as s%03d.raw with first, last and step, or without %",
            )
        _require_count(path, len(numbers), size)
        found = [pattern % number for number in numbers]
    else:
        found = [target]
    return tuple(path.parent / name for name in found), False


def _require_count(path: Path, found: int, size: list[int]) -> None:
    if not found or math.prod(size) % found:
        raise ScanError(
            f"{path}: {found} data files for sizes {' '.join(map(str, size))}; correct the header, "
            "or fetch the other files"
        )
    if found > words.MOST_FILES:
        raise ScanError(f"{path}: {found} data files, too many for a scan; correct the header")


def _placement(fields: dict[str, str], dimension: int) -> tuple[Placement | None, str]:
    """The grid that the header describes (LPS); or None, and why it is not known."""
    space = fields.get("space", "").lower()
    short = "".join(_WORDS.get(word, "?") for word in space.split("-")) if "-" in space else space
    if short.removesuffix("t") not in _SPACES or short.endswith("t"):
        stated = f"space is {fields['space']}" if space else "space is missing"
        return None, f"{stated}, so left and right are unknown; must be LPS or RAS"
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    if any(unit.strip().lower() not in _MILLIMETRES for unit in units):
        return None, f"space units is {fields['spaceunits']}; must be mm"
    if "spaceorigin" not in fields:
        return None, "space origin is missing, so its position is unknown"
    origin = [_vector(text) for text in _VECTOR.findall(fields["spaceorigin"])]
    if len(origin) != 1 or len(origin[0]) != 3:
        return None, f"space origin is {fields['spaceorigin']}; must be three numbers, (x,y,z)"
    axes = re.findall(r"\(([^)]*)\)|(none)", fields.get("spacedirections", ""))
    vectors = [_vector(text) for text, none in axes if not none]
    if len(axes) != dimension or [len(vector) for vector in vectors] != [3, 3, 3]:
        stated = fields.get("spacedirections", "missing")
        return None, f"space directions is {stated}; must be three vectors of three numbers"
    to_lps = [1.0 if short[axis] == letter else -1.0 for axis, letter in enumerate("lps")]
    return np.array([*vectors, *origin]).T * np.array(to_lps)[:, None], ""


def _vector(text: str) -> list[float]:
    """The numbers of `x,y,z`; empty if one of them is none."""
    return words.numbers([word.strip() for word in text.split(",")])
