"""DICOM files of small synthetic scans, written by pydicom."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE = (12, 10)
"""Rows and columns."""
PIXEL_MM = (1.5, 0.75)
"""Distance of rows, then of columns."""
SERIES = "1.2.3"


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Random HU [count, rows, columns] from -1000 to 999."""
    return np.random.default_rng(seed).integers(-1000, 1000, (count, *SHAPE)).astype(np.int16)


def slices(hu, places, *, uid=SERIES, turn=(1, 0, 0, 0, 1, 0), **elements) -> list[Dataset]:
    """CT slices with these HU [N, rows, columns] at these places.

    Args:
      places: heights z, or positions x, y, z.
      uid: of the series.
      turn: ImageOrientationPatient.
      **elements: further elements of all slices; None removes one.
    """
    out = []
    for number, (plane, place) in enumerate(zip(hu, places, strict=True), start=1):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.Modality, dataset.PatientID, dataset.StudyDate = "CT", "p1", "20010203"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", uid
        dataset.InstanceNumber = number
        dataset.ImagePositionPatient = [-10, 20, place] if np.isscalar(place) else list(place)
        dataset.ImageOrientationPatient = list(turn)
        dataset.PixelSpacing, dataset.SliceThickness = list(PIXEL_MM), 2
        dataset.Rows, dataset.Columns = plane.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        store(dataset, plane.astype(int) + 1024)
        for name, value in elements.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        out.append(dataset)
    return out


def store(dataset, values, *, bits=16, signed=True, allocated=16) -> None:
    """Put stored values into a slice, in the low bits."""
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    raw = np.asarray(values, np.int64) & ((1 << allocated) - 1)
    dataset.PixelData = raw.astype(f"<u{allocated // 8}").tobytes()


def save(folder: Path, datasets, prefix="") -> Path:
    """Write slices into a folder, under names that are not in their order."""
    folder.mkdir(exist_ok=True, parents=True)
    for number, dataset in enumerate(datasets):
        name = f"{prefix}{(number * 7) % 23:02d}-{number}.dcm"
        dataset.save_as(folder / name, enforce_file_format=True)
    return folder


def enhanced(hu, heights, *, intercepts=-1024, uid=SERIES) -> Dataset:
    """One enhanced file with these HU [N, rows, columns], and an intercept for each frame."""
    intercepts = np.broadcast_to(intercepts, len(hu))
    dataset = slices(hu[:1], [0], uid=uid)[0]
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                 "SliceThickness", "RescaleSlope", "RescaleIntercept"):  # fmt: skip
        delattr(dataset, name)
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedCTImageStorage, len(hu)
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=list(PIXEL_MM), SliceThickness=2)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    )
    frames = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-10, 20, float(height)])],
            PixelValueTransformationSequence=[
                item(RescaleIntercept=int(intercept), RescaleSlope=1, RescaleType="HU")
            ],
        )
        for height, intercept in zip(heights, intercepts, strict=True)
    ]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    store(dataset, hu.astype(int) - intercepts[:, None, None])
    return dataset


def item(**elements) -> Dataset:
    """An item of a sequence."""
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset
