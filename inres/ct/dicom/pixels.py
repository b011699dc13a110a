"""Stored values of slices, before slope and intercept.

Uncompressed pixels are read as they lie in the file. Compressed ones are decoded by SimpleITK
(GDCM), from a file that holds nothing but the pixels: from the original, GDCM would also apply
what it makes of slope, intercept and MONOCHROME1.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames

from inres.ct.dicom import limits
from inres.ct.dicom.folder import quiet
from inres.ct.dicom.instance import CT_CLASSES
from inres.ct.dicom.slices import Slice
from inres.ct.dicom.storage import Pixels, unsupported
from inres.ct.header import ScanError


def stored_values(slices: Iterable[Slice]) -> Iterator[tuple[Slice, np.ndarray]]:
    """Each slice with its stored values, [rows, columns] of an integer type, as allocated.

    Bits that do not belong to the value (overlays) are still in it.

    Raises:
      ScanError: pixels are truncated, damaged or of a syntax that is not supported.
    """
    for path, of_file in groupby(slices, key=lambda s: s.path):
        wanted = list(of_file)
        pixels = wanted[0].pixels
        if pixels.length >= 0:
            frames: Iterable[np.ndarray] = (_native(path, pixels, s.frame) for s in wanted)
        elif pixels.deflated:
            whole = _inflated(path, pixels)
            frames = (whole[s.frame] for s in wanted)
        else:
            frames = _decoded(path, pixels, [s.frame for s in wanted])
        yield from zip(wanted, frames, strict=True)


def _dtype(pixels: Pixels) -> np.dtype:
    order = "<" if pixels.little_endian else ">"
    return np.dtype(f"{order}u{pixels.bits_allocated // 8}")


def _native(path: Path, pixels: Pixels, frame: int) -> np.ndarray:
    count = pixels.rows * pixels.columns
    start = pixels.offset + frame * pixels.frame_bytes
    try:
        values = np.fromfile(path, _dtype(pixels), count, offset=start)
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(values) < count:
        raise ScanError(f"{path}: truncated; fetch it again")
    return values.reshape(pixels.rows, pixels.columns).astype(
        values.dtype.newbyteorder("="), copy=False
    )


def _inflated(path: Path, pixels: Pixels) -> np.ndarray:
    """All frames of a deflated file, [frames, rows, columns]."""
    need = pixels.frames * pixels.frame_bytes
    try:
        with quiet():
            data = bytes(pydicom.dcmread(path, force=True).get("PixelData", b""))
    except Exception as error:  # pydicom raises whatever its parsers meet
        raise ScanError(f"{path}: truncated or damaged ({error}); fetch it again") from None
    if len(data) < need:
        raise ScanError(
            f"{path}: truncated, {len(data)} bytes of pixels instead of {need}; fetch it again"
        )
    values = np.frombuffer(data[:need], _dtype(pixels))
    return values.reshape(pixels.frames, pixels.rows, pixels.columns)


def _decoded(path: Path, pixels: Pixels, frames: list[int]) -> Iterator[np.ndarray]:
    """Frames of encapsulated pixels, decoded one by one."""
    try:
        with open(path, "rb") as file:
            file.seek(pixels.offset)
            data = file.read()
        _require_complete(data)
        found = list(generate_frames(data, number_of_frames=pixels.frames))
    except (OSError, ValueError, EOFError, TypeError, IndexError) as error:
        raise ScanError(f"{path}: truncated or damaged pixels ({error}); fetch it again") from None
    for frame in frames:
        if frame >= len(found):
            raise ScanError(f"{path}: truncated, no frame {frame + 1}; fetch it again")
        yield _decoded_frame(path, pixels, found[frame])


def _require_complete(data: bytes) -> None:
    """Refuse encapsulated pixels whose last item ends after the data does.

    Raises:
      EOFError: they do.
    """
    place = 0
    while data[place : place + 4] == b"\xfe\xff\x00\xe0":
        place += 8 + int.from_bytes(data[place + 4 : place + 8], "little")
    if place > len(data):
        raise EOFError(f"{place - len(data)} bytes are missing")


def _decoded_frame(path: Path, pixels: Pixels, frame: bytes) -> np.ndarray:
    """One frame, decoded from a file with nothing but its pixels.

    The file is in memory alone, so that nothing of a patient is left behind, however this ends.
    """
    if limits.stated_size(frame) not in (None, (pixels.rows, pixels.columns)):
        raise ScanError(_not_decoded(path, pixels))
    with open(os.memfd_create("frame.dcm"), "w+b") as part:
        try:
            with quiet():
                _pixels_alone(pixels, frame).save_as(part, enforce_file_format=True)
            part.flush()
            name = f"/proc/self/fd/{part.fileno()}"
            values = sitk.GetArrayFromImage(sitk.ReadImage(name, imageIO="GDCMImageIO"))
        except (ValueError, RuntimeError):  # ValueError: not a transfer syntax that pydicom knows
            raise ScanError(_not_decoded(path, pixels)) from None
    shape = (pixels.rows, pixels.columns)
    fits = values.dtype.kind in "iu" and 8 * values.dtype.itemsize >= pixels.bits_stored
    if values.size != pixels.rows * pixels.columns or not fits:
        raise ScanError(_not_decoded(path, pixels))
    return values.reshape(shape).astype(f"u{pixels.bits_allocated // 8}")


def _pixels_alone(pixels: Pixels, frame: bytes) -> Dataset:
    """A CT image of one encapsulated frame, without rescale."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pixels.syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = next(iter(CT_CLASSES)), _UID
    dataset.Modality = "CT"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.rows, pixels.columns
    dataset.BitsAllocated, dataset.BitsStored = pixels.bits_allocated, pixels.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = pixels.high_bit, int(pixels.signed)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _not_decoded(path: Path, pixels: Pixels) -> str:
    return f"{path}: its pixels cannot be decoded: damaged, or {unsupported(pixels.syntax)}"


_UID = "1.2.826.0.1.3680043.8.498.1"
"""A valid UID for a file that is read once."""
