"""Files that need far more memory or time than their length: refused before pydicom reads them.

pydicom makes an object of half a kilobyte of every item of a sequence, of which a file can have one
in eight bytes, some ten thousand a second. It inflates a deflated file as a whole, to up to a
thousand times its length.
"""

import re
import struct
import types
import zlib
from typing import BinaryIO

import pydicom.filereader

from inres.ct.dicom.elements import UnreadableError
from inres.system import memory

MOST_ITEMS = 1 << 17
"""Items of sequences in a file; an enhanced CT has about ten for each slice."""
_SHORTEST_ITEM = 8
"""Bytes."""
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of an item in either order of bytes."""
_COPIES = 4
"""Times that inflated bytes are held, at most."""
_PIECE = 1 << 22
_JPEG, _JPEG_2000, _JP2 = b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP  "
_HEAD = _JPEG_2000 + b"\xff\x51"
"""Before the size in JPEG 2000."""
_SIZES = {bytes([code]) for code in (*range(0xC0, 0xD0), 0xF7)} - {b"\xc4", b"\xc8", b"\xcc"}
"""Markers in a JPEG before which its size is not known."""
_ALONE = {bytes([code]) for code in (0x01, *range(0xD0, 0xD8))}
"""Markers in a JPEG that no length follows."""
UNKNOWN = 0, 0
"""The size of a frame whose decoder may find one that is not found here."""


def require_few_items(file: BinaryIO) -> None:
    """Check the number of items in a file, whose position moves to its start.

    Raises:
      UnreadableError: there are too many.
    """
    count, rest = 0, b""
    if file.seek(0, 2) > MOST_ITEMS * _SHORTEST_ITEM:
        file.seek(0)
        while piece := file.read(_PIECE):
            count += _items_in(rest + piece)
            rest = piece[-3:]
            _require_few(count)
    file.seek(0)


def _items_in(data: bytes) -> int:
    return sum(map(data.count, _ITEMS))


def _require_few(count: int) -> None:
    if count > MOST_ITEMS:
        raise UnreadableError(f"more than {MOST_ITEMS} items of sequences")


def inflated(data: bytes, wbits: int) -> bytes:
    """As `zlib.decompress`, within the memory that there is.

    Raises:
      UnreadableError: the result is too long, or has too many items of sequences.
    """
    free = memory.available_bytes()
    most = len(data) * 1100 if free is None else max(1, free // _COPIES)
    stream = zlib.decompressobj(wbits)
    found = stream.decompress(data, most)
    if stream.unconsumed_tail:
        raise UnreadableError(f"more than {most} bytes when it is inflated")
    found += stream.flush()  # what did not fit, which is little
    if not stream.eof:
        raise UnreadableError("the deflated data ends early")
    if len(found) > MOST_ITEMS * _SHORTEST_ITEM:
        _require_few(_items_in(found))
    return found


def stated_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a compressed frame states itself; None where it is of another kind.

    A decoder makes room for them, whatever the DICOM file says. JPEG, JPEG-LS and JPEG 2000, which
    may be in a JP2 file.
    """
    if frame.startswith(_JPEG):
        return _size_of_jpeg(frame)
    if frame.startswith(_JPEG_2000):
        return _size_of_jpeg_2000(frame, 0)
    if frame.startswith(_JP2):
        sizes = {_size_of_jpeg_2000(frame, at.start()) for at in re.finditer(_HEAD, frame)}
        return sizes.pop() if len(sizes) == 1 else UNKNOWN
    return None


def _size_of_jpeg(frame: bytes) -> tuple[int, int]:
    place = len(_JPEG)
    while frame[place : place + 1] == b"\xff":
        code = frame[place + 1 : place + 2]
        if code in _SIZES and len(frame) >= place + 9:
            rows, columns = struct.unpack(">2H", frame[place + 5 : place + 9])
            return rows, columns
        if code == b"\xff":  # any number of them may precede a marker
            place += 1
        elif code in _ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return UNKNOWN


def _size_of_jpeg_2000(frame: bytes, place: int) -> tuple[int, int]:
    head = frame[place : place + 24]
    if not head.startswith(_HEAD) or len(head) < 24:
        return UNKNOWN
    right, bottom, left, top = struct.unpack(">4I", head[8:])
    return bottom - top, right - left


# pydicom takes no limit. It uses nothing else of this module.
pydicom.filereader.zlib = types.SimpleNamespace(  # type: ignore[assignment]
    decompress=inflated, MAX_WBITS=zlib.MAX_WBITS, error=zlib.error
)
