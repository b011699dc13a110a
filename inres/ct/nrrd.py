"""Headers of NRRD (.nrrd, .nhdr): where the voxels are, and fields that SimpleITK ignores.

SimpleITK ignores units and quantization, and takes a spacing of 1 mm where none is given. A header
is refused where that would change values or geometry without a message.
"""

import math
import os
import re
from pathlib import Path

import numpy as np

from inres.ct.damage import Stored
from inres.ct.header import ScanError

_BYTES = {
    **dict.fromkeys(("char", "int8", "uchar", "uint8"), 1),
    **dict.fromkeys(("short", "int16", "ushort", "uint16"), 2),
    **dict.fromkeys(("int", "int32", "uint", "uint32", "float"), 4),
    **dict.fromkeys(("longlong", "int64", "ulonglong", "uint64", "double"), 8),
}
_PACKED = {
    **{"raw": "", "gz": "gzip", "gzip": "gzip"},
    **dict.fromkeys(("ascii", "text", "txt", "hex"), "text"),
}
_WORDS = {"right": "r", "left": "l", "anterior": "a", "posterior": "p", "superior": "s"}
_SPACES = ("ras", "las", "lps")
"""Spaces whose axes are sides of the patient, as SimpleITK converts them to LPS."""
_MILLIMETRES = ("mm", "millimeter", "millimetre", "")


def describe(path: Path) -> Stored:
    """What a NRRD header says of its voxels.

    Raises:
      ScanError: the header is damaged, or states values that SimpleITK ignores or cannot read.
    """
    fields, header_bytes = _fields(path)
    size = [int(text) for text in fields.get("sizes", "").split() if text.isdigit()]
    if not size or min(size) < 1 or fields.get("dimension") != str(len(size)):
        raise _wrong(path, fields, "sizes", "must be as many whole numbers above 0 as dimension")
    element = _BYTES.get(_type_name(fields.get("type", "")))
    if element is None:
        raise _wrong(path, fields, "type", "must be a type of numbers, such as int16")
    encoding = fields.get("encoding", "").lower()
    if encoding not in _PACKED:
        raise _wrong(path, fields, "encoding", "must be raw, gzip, ascii or hex")
    for name in ("oldmin", "oldmax"):
        if name in fields:
            raise _wrong(path, fields, name, "must not be set: undo the quantization of the voxels")
    parts, own = _data_files(path, fields, size)
    skip = _integer(path, fields, "byteskip")
    lines = _integer(path, fields, "lineskip")
    start = header_bytes if own else 0
    packed = _PACKED[encoding]
    if lines or packed == "text":
        packed, skip = "text", 0  # of unknown length; left to SimpleITK
    return Stored(
        header=path,
        parts=parts,
        need=math.prod(size) * element,
        start=start if packed else -1 if skip < 0 else start + skip,
        packed=packed,  # type: ignore[arg-type]
        inside=max(0, skip) if packed == "gzip" else 0,
        unplaced=_unplaced(fields, len(size)),
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header by name without spaces, and its length in bytes.

    The names of files that follow `data file: LIST` are part of that field's value.
    """
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        if not file.readline(16).startswith(b"NRRD000"):
            raise ScanError(f"{path}: not a NRRD header; fetch it again, or remove it")
        for _ in range(1000):
            raw = file.readline(1 << 16)
            line = os.fsdecode(raw).rstrip("\r\n")
            if not line.strip():
                break  # the header ends with an empty line, a detached one with the file
            name, colon, value = line.partition(":")
            if line.startswith("#") or not colon or value.startswith("="):
                continue  # a comment, or a key with a value of some program
            name = name.replace(" ", "").lower()
            fields[name] = value.strip()
            if name == "datafile" and value.strip().upper().startswith("LIST"):
                fields[name] += "\n" + os.fsdecode(file.read(1 << 22))
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
    try:
        return int(fields.get(name, "0"))
    except ValueError:
        raise _wrong(path, fields, name, "must be a whole number") from None


def _data_files(
    path: Path, fields: dict[str, str], size: list[int]
) -> tuple[tuple[Path, ...], bool]:
    """The files with the voxels, and whether they follow the header in the same file."""
    target, _, names = fields.get("datafile", "").partition("\n")
    if not target:
        return (path,), True
    if target.upper().startswith("LIST"):
        found = [name.strip() for name in names.splitlines() if name.strip()]
    elif "%" in target:
        try:
            pattern, first, last, step, *_ = target.split()
            found = [pattern % n for n in range(int(first), int(last) + 1, int(step))]
        except (TypeError, ValueError):
            raise _wrong(
                path, fields, "datafile", "must be a pattern with first, last and step"
            ) from None
    else:
        found = [target]
    if not found or math.prod(size) % len(found):
        raise ScanError(
            f"{path}: {len(found)} data files for sizes {fields['sizes']}; correct the header, or "
            "fetch the other files"
        )
    return tuple(path.parent / name for name in found), False


def _unplaced(fields: dict[str, str], dimension: int) -> str:
    space = fields.get("space", "").lower()
    short = "".join(_WORDS.get(word, "?") for word in space.split("-")) if "-" in space else space
    if short.removesuffix("t") not in _SPACES or short.endswith("t"):
        stated = f"space is {fields['space']}" if space else "space is missing"
        return f"{stated}, so left and right are unknown; must be LPS or RAS"
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    if any(unit.strip().lower() not in _MILLIMETRES for unit in units):
        return f"space units is {fields['spaceunits']}; must be mm"
    if "spaceorigin" not in fields:
        return "space origin is missing, so its position is unknown"
    axes = re.findall(r"\(([^)]*)\)|(none)", fields.get("spacedirections", ""))
    if len(axes) != dimension or sum(none == "" for _, none in axes) != 3:
        return f"space directions is {fields.get('spacedirections', 'missing')}"
    try:
        vectors = np.array([[float(x) for x in text.split(",")] for text, none in axes if not none])
    except ValueError:
        return f"space directions is {fields['spacedirections']}; must be numbers"
    if vectors.shape != (3, 3) or not np.isfinite(vectors).all():
        return f"space directions is {fields['spacedirections']}; must be three vectors"
    return ""
