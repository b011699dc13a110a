"""Missing, truncated and damaged data, and files of another length than their header says.

SimpleITK reads a damaged .zraw or a truncated NIfTI without an error, shifts voxels where a header
forgets some bytes, and reports "No such file or directory" for a truncated MetaImage. So each
format describes where its voxels are (`inres.ct.metaimage`, `nifti`, `nrrd`), and the files are
checked against that before SimpleITK reads them.
"""

import dataclasses
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from inres.ct.header import ScanError
from inres.system import files

_DEFLATE_RATIO = 1032
"""Greatest ratio of the lengths before and after compression by DEFLATE."""
_PIECE = 1 << 22

Placement = np.ndarray
"""float64 [3, 4]: the affine from voxel indices x, y, z to the world (LPS, mm)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """What the header of a scan says of its voxels."""

    header: Path
    parts: tuple[Path, ...]
    """The files with the voxels, each with an equal share of them."""
    need: int
    """Length of all voxels in bytes, not compressed."""
    start: int = 0
    """Bytes of each file before its voxels; -1: the voxels are its end."""
    packed: Literal["", "zlib", "gzip"] = ""
    inside: int = 0
    """Bytes before the voxels in the unpacked stream."""
    stated: int | None = None
    """Length of the packed voxels in bytes, if the header says."""
    unplaced: str = ""
    """Why position, orientation or spacing of the voxels are not known; empty if they are."""
    placement: Placement | None = None
    """Where the voxels lie, by the fields of the header; None if that is not known."""
    notes: tuple[str, ...] = ()
    """What is assumed, and which field is not used because it contradicts another."""


def check_stored(stored: Stored, *, deep: bool) -> None:
    """Refuse voxels that are missing, too few, too many or, if `deep`, damaged.

    A deep check unpacks all of them.

    Raises:
      ScanError: names the file, and whether to fetch it again or to correct its header.
    """
    for part in stored.parts:
        if wrong := files.no_file(part):
            what = "is missing" if wrong == "no such file" else f"is {wrong}"
            raise ScanError(f"{stored.header}: its data file {part} {what}; fetch it again")
    need = stored.need // len(stored.parts)
    for part in stored.parts:
        have = part.stat().st_size - max(0, stored.start)
        if not stored.packed:
            _compare(stored, part, have, need, exact=stored.start >= 0)
        else:
            if stored.stated is not None:
                _compare(stored, part, have, stored.stated)
            if need > _DEFLATE_RATIO * max(have, 0):
                raise ScanError(_truncated(stored, part, f"{have} bytes cannot hold {need}"))
            if deep:
                _check_stream(stored, part, stored.inside + need)


def apart(first: Placement, second: Placement, size: Sequence[int]) -> float:
    """Largest distance of a corner voxel by two placements, in the least spacing of the first.

    Args:
      size: x, y, z.
    """
    last = np.maximum(np.array(size) - 1, 0)
    corners = np.stack(np.meshgrid(*zip((0, 0, 0), last, strict=True)), -1).reshape(-1, 3)
    shifts = (first - second) @ np.c_[corners, np.ones(len(corners))].T
    spacing = np.linalg.norm(first[:, :3], axis=0)
    return float(np.linalg.norm(shifts, axis=0).max() / spacing.min())


def _compare(stored: Stored, part: Path, have: int, need: int, *, exact: bool = True) -> None:
    if have < need:
        raise ScanError(_truncated(stored, part, f"{max(have, 0)} bytes of {need}"))
    if exact and have > need:
        raise ScanError(_longer(stored, part, f"{have} bytes of voxels", need))


def _truncated(stored: Stored, part: Path, how: str) -> str:
    owner = "" if part == stored.header else f" (for {stored.header.name})"
    return f"{part}: truncated, {how}{owner}; fetch it again"


def _longer(stored: Stored, part: Path, have: str, need: int) -> str:
    return (
        f"{part}: {have}, but the header of {stored.header.name} describes {need}; correct its "
        "size, type or offset, or fetch it again"
    )


def _check_stream(stored: Stored, part: Path, need: int) -> None:
    """Unpack the voxels of a file and compare their length."""
    have = 0
    try:
        with open(part, "rb") as file:
            file.seek(max(0, stored.start))
            for size in _unpacked(file, stored.packed):
                have += size
                if have > need:
                    break
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(
            f"{part}: truncated or damaged after {have} of {need} unpacked bytes ({error}); "
            f"fetch it again (for {stored.header.name})"
        ) from None
    if have < need:
        raise ScanError(_truncated(stored, part, f"{have} unpacked bytes of {need}"))
    if have > need:
        raise ScanError(_longer(stored, part, "more unpacked bytes", need))


def _unpacked(file: BinaryIO, packed: str) -> Iterator[int]:
    """Lengths of the unpacked pieces of a stream; checksums are verified.

    Raises:
      EOFError: it ends early.
      OSError, zlib.error: it is damaged.
    """
    if packed == "zlib":
        stream = zlib.decompressobj(wbits=47)  # zlib or gzip
        while not stream.eof:
            piece = file.read(1 << 20)
            if not piece:
                yield len(stream.flush())  # what did not fit into the last piece
                if not stream.eof:
                    raise EOFError("the stream ends early")
            while piece and not stream.eof:
                yield len(stream.decompress(piece, _PIECE))
                piece = stream.unconsumed_tail
        return
    with gzip.GzipFile(fileobj=file) as unpacked:
        while piece := unpacked.read(_PIECE):
            yield len(piece)
