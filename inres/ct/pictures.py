"""Pictures (PNG, JPEG, BMP, TIFF): whole, upright, in grey or RGB.

SimpleITK fills the rest of a truncated JPEG or BMP, ignores the orientation of cameras and inverted
or printers' colours, shifts the bits of some PNG, reads some types of TIFF as another type, and
never ends with a TIFF whose pages are a ring. Such files are found here.
"""

import contextlib
import ctypes
import logging
import os
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from inres.ct.header import ScanError

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHERS = (b"\x89PNG", b"\xff\xd8\xff", b"BM")
_UNCHECKED = ("JPEG", "BMP")
"""Formats whose reader in SimpleITK does not report truncated files."""
_ORIENTATION, _UPRIGHT = 274, 1
_TURNED = range(2, 9)
_ASSOCIATED = 1
"""Kind of an extra sample of TIFF by which the colours were multiplied."""
_CORRUPT = (b"Corrupt JPEG", b"Premature end")
"""What SimpleITK prints of damage, before it makes up the rest."""
_OUTPUT = threading.Lock()
_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")
_PLAIN = {tifffile.PHOTOMETRIC(code) for code in (1, 2, 3, 6)}
"""Grey, RGB, palette and YCbCr, which SimpleITK converts to grey or RGB."""
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # the errors here say it


def check_picture(path: Path) -> np.dtype | None:
    """Refuse pictures that are truncated, turned, or in colours that are neither grey nor RGB.

    Returns:
      The type of the pixels, where SimpleITK may read another; None otherwise.

    Raises:
      ScanError: names the file and the remedy.
    """
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic in _TIFF:
        return _check_tiff(path)
    if magic.startswith(_OTHERS):
        _check_other(path)
    return None


def require_type(path: Path, stored: np.dtype | None, read: np.dtype) -> None:
    """Check that pixels were read in the type in which they are stored, if that is known.

    Raises:
      ScanError: they were not, so their values may differ.
    """
    if stored is not None and stored != read:
        raise ScanError(
            f"{path}: {stored} pixels, which cannot be read in this kind of TIFF; save it without "
            "tiles, in a common type such as int16 or float32"
        )


def _check_tiff(path: Path) -> np.dtype | None:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            orientation = page.tags.valueof(_ORIENTATION, _UPRIGHT)
            photometric, bits, dtype = page.photometric, page.bitspersample, page.dtype
            samples, extra = page.samplesperpixel, page.extrasamples
            _require_last_page(file)
    except Exception as error:  # of many kinds for damaged files
        raise ScanError(f"{path}: a damaged TIFF ({error}); fetch it again") from None
    _require_upright(path, orientation)
    if samples not in (1, 3, 4) or _ASSOCIATED in extra:
        raise ScanError(
            f"{path}: {samples} samples per pixel, with transparency or several channels; save it "
            "as grey or RGB without them"
        )
    if bits == 1:
        return None  # read as 0 and 255, whichever is black
    if photometric not in _PLAIN:
        name = getattr(photometric, "name", photometric)
        raise ScanError(
            f"{path}: photometric interpretation {name}; save it as grey where 0 is black, or RGB"
        )
    return None if photometric == tifffile.PHOTOMETRIC.PALETTE else dtype


def _require_last_page(file: tifffile.TiffFile) -> None:
    """Check that one of the pages is the last.

    Raises:
      ValueError: a page is followed by one before it.
    """
    offset, handle, seen = file.pages.first.offset, file.filehandle, set()
    form = file.tiff
    while offset:
        if offset in seen:
            raise ValueError("its pages are a ring")
        seen.add(offset)
        handle.seek(offset)
        (count,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
        handle.seek(offset + form.tagnosize + count * form.tagsize)
        (offset,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))


def _check_other(path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
                mode, transparent = image.mode, "transparency" in image.info
                frames = getattr(image, "n_frames", 1)
                if image.format == "PNG":
                    _require_all_bits(path)
                if image.format in _UNCHECKED:
                    image.load()
                if image.format == "JPEG":
                    _require_end(path.read_bytes())
    except UnidentifiedImageError:
        return  # SimpleITK says why
    except Image.DecompressionBombError as error:
        raise ScanError(f"{path}: no slice of a CT ({error}); remove it") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ScanError(f"{path}: truncated or damaged ({error}); fetch it again") from None
    _require_upright(path, orientation)
    if mode in _COLOURS:
        raise ScanError(f"{path}: colours in {mode}; save it as grey or RGB")
    if mode == "LA" or (transparent and mode in ("1", "L", "I", "I;16")):
        raise ScanError(f"{path}: grey with transparency; save it without")
    if frames > 1:
        raise ScanError(f"{path}: {frames} pictures in one file; save the one that is meant")


def _require_all_bits(path: Path) -> None:
    """Check that a PNG does not declare some of its bits as without meaning (sBIT).

    Raises:
      ValueError: it does: SimpleITK shifts them out.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        file.seek(8)
        depth = 0
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == b"IDAT":
                return
            content = file.read(min(size, 64))
            file.seek(size - len(content) + 4, os.SEEK_CUR)
            if kind == b"IHDR" and len(content) > 8:
                depth = content[8]
            if kind == b"sBIT" and min(content, default=depth) != depth:
                raise ValueError(
                    f"it declares {min(content)} of {depth} bits as significant (sBIT), by which "
                    "its values would be shifted; save it without that"
                )


@contextlib.contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Within this context, what SimpleITK prints of damage to the JPEG `path` is an error.

    Other output is held back for as long as that takes, also that of other threads.

    Raises:
      ScanError: it says that the file is damaged.
    """
    with open(path, "rb") as file:
        jpeg = file.read(3) == b"\xff\xd8\xff"
    if not jpeg:
        yield
        return
    wrong: list[str] = []
    with _OUTPUT, _held(1, wrong), _held(2, wrong):
        yield
    if wrong:
        raise ScanError(f"{path}: damaged ({wrong[0]}); fetch it again")


@contextlib.contextmanager
def _held(handle: int, wrong: list[str]) -> Iterator[None]:
    """Within this context, what is written to a file handle is held back.

    Then lines on damage to a JPEG join `wrong`, and all others are written.
    """
    try:
        before = os.dup(handle)
    except OSError:  # closed, as in some daemons
        yield
        return
    _flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), handle)
        try:
            yield
        finally:
            _flush()
            os.dup2(before, handle)
            os.close(before)
            held.seek(0)
            with open(handle, "wb", closefd=False) as out:
                for line in held:
                    if line.startswith(_CORRUPT):
                        wrong.append(line.decode(errors="replace").strip())
                    else:
                        out.write(line)


def _flush() -> None:
    """Write out what Python and C have not written yet."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def _require_end(jpeg: bytes) -> None:
    """Check that the last scan of a JPEG ends; decoders make up what its end lacks.

    Neither marker can occur within a scan.

    Raises:
      ValueError: it does not end.
    """
    if jpeg.rfind(b"\xff\xd9") < jpeg.rfind(b"\xff\xda"):
        raise ValueError("its end is missing")


def _require_upright(path: Path, orientation: object) -> None:
    if orientation in _TURNED:
        raise ScanError(
            f"{path}: its orientation tag is {orientation}, so it is to be turned or mirrored; "
            "save it upright, without that tag"
        )
