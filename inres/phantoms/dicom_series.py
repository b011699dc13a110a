"""A synthetic scan as a folder of DICOM slices."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from inres.phantoms.scan import Scan
from inres.system import files

INTERCEPT = -1024
LEAST_HU = -1024
"""HU below are padding outside the field of view."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """What identifies a series."""

    patient: str
    series_uid: str
    study_uid: str
    study_date: str = "20000101"
    """YYYYMMDD."""
    kernel: str = "STANDARD"
    acquisition: int = 1
    """Number of the acquisition."""


def uid_of(*parts: object) -> str:
    """A DICOM UID under 2.25 (derived from a UUID) that is a function of `parts`."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def numbered(series: Series, number: int) -> str:
    """The file of a slice as TCIA names it, `number` counting from 1."""
    return f"{number:06d}.dcm"


def write_series(
    folder: Path,
    scan: Scan,
    series: Series,
    *,
    name: Callable[[Series, int], str] = numbered,
) -> None:
    """Write a scan as a DICOM series; the folder appears when it is complete.

    Slices are signed 16 bits with an intercept of -1024 and count from the head down, so that
    positions decrease with InstanceNumber. Values outside the field of view are declared as
    padding.

    Args:
      folder: the folder of the series, with nothing else in it.
      scan: the scan.
      series: its identity.
      name: the file name of a slice by its InstanceNumber.
    """
    with files.atomic_path(folder) as part:
        part.mkdir()
        for index in range(len(scan.hu)):
            number = len(scan.hu) - index
            slice_ = slice_dataset(scan, series, index=index, number=number)
            slice_.save_as(part / name(series, number), enforce_file_format=True)


def slice_dataset(scan: Scan, series: Series, *, index: int, number: int) -> FileDataset:
    """Slice `index` of the array as a data set with InstanceNumber `number`."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid_of(series.series_uid, number))
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Modality = "CT"
    data.PatientID, data.PatientName = series.patient, series.patient
    data.StudyDate = series.study_date
    data.StudyInstanceUID = UID(series.study_uid)
    data.SeriesInstanceUID = UID(series.series_uid)
    data.FrameOfReferenceUID = UID(uid_of(series.study_uid, "frame"))
    data.SeriesNumber, data.AcquisitionNumber, data.InstanceNumber = 1, series.acquisition, number
    data.ConvolutionKernel = series.kernel
    _add_geometry(data, scan, index)
    _add_pixels(data, scan.hu[index], padding=int(scan.hu.min()))
    return data


def _add_geometry(data: FileDataset, scan: Scan, index: int) -> None:
    direction = np.array(scan.direction).reshape(3, 3)
    dx, dy, dz = scan.spacing
    place = np.array(scan.origin) + index * dz * direction[:, 2]
    data.PatientPosition = "HFS"
    data.ImagePositionPatient = [f"{value:.6f}" for value in place]
    data.ImageOrientationPatient = [f"{value:g}" for value in direction[:, :2].T.ravel()]
    data.SliceLocation = f"{place[2]:.6f}"
    data.PixelSpacing = [f"{dy:.8f}", f"{dx:.8f}"]
    data.SliceThickness = f"{dz:g}"


def _add_pixels(data: FileDataset, hu: np.ndarray, *, padding: int) -> None:
    data.Rows, data.Columns = hu.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = str(INTERCEPT), "1", "HU"
    if padding < LEAST_HU:
        data.PixelPaddingValue = padding - INTERCEPT
    data.PixelData = (hu - np.int16(INTERCEPT)).astype("<i2").tobytes()
