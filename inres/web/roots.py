"""Paths below the folders of --scans; nothing else of this machine is read for a client."""

import itertools
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from inres.ct import dicom, formats, listing
from inres.web.answers import ApiError


def resolve(roots: Mapping[str, Path], root: object, path: object) -> Path:
    """A file or folder below a root, as it is named; links may not lead out of the root.

    Raises:
      ApiError: there is no such root or path, or it lies outside.
    """
    if not isinstance(root, str) or root not in roots:
        known = ", ".join(roots) or "none"
        raise ApiError(
            HTTPStatus.NOT_FOUND,
            f"no folder of scans of that name; there are: {known}",
            "start the server with --scans=FOLDER",
        )
    if not isinstance(path, str):
        raise ApiError(HTTPStatus.BAD_REQUEST, "path must be a text")
    try:
        found = roots[root] / path
        inside = not Path(path).is_absolute() and _inside(found, roots[root])
        there = inside and found.exists()
    except (OSError, ValueError, RuntimeError):  # a 0 byte, too long, a circle of links
        there = False
    if not there:
        raise ApiError(HTTPStatus.NOT_FOUND, f"nothing of that name in {root}")
    return found


def resolve_scan(roots: Mapping[str, Path], root: object, path: object) -> Path:
    """As `resolve`, of a folder or a file in a format of scans.

    Raises:
      ApiError: as `resolve`, or it is another file.
    """
    found = resolve(roots, root, path)
    named = found.is_file() and listing.is_scan(found)
    if not (found.is_dir() or named or listing.is_dicom(found)):
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"{found.name}: not a scan; open .mhd, .nrrd, .nii.gz or DICOM",
        )
    return found


def shown(roots: Mapping[str, Path], path: Path) -> tuple[str, str] | None:
    """The root that a path lies in, and the path below it; None outside of all of them."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError):
        return None
    for name, root in roots.items():
        if real.is_relative_to(root):
            return name, str(real.relative_to(root))
    return None


def require_one_scan(path: Path) -> None:
    """Check that a folder may hold one scan, before all of its files are looked at.

    Raises:
      ApiError: it and those below hold too many files.
    """
    most = 2 * dicom.MOST_FILES
    if path.is_dir() and next(itertools.islice(path.rglob("*"), most, None), None):
        raise ApiError(
            HTTPStatus.BAD_REQUEST,
            f"{path.name}: more than {most} files in this folder and below; open the folder of one "
            "scan",
        )


def require_inside(path: Path, folder: Path, *, headers: bool = False) -> None:
    """Check that a scan's files are files, and lie in a folder, whatever header and links say.

    Args:
      path: the scan.
      folder: a resolved folder.
      headers: whether headers that a folder `path` holds are read too, as of images.

    Raises:
      ApiError: one lies elsewhere, or is a pipe or device.
      ScanError: the header is damaged.
    """
    for part in _parts(path, headers=headers):
        if not _inside(part, folder):
            raise ApiError(
                HTTPStatus.BAD_REQUEST,
                f"{part.name}: lies outside of the folder of the scan; copy it there",
            )
        if part.exists() and not (part.is_file() or part.is_dir()):
            raise ApiError(
                HTTPStatus.BAD_REQUEST, f"{part.name}: a pipe or device, not a file; remove it"
            )


def _parts(path: Path, *, headers: bool) -> Iterator[Path]:
    """A scan's files and folders; each file comes before its header is read."""
    yield path
    if not path.is_dir():
        yield from formats.data_files(path)
        return
    for part in path.rglob("*"):
        yield part
        if headers and part.is_file():
            yield from formats.data_files(part)


def entries(roots: Mapping[str, Path], root: str, folder: Path) -> list[dict[str, Any]]:
    """The scans and folders in a folder below a root, for the API."""
    base = roots[root]
    found: list[dict[str, Any]] = []
    for entry in listing.entries(folder, wanted=lambda path: _inside(path, base)):
        below = entry.path.relative_to(base)
        name = entry.path.name if entry.path != folder else "."
        found.append(
            {
                "name": name,
                "path": "" if str(below) == "." else str(below),
                "kind": entry.kind,
                "bytes": entry.bytes,
            }
        )
    return found


def _inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):
        return False
