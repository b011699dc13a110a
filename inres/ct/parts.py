"""The files that a scan consists of, and whether any of them has changed."""

import itertools
import re
from pathlib import Path

_HEADERS = (".mhd", ".mha", ".nhdr", ".nrrd")
"""Formats whose header can name other files with the voxels."""
_DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file:)\s*(.*?)\s*$", re.I | re.M)
_HEADER_BYTES = 1 << 16
MOST_FILES = 50_000
"""Files of a folder that are looked at; one that holds more is no scan (`inres.ct.dicom`)."""

Stamp = tuple[tuple[str, int, int], ...]
"""Path, size in bytes and time of the last change in ns of each file."""


def stamp(path: Path) -> Stamp:
    """The stamp of all files of the scan at `path`; it differs once one of them has changed."""
    found = []
    try:
        files = scan_parts(path)
    except OSError:  # such as of a name that is too long
        return ()
    for part in files:
        try:
            status = part.stat()
        except (OSError, ValueError):  # reported by the reader of the scan
            continue
        found.append((str(part), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def scan_parts(path: Path) -> list[Path]:
    """The file and those with its voxels, or all files of a folder with DICOM."""
    if path.is_dir():
        return list(itertools.islice(path.rglob("*"), MOST_FILES))
    if path.suffix.lower() in (".hdr", ".img"):
        return [path.with_suffix(".hdr"), path.with_suffix(".img")]
    if path.suffix.lower() not in _HEADERS or not path.is_file():
        return [path]
    with open(path, "rb") as file:
        named = _DATA_FILE.search(file.read(_HEADER_BYTES))
    target = named[1].decode("utf-8", "surrogateescape") if named else "LOCAL"
    if target.upper() == "LOCAL":
        return [path]
    if target.upper().startswith("LIST") or "%" in target:  # one file for each slice
        return list(path.parent.iterdir())
    return [path, path.parent / target]
