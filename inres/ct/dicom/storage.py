"""How and where a DICOM file stores its pixels, found without reading them."""

import dataclasses
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from inres.ct.dicom.elements import text, whole

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Uncompressed: implicit, explicit and big-endian."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE0, 0x0010)
PIXEL_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
"""The elements that describe pixels."""
OVERLAY_BIT = 0x60000102
"""Tag of OverlayBitPosition of the first overlay; it has no keyword that stands for one tag."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """Where a file holds its pixels, and how they are stored."""

    syntax: UID
    offset: int
    """Position of the first byte in the file; unknown, 0, in a deflated file."""
    length: int
    """Bytes; -1 where the pixels are encapsulated or deflated."""
    little_endian: bool
    frames: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    inverted: bool
    """MONOCHROME1: displayed inverted, which does not change the values."""
    overlay_bit: int = 0
    """The bit outside of the values in which an overlay is declared; 0 where none is."""

    @property
    def deflated(self) -> bool:
        """Whether the whole data set is compressed."""
        return self.syntax == _DEFLATED

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8


def uid(value: str) -> UID:
    """A UID, without a warning if it cannot be one."""
    return UID(value, validation_mode=pydicom.config.IGNORE)


def storage_of(dataset: Dataset, meta: Dataset, file: BinaryIO) -> tuple[Pixels, str]:
    """How and where the pixels are stored, and the problem with them, empty if there is none.

    Args:
      dataset, meta: the header and its meta information.
      file: at the position after the header.
    """
    levels = [dataset]
    rows, columns = whole(levels, "Rows") or 0, whole(levels, "Columns") or 0
    allocated = whole(levels, "BitsAllocated") or 0
    stored = whole(levels, "BitsStored") or 0
    high = whole(levels, "HighBit")
    frames = whole(levels, "NumberOfFrames") or 1
    photometric = text(levels, "PhotometricInterpretation").upper()
    encoding = getattr(dataset, "original_encoding", (False, True))
    syntax = uid(text([meta], "TransferSyntaxUID") or _default_syntax(*encoding))
    start = file.tell()
    pixels = Pixels(
        syntax=syntax,
        offset=0,
        length=-1,
        little_endian=bool(encoding[1]),
        frames=frames,
        rows=rows,
        columns=columns,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else high,
        signed=whole(levels, "PixelRepresentation") == 1,
        inverted=photometric == "MONOCHROME1",
        overlay_bit=_overlay_bit(dataset),
    )
    problem = _layout_problem(pixels, whole(levels, "SamplesPerPixel") or 1, photometric)
    if problem or pixels.deflated:
        return pixels, problem
    file.seek(0, 2)
    end = file.tell()
    file.seek(start)
    tag, length = _element(file, implicit=bool(encoding[0]), little_endian=bool(encoding[1]))
    offset = file.tell()
    if tag != _PIXEL_DATA:
        what = "no pixel data" if tag is None else "pixels that are not whole numbers"
        return pixels, f"{what}; export the series again"
    if length == _UNDEFINED:
        return dataclasses.replace(pixels, offset=offset), ""  # encapsulated
    pixels = dataclasses.replace(pixels, offset=offset, length=length)
    return pixels, _length_problem(pixels, min(length, end - offset))


def _overlay_bit(dataset: Dataset) -> int:
    try:
        return int(dataset[OVERLAY_BIT].value or 0)
    except (KeyError, ValueError, TypeError):
        return 0


def unsupported(syntax: UID) -> str:
    """The problem of a transfer syntax that cannot be read."""
    return (
        f"its transfer syntax, {syntax.name} ({syntax}), is not supported; convert the files with "
        "`gdcmconv --raw IN OUT` (GDCM) or `dcmdjpeg IN OUT` (DCMTK)"
    )


def _layout_problem(pixels: Pixels, samples: int, photometric: str) -> str:
    allocated, stored, high = pixels.bits_allocated, pixels.bits_stored, pixels.high_bit
    if not pixels.rows or not pixels.columns or pixels.frames < 1:
        return "Rows and Columns are missing: no image, or truncated; fetch it again"
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2", ""):
        return f"{samples} sample(s) of {photometric} for each pixel, not a CT in grey"
    if allocated not in (8, 16, 32) or not 0 < stored <= high + 1 <= allocated:
        return (
            f"bits {allocated} allocated, {stored} stored, highest {high}; must be 8, 16 or 32 "
            "with the stored ones inside; correct the header"
        )
    return ""


def _length_problem(pixels: Pixels, have: int) -> str:
    """The problem of pixels that are not encapsulated, of which the file has so many bytes."""
    if pixels.syntax not in _NATIVE:
        return unsupported(pixels.syntax)
    need = pixels.frames * pixels.frame_bytes
    if have < need:
        return f"truncated, {have} bytes of pixels instead of {need}; fetch it again"
    if pixels.length >= need + pixels.columns:
        return (
            f"{pixels.length} bytes of pixels, but {pixels.rows} rows and {pixels.columns} columns "
            f"of {pixels.bits_allocated} bits are {need}; correct the header"
        )
    return ""


def _default_syntax(implicit: bool | None, little_endian: bool | None) -> str:
    """The syntax of a file that does not name it."""
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little_endian else "1.2.840.10008.1.2.2"


def _element(
    file: BinaryIO, *, implicit: bool, little_endian: bool
) -> tuple[tuple[int, int] | None, int]:
    """Tag and length of the element at the file's position, which moves to its value."""
    head = file.read(8)
    if len(head) < 8:
        return None, 0
    order = "little" if little_endian else "big"
    group, element = (int.from_bytes(head[i : i + 2], order) for i in (0, 2))  # type: ignore[arg-type]
    if implicit:
        length = int.from_bytes(head[4:], order)  # type: ignore[arg-type]
    elif head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN", b"OL"):
        length = int.from_bytes(file.read(4), order)  # type: ignore[arg-type]
    else:
        length = int.from_bytes(head[6:], order)  # type: ignore[arg-type]
    return (group, element), length
