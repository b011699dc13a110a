"""The scans and pictures in a folder, by the names and first bytes of its files."""

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from inres.ct import dicom
from inres.ct.header import ScanError

SCANS = (".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz", ".hdr")
"""Endings of the files by which scans are named, in small letters."""
_VOXELS = (".raw", ".zraw", ".img", ".img.gz", ".raw.gz")
"""Endings of the files with the voxels of other files."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_LOOKED_AT = 8
"""Files of a folder that are looked at to see whether it is a DICOM series."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A scan, or a folder in which there may be some."""

    path: Path
    kind: str
    """`folder`, `scan` (a file) or `series` (a folder with DICOM files)."""
    bytes: int | None
    """Size of a file that is a scan on its own or its header; None for folders."""


def entries(
    folder: Path, *, most: int = 5000, wanted: Callable[[Path], bool] = lambda path: True
) -> tuple[Entry, ...]:
    """The scans and folders in a folder, in the order of the numbers in their names.

    A folder that holds DICOM files is itself the first entry. Hidden files and folders, and links
    that lead nowhere, are left out.

    Args:
      most: files and folders that are looked at, at most.
      wanted: says whether to look at a file or folder.

    Raises:
      OSError: the folder cannot be read.
    """
    found = [Entry(folder, "series", None)] if has_dicom(folder) else []
    with os.scandir(folder) as inside:
        listed = [Path(one.path) for one in itertools.islice(inside, most)]
    for path in sorted(listed, key=lambda path: _by_number(path.name)):
        if path.name.startswith(".") or not wanted(path):
            continue
        try:
            if path.is_dir():
                found.append(Entry(path, "series" if has_dicom(path) else "folder", None))
            elif path.is_file() and is_scan(path):
                found.append(Entry(path, "scan", path.stat().st_size))
        except OSError:
            continue
    return tuple(found)


def is_scan(path: Path) -> bool:
    """Whether a file is named like a scan."""
    return path.name.lower().endswith(SCANS)


def has_dicom(folder: Path) -> bool:
    """Whether one of the first files of a folder begins like DICOM; False if it cannot be read."""
    try:
        with os.scandir(folder) as inside:
            named = (Path(one.path) for one in inside if not one.name.startswith("."))
            plain = (path for path in named if path.is_file())
            return any(is_dicom(path) for path in itertools.islice(plain, _LOOKED_AT))
    except OSError:
        return False


def scan_in(folder: Path) -> Path:
    """The one scan in a folder and the folders below it: a file, or a folder with DICOM files.

    Raises:
      ScanError: there is none, or there are several.
    """
    files = list(_files_below(folder))
    scans = [path for path in files if is_scan(path)]
    if len(scans) == 1:
        return scans[0]
    if scans:
        names = ", ".join(str(path.relative_to(folder)) for path in scans[:3])
        raise ScanError(f"{len(scans)} scans ({names}, ...); give one of them")
    if any(path.name.lower().endswith(_VOXELS) for path in files):
        raise ScanError("voxels without their header (.mhd, .nhdr, .hdr); give both files")
    if not any(map(is_dicom, files)):
        raise ScanError(
            "no scan; give a .mhd with its data, a .nrrd, a .nii.gz, or a folder or zip archive of "
            "DICOM files"
        )
    if len(files) == 1:
        return files[0]
    return _common(files)


def are_pictures(folder: Path) -> bool:
    """Whether all files in a folder and below are pictures."""
    files = list(_files_below(folder))
    return bool(files) and all(path.name.lower().endswith(PICTURES) for path in files)


def images_in(folder: Path) -> Path:
    """The only file in a folder and below, or the folder that holds all of them.

    Raises:
      ScanError: there is no file.
    """
    files = list(_files_below(folder))
    if not files:
        raise ScanError("no image; give a picture like those of the archive")
    heads = [path for path in files if is_scan(path)]
    if len(files) == 1 or (len(heads) == 1 and not are_pictures(folder)):
        return (heads or files)[0]
    return _common(files)


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def _common(files: list[Path]) -> Path:
    """The deepest folder with all of the files below it."""
    return Path(os.path.commonpath([path.parent for path in files]))


def is_dicom(path: Path) -> bool:
    """Whether a regular file begins like DICOM; False if it cannot be read."""
    try:
        return path.is_file() and dicom.is_dicom(path)
    except OSError:
        return False


def _by_number(name: str) -> tuple[tuple[float, str], ...]:
    """A name as a key by which a2 precedes a10."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((float(part), "") if at % 2 else (0.0, part) for at, part in enumerate(parts))
