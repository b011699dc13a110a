"""One DICOM file: what it is, and its slices, read from the header alone.

Reading does not fail on the contents of a file. A slice that lacks what HU or positions need
carries its problem, which is an error only where the slice is used.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from inres.ct.dicom.elements import (
    UnreadableError,
    described,
    has,
    number,
    numbers,
    text,
    whole,
)

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image",
}
"""SOP classes of CT images (PS3.4, B.5)."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP class and, with further components, its multi-frame classes."""
_DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of DICOMDIR, which lists other files."""
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Uncompressed: implicit, explicit and big-endian."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE0, 0x0010)

TAGS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate"),
    *("Modality", "SeriesDescription", "PatientID", "SliceThickness", "GantryDetectorTilt"),
    "ReconstructionDiameter",
    *("ConvolutionKernel", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient"),
    *("TemporalPositionIdentifier", "SamplesPerPixel", "PhotometricInterpretation"),
    *("NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""The elements that are read of each file."""


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

    @property
    def deflated(self) -> bool:
        """Whether the whole data set is compressed."""
        return self.syntax == _DEFLATED

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """One image of a file: a classic file has one, a multi-frame file many."""

    path: Path
    frame: int
    """From 0."""
    sop_uid: str
    position_mm: tuple[float, ...]
    """x, y, z of the centre of the first pixel (LPS)."""
    orientation: tuple[float, ...]
    """Directions along a row, then down a column, six numbers."""
    pixel_mm: tuple[float, ...]
    """Distance of rows, then of columns."""
    thickness_mm: float
    """SliceThickness; NaN where unknown."""
    instance: int | None
    """InstanceNumber, or the number of the frame."""
    part: tuple[int, int]
    """Acquisition number and temporal position, 0 where unknown. Slices that differ in it may show
    the same place twice."""
    tilt_degrees: float
    """GantryDetectorTilt; NaN where unknown."""
    diameter_mm: float
    """ReconstructionDiameter; NaN where unknown."""
    scout: bool
    slope: float | None
    """RescaleSlope; None where missing."""
    intercept: float | None
    """RescaleIntercept; None where missing."""
    padding: tuple[int, int] | None
    """Stored values that are no measurement, as the two ends of a range of unsigned numbers."""
    pixels: Pixels
    value_problem: str
    """Why its HU are unknown; empty where they are known."""
    place_problem: str
    """Why its position is unknown; empty where it is known."""

    @property
    def problem(self) -> str:
        """Why HU or position are unknown; empty where both are known."""
        return self.value_problem or self.place_problem

    @property
    def name(self) -> str:
        """File name, with the number of the frame (from 1) of a multi-frame file."""
        many = self.pixels.frames > 1
        return f"{self.path.name}, frame {self.frame + 1}" if many else self.path.name

    @property
    def layout(self) -> tuple[float, ...]:
        """Rows, columns and pixel size: equal for all slices of a volume."""
        size = (self.pixels.rows, self.pixels.columns)
        return (*size, *(round(mm, 4) for mm in self.pixel_mm))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    """One DICOM file."""

    path: Path
    sop_class: str
    modality: str
    series_uid: str
    study_uid: str
    patient: str
    study_date: str
    description: str
    kernel: str
    image_type: tuple[str, ...]
    slices: tuple[Slice, ...]
    """Empty unless the file holds pixels that may be CT."""

    @property
    def kind(self) -> str:
        """What the file is, in words."""
        name = CT_CLASSES.get(self.sop_class) or _uid(self.sop_class).name or "of unknown class"
        return f"{name.removesuffix(' Storage')} (modality {self.modality or 'unknown'})"


def is_dicom(path: Path) -> bool:
    """Whether a file begins like DICOM.

    Raises:
      OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        return _looks_like_dicom(file.read(132))


def read_instance(path: Path) -> Instance | None:
    """What a file says of itself; None if it is not DICOM, or only a directory of such files.

    Call it within `quiet`.

    Raises:
      UnreadableError: it begins like DICOM, but its header cannot be read.
      OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        if not _looks_like_dicom(file.read(132)):
            return None
        file.seek(0)
        try:
            dataset = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=list(TAGS)
            )
            return _instance(path, dataset, file)
        except OSError:
            raise
        except Exception as error:  # pydicom raises whatever its parsers meet
            raise UnreadableError(str(error)) from None


def _uid(value: str) -> UID:
    """A UID, without a warning if it cannot be one."""
    return UID(value, validation_mode=pydicom.config.IGNORE)


def _looks_like_dicom(head: bytes) -> bool:
    if head[128:132] == b"DICM":
        return True
    # Files of old archives have no preamble and begin with a tag (0002,00xx) or (0008,00xx).
    return len(head) == 132 and head[:2] in (b"\2\0", b"\10\0") and head[3] == 0


def _instance(path: Path, dataset: Dataset, file: BinaryIO) -> Instance | None:
    """As `read_instance`, of a file whose header was read."""
    meta = getattr(dataset, "file_meta", Dataset())
    levels = [dataset]
    sop_class = text(levels, "SOPClassUID") or text([meta], "MediaStorageSOPClassUID")
    modality = text(levels, "Modality")
    if not sop_class and not modality:
        raise UnreadableError("neither SOPClassUID nor Modality")
    if sop_class == _DIRECTORY:
        return None
    image_type = tuple(text(levels, "ImageType").upper().split("\\"))
    pictures = sop_class in CT_CLASSES or sop_class.startswith(SECONDARY_CAPTURE) or not sop_class
    ours = pictures and modality in ("CT", "")
    slices = tuple(_slices(path, dataset, meta, file)) if ours else ()
    inner = _frame_levels(dataset, 0) if slices else levels
    return Instance(
        path=path,
        sop_class=sop_class,
        modality=modality,
        series_uid=text(levels, "SeriesInstanceUID"),
        study_uid=text(levels, "StudyInstanceUID"),
        patient=text(levels, "PatientID"),
        study_date=text(levels, "StudyDate"),
        description=text(levels, "SeriesDescription"),
        kernel=text(inner, "ConvolutionKernel"),
        image_type=image_type,
        slices=slices,
    )


def _slices(path: Path, dataset: Dataset, meta: Dataset, file: BinaryIO) -> Iterator[Slice]:
    pixels, problem = _pixels(dataset, meta, file)
    grouped = has([dataset], "PerFrameFunctionalGroupsSequence")
    if pixels.frames > 1 and not grouped:
        problem = problem or (
            f"{pixels.frames} frames without a position for each; convert it to enhanced CT or to "
            "one file for each slice"
        )
    count = pixels.frames if grouped else 1
    for frame in range(count):
        levels = _frame_levels(dataset, frame)
        yield _slice(path, frame, levels, pixels, problem, grouped=grouped)


def _frame_levels(dataset: Dataset, frame: int) -> list[Dataset]:
    """The data sets that describe a frame, the most specific first."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    groups = [*per_frame[frame : frame + 1], *shared[:1]]
    inner = [
        element.value[0]
        for group in groups
        for element in group
        if element.VR == "SQ" and element.value
    ]
    return [*inner, dataset]


def _slice(
    path: Path,
    frame: int,
    levels: Sequence[Dataset],
    pixels: Pixels,
    problem: str,
    *,
    grouped: bool,
) -> Slice:
    value_problems, place_problems = [problem], [""]

    def known(keyword: str, count: int) -> tuple[float, ...]:
        """As many numbers, or none and a problem."""
        try:
            found = numbers(levels, keyword)
        except UnreadableError as error:
            place_problems.append(f"{error}, not {count} numbers; correct it")
            return ()
        if len(found) != count:
            what = f"has {len(found)} numbers instead of {count}" if found else "is missing"
            place_problems.append(f"{described(keyword)} {what}; {_REMEDY[keyword]}")
            return ()
        return found

    def optional(keyword: str) -> float | None:
        try:
            return number(levels, keyword)
        except UnreadableError as error:
            value_problems.append(f"{error}, not a number; correct it")
            return None

    position = known("ImagePositionPatient", 3)
    orientation = known("ImageOrientationPatient", 6)
    pixel_mm = known("PixelSpacing", 2)
    if pixel_mm and min(pixel_mm) <= 0:
        place_problems.append(f"{described('PixelSpacing')} is {pixel_mm}, not above 0; correct it")
    if orientation and not _is_rotation(orientation):
        place_problems.append(
            f"{described('ImageOrientationPatient')} is {orientation}, not two perpendicular "
            "directions of length 1; correct it"
        )
        orientation = ()
    if has(levels, "ModalityLUTSequence"):
        value_problems.append(
            f"values by a table, {described('ModalityLUTSequence')}, which is not supported; "
            "convert the series to .nii.gz or .mha"
        )
    kind = text(levels, "RescaleType").upper()
    if kind not in ("", "HU", "US"):
        value_problems.append(f"{described('RescaleType')} is {kind!r}: its values are not HU")
    slope, intercept = optional("RescaleSlope"), optional("RescaleIntercept")
    types = (text(levels, "FrameType") or text(levels, "ImageType")).upper().split("\\")
    acquisition, time = (
        ("FrameAcquisitionNumber", "TemporalPositionIndex")
        if grouped
        else ("AcquisitionNumber", "TemporalPositionIdentifier")
    )
    padding, limit = whole(levels, "PixelPaddingValue"), whole(levels, "PixelPaddingRangeLimit")
    return Slice(
        path=path,
        frame=frame,
        sop_uid=text(levels, "SOPInstanceUID"),
        position_mm=position,
        orientation=orientation,
        pixel_mm=pixel_mm,
        thickness_mm=_or_nan(levels, "SliceThickness"),
        instance=frame + 1 if grouped else whole(levels, "InstanceNumber"),
        part=(whole(levels, acquisition) or 0, whole(levels, time) or 0),
        tilt_degrees=_or_nan(levels, "GantryDetectorTilt"),
        diameter_mm=_or_nan(levels, "ReconstructionDiameter"),
        scout="LOCALIZER" in types,
        slope=slope,
        intercept=intercept,
        padding=None if padding is None else (padding, padding if limit is None else limit),
        pixels=pixels,
        value_problem=next(filter(None, value_problems), ""),
        place_problem=next(filter(None, place_problems), ""),
    )


_REMEDY = {
    "ImagePositionPatient": "without it the place of a slice is unknown; export the series again "
    "with it (anonymisers can remove it), or convert the original to .nii.gz or .mha",
    "ImageOrientationPatient": "without it the direction of a slice is unknown; export the series "
    "again with it (anonymisers can remove it), or convert the original to .nii.gz or .mha",
    "PixelSpacing": "without it the size of a pixel is unknown; export the series again with it "
    "(anonymisers can remove it), or convert the original to .nii.gz or .mha",
}


def _or_nan(levels: Sequence[Dataset], keyword: str) -> float:
    """A number that nothing depends on; NaN if it is missing or none."""
    try:
        found = number(levels, keyword)
    except UnreadableError:
        return math.nan
    return math.nan if found is None else found


def _is_rotation(orientation: Sequence[float]) -> bool:
    """Whether six numbers are two perpendicular directions, to within rounding."""
    row, column = orientation[:3], orientation[3:]
    lengths = [math.hypot(*row), math.hypot(*column)]
    product = sum(a * b for a, b in zip(row, column, strict=True))
    return all(abs(length - 1) < 0.01 for length in lengths) and abs(product) < 0.01


def _pixels(dataset: Dataset, meta: Dataset, file: BinaryIO) -> tuple[Pixels, str]:
    """How and where the pixels are stored, and the problem with them, if any."""
    levels = [dataset]
    rows, columns = whole(levels, "Rows") or 0, whole(levels, "Columns") or 0
    allocated = whole(levels, "BitsAllocated") or 0
    stored = whole(levels, "BitsStored") or 0
    high = whole(levels, "HighBit")
    frames = whole(levels, "NumberOfFrames") or 1
    photometric = text(levels, "PhotometricInterpretation").upper()
    encoding = getattr(dataset, "original_encoding", (False, True))
    syntax = _uid(text([meta], "TransferSyntaxUID") or _default_syntax(*encoding))
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


def unsupported(syntax: UID) -> str:
    """The problem of a transfer syntax that cannot be read."""
    return (
        f"its transfer syntax, {syntax.name} ({syntax}), is not supported; convert the files with "
        "`gdcmconv --raw IN OUT` (GDCM) or `dcmdjpeg IN OUT` (DCMTK)"
    )


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
