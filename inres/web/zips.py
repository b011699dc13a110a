"""Zip archives from strangers: unpacked within limits, or refused."""

import contextlib
import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from inres.web.names import Names, RefusedName

_PIECE = 1 << 20
_HEADER = 30
"""Bytes of the fixed part of the header before the contents of an entry."""
_LARGEST_READ = 1 << 22
"""Bytes of the list of entries, at most: more than 5,000 entries with long names have."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError),
    *(IndexError, OverflowError, UnicodeDecodeError),
)
"""What `zipfile` raises for damaged archives, such as for an entry without a name."""
_PACKED = (b"PK\3\4", b"PK\5\6", b"PK\7\x08", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
"""How archives begin. Of compressed scans, those by gzip are no archives."""


class ZipError(ValueError):
    """A zip archive is refused; the message names the entry and what to do."""


class _Limited:
    """A file that refuses reads for which `zipfile` would need much memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _LARGEST_READ:
            raise ZipError("the zip archive lists too many entries; leave some out")
        return self._file.read(size)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def is_zip(path: Path) -> bool:
    """Whether a file begins like a zip archive."""
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6")


def unpacked_bytes(path: Path, *, most_files: int, most_bytes: int) -> int:
    """Bytes of the files of a zip archive, as it states them; errors as in `unzip`."""
    with _opened(path) as (archive, file):
        entries = _checked(archive, file, most_files=most_files, most_bytes=most_bytes)
        return sum(entry.file_size for entry in entries)


def unzip(
    path: Path,
    folder: Path,
    *,
    most_files: int,
    most_bytes: int,
    proceed: Callable[[], None] = lambda: None,
) -> None:
    """Unpack the files of a zip archive into an empty folder.

    Nothing is written outside of `folder`, and never more than the limits: the lengths that the
    archive states are checked first, and the unpacked bytes are counted.

    Args:
      path: the archive.
      folder: an existing folder.
      most_files: files in it, at most.
      most_bytes: unpacked bytes, at most.
      proceed: is called again and again; its exceptions end the work.

    Raises:
      ZipError: it is damaged, encrypted, too large, or has an entry that no scan needs.
      OSError: the disk is full.
    """
    with _opened(path) as (archive, file):
        entries = _checked(archive, file, most_files=most_files, most_bytes=most_bytes)
        left = most_bytes
        for entry, target in entries.items():
            left -= _extract(archive, entry, folder / target, left, proceed)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, BinaryIO]]:
    """A zip archive and its file; damage that is found within this context is a ZipError."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(cast(IO[bytes], _Limited(file))) as archive:
                yield archive, file
        except (*_DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # an impossible offset
                raise
            raise ZipError(f"the zip archive is damaged ({error}); make it again") from None


def _checked(
    archive: zipfile.ZipFile, file: BinaryIO, *, most_files: int, most_bytes: int
) -> dict[zipfile.ZipInfo, Path]:
    """The entries that are files, and where each belongs.

    Raises:
      ZipError: one is refused, or they are too many or too large.
    """
    names, found = Names(), {}
    for entry in archive.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        shown = f"the zip archive's entry {entry.filename[:100]!r}"
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a link" if kind == stat.S_IFLNK else "a device or pipe"
            raise ZipError(f"{shown} is {what}; leave it out")
        if entry.flag_bits & 0x2041:  # encrypted, strongly encrypted, masked headers
            raise ZipError(f"{shown} is encrypted; make the archive again without a password")
        if entry.compress_type not in _METHODS:
            raise ZipError(f"{shown} is not compressed by DEFLATE; make the archive again")
        # `ZipInfo` has already cut a name at a 0 byte.
        if "\0" in entry.orig_filename:
            raise ZipError(f"{shown} has a 0 byte in its name; make the archive again")
        try:
            target = names.add(entry.filename, folder=entry.is_dir() or kind == stat.S_IFDIR)
        except RefusedName as error:
            raise ZipError(f"in the zip archive, {error}") from None
        if target is not None:
            found[entry] = target
    if len(found) > most_files:
        raise ZipError(
            f"the zip archive has {len(found)} files, more than {most_files}; leave some out"
        )
    if sum(entry.file_size for entry in found) > most_bytes:
        raise ZipError(
            f"the zip archive has more than {most_bytes / 1e9:.3g} GB when it is unpacked; leave "
            "some out"
        )
    _refuse_overlaps(archive, file)
    return found


def _refuse_overlaps(archive: zipfile.ZipFile, file: BinaryIO) -> None:
    """Refuse entries that share compressed bytes, with which a small archive becomes huge.

    Raises:
      ZipError: two entries overlap.
    """
    end = 0
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        file.seek(entry.header_offset)
        head = file.read(_HEADER)
        if entry.header_offset < end or len(head) < _HEADER:
            raise ZipError(
                f"the zip archive's entry {entry.filename[:100]!r} overlaps another; make it again"
            )
        name, extra = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
        end = entry.header_offset + _HEADER + name + extra + entry.compress_size


def _extract(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    target: Path,
    most_bytes: int,
    proceed: Callable[[], None],
) -> int:
    """Write one file; its number of bytes.

    Raises:
      ZipError: it is itself an archive, or has more bytes than stated or allowed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with archive.open(entry) as packed, open(target, "xb") as out:
            while piece := _piece(packed):
                proceed()
                if not written and piece.startswith(_PACKED):
                    raise ZipError(
                        f"the zip archive's entry {entry.filename[:100]!r} is an archive too; "
                        "unpack it first"
                    )
                written += len(piece)
                if written > min(most_bytes, entry.file_size):
                    raise ZipError(
                        f"the zip archive's entry {entry.filename[:100]!r} is longer than it says; "
                        "make the archive again"
                    )
                out.write(piece)
    except RuntimeError as error:  # of zipfile, where a password is needed
        raise ZipError(f"the zip archive cannot be unpacked ({error})") from None
    return written


def _piece(packed: IO[bytes]) -> bytes:
    return packed.read(_PIECE)
