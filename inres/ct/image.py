"""A single grey image; the type of its pixels determines what their values mean."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from inres.ct import dicom
from inres.ct.formats import check_data_file
from inres.ct.header import ScanError, execute, image_format, information, require_there
from inres.ct.hu import measured
from inres.ct.pictures import check_picture, damage_reported, require_type

_PICTURES = {
    *("PNGImageIO", "JPEGImageIO", "JPEG2000ImageIO", "BMPImageIO", "TIFFImageIO", "LSMImageIO"),
    *("GDCMImageIO", ""),
}
"""SimpleITK's readers of files that are an image by themselves; empty: it says why it has none."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def read_image(path: str | Path) -> np.ndarray:
    """Read an image without scaling: grey [Y, X], or [Z, Y, X] if deeper.

    Formats are PNG, JPEG, BMP, TIFF, DICOM, and those of scans (`inres.ct.formats`).

    Colour becomes luminance (ITU-R 601), alpha is dropped. The dtype is that of the file; CT in
    DICOM becomes HU, int16.

    Raises:
      ScanError: no such file, not an image, or damaged.
    """
    path = Path(path)
    require_there(path)
    if path.is_dir():
        raise ScanError(f"{path}: a folder, not an image; give a file")
    try:
        if dicom.is_dicom(path) and (hu := dicom.read_image(path)) is not None:
            return hu[0] if len(hu) == 1 else hu
        described = check_data_file(path, deep=True)
        stored = check_picture(path) if described is None else None
    except OSError as error:
        raise ScanError(f"{path}: cannot be opened ({error.strerror})") from None
    if described is None and (found := image_format(path)) not in _PICTURES:
        raise ScanError(
            f"{path}: holds what {found.removesuffix('ImageIO')} reads, which is no format of "
            "pictures, or has another ending; convert it to PNG or TIFF"
        )
    reader = information(path)
    with damage_reported(path):
        image = execute(reader, path)
    pixels = sitk.GetArrayFromImage(image)
    require_type(path, stored, pixels.dtype)
    channels = image.GetNumberOfComponentsPerPixel()
    if channels > 1:
        colour = pixels[..., :3] if channels >= 3 else pixels[..., :1]
        weights = _GREY if channels >= 3 else np.ones(1, np.float32)
        grey = colour.astype(np.float32) @ weights
        whole = np.issubdtype(pixels.dtype, np.integer)
        pixels = (np.rint(grey) if whole else grey).astype(pixels.dtype)
    return pixels[0] if pixels.ndim == 3 and len(pixels) == 1 else pixels


def to_uint8(hu: np.ndarray, *, hu_min: float, hu_max: float) -> np.ndarray:
    """Window HU to 8 bits: `hu_min` and below is 0, `hu_max` and above 255. uint8, same shape.

    NaN counts as `hu_min`.
    """
    share = (np.nan_to_num(np.asarray(hu, np.float32), nan=hu_min) - hu_min) / (hu_max - hu_min)
    return np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_grey8(image: np.ndarray, *, hu_min: float, hu_max: float, name: str) -> np.ndarray:
    """An image as 8-bit grey, by what its type stands for. uint8, same shape.

    8-bit images are unchanged; unsigned 16-bit values are scaled from their full range; signed
    and floating values are Hounsfield units and are windowed.

    Raises:
      ScanError: an unsigned type with more bits, or int8, which cannot hold HU; names the image
        by `name`.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return np.rint(image / 257.0).astype(np.uint8)
    if np.issubdtype(image.dtype, np.unsignedinteger) or image.dtype == np.int8:
        raise ScanError(
            f"{name}: {image.dtype} pixels; convert them to 8 bits, or to signed HU (.mha, .nii.gz)"
        )
    return to_uint8(image, hu_min=hu_min, hu_max=hu_max)


def twelve_bits(low: float, high: float) -> str:
    """The problem of unsigned 16-bit pixels from `low` to `high` if they are 12-bit data, or "".

    A single dark image can look like 12-bit data, a whole set of images hardly. Padding
    (`inres.ct.hu.measured`) is not in the range.
    """
    if not 0 < high - low < 4096:
        return ""
    return (
        f"16-bit pixels from {low:g} to {high:g}, so 12-bit data with an unknown offset from HU "
        "(32768 in some sets); convert them to 8 bits, or to signed HU (.mha, .nii.gz)"
    )


def refuse_twelve_bits(image: np.ndarray, name: str) -> None:
    """Refuse a single image that looks like 12-bit data, since there is no set to compare it with.

    Raises:
      ScanError: as `twelve_bits` says; names the image by `name`.
    """
    if image.dtype != np.uint16:
        return
    known = measured(image)
    if wrong := twelve_bits(known.min(), known.max()):
        raise ScanError(f"{name}: {wrong}")
