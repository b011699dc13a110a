"""Pictures (PNG, JPEG, BMP, TIFF): whole, upright, in grey or RGB.

SimpleITK fills the rest of a truncated JPEG or BMP, ignores the orientation of cameras and inverted
or printers' colours, and reads some types of TIFF as another type. Such files are found here.
"""

import logging
import warnings
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
    except Exception as error:  # of many kinds for damaged files
        raise ScanError(f"{path}: a damaged TIFF ({error}); fetch it again") from None
    _require_upright(path, orientation)
    if bits == 1:
        return None  # read as 0 and 255, whichever is black
    if photometric not in _PLAIN:
        name = getattr(photometric, "name", photometric)
        raise ScanError(
            f"{path}: photometric interpretation {name}; save it as grey where 0 is black, or RGB"
        )
    return None if photometric == tifffile.PHOTOMETRIC.PALETTE else dtype


def _check_other(path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
                mode = image.mode
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


def _require_end(jpeg: bytes) -> None:
    """Check that the last scan of a JPEG ends; decoders make up what its end lacks.

    Neither marker can occur within a scan.

    Raises:
      ValueError: it does not end.
    """
    if jpeg.rfind(b"\xff\xd9") < jpeg.rfind(b"\xff\xda"):
        raise ValueError("its end is missing")


def _require_upright(path: Path, orientation: object) -> None:
    if orientation != _UPRIGHT:
        raise ScanError(
            f"{path}: its orientation tag is {orientation}, so it is to be turned or mirrored; "
            "save it upright, without that tag"
        )
