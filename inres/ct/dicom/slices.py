"""One CT slice: its place, its rescale, and what is wrong with them, from the header alone."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from inres.ct.dicom.elements import (
    UnreadableError,
    described,
    has,
    number,
    numbers,
    text,
    whole,
)
from inres.ct.dicom.storage import Pixels
from inres.system.messages import printable

SLICE_TAGS = (
    *("ImageType", "SOPInstanceUID", "SliceThickness", "SpacingBetweenSlices"),
    *("GantryDetectorTilt",),
    *("ReconstructionDiameter", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope"),
    *("RescaleType", "ModalityLUTSequence"),
)
"""The elements that describe a slice."""
_AGAIN = (
    "export the series again with it (anonymisers can remove it), or convert the original to "
    ".nii.gz or .mha"
)
_WITHOUT = {
    "ImagePositionPatient": "the place of a slice is unknown",
    "ImageOrientationPatient": "the direction of a slice is unknown",
    "PixelSpacing": "the size of a pixel is unknown",
}


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
    between_mm: float
    """SpacingBetweenSlices; NaN where unknown."""
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
        name = printable(self.path.name)
        return f"{name}, frame {self.frame + 1}" if self.pixels.frames > 1 else name

    @property
    def layout(self) -> tuple[float, ...]:
        """Rows, columns and pixel size: equal for all slices of a volume."""
        size = (self.pixels.rows, self.pixels.columns)
        return (*size, *(round(mm, 4) for mm in self.pixel_mm))


def slice_of(
    path: Path,
    frame: int,
    levels: Sequence[Dataset],
    pixels: Pixels,
    *,
    problem: str,
    multi_frame: bool,
) -> Slice:
    """The slice that these data sets describe, the most specific first.

    Args:
      path, frame: where it is.
      levels: the data sets.
      pixels: how they are stored.
      problem: with its pixels, or empty.
      multi_frame: whether it is described by functional groups.
    """
    place, place_problem = _place(levels)
    (slope, intercept), value_problem = _rescale(levels)
    types = (text(levels, "FrameType") or text(levels, "ImageType")).upper().split("\\")
    parts = ("AcquisitionNumber", "TemporalPositionIdentifier")
    if multi_frame:
        parts = ("FrameAcquisitionNumber", "TemporalPositionIndex")
    padding, limit = whole(levels, "PixelPaddingValue"), whole(levels, "PixelPaddingRangeLimit")
    return Slice(
        path=path,
        frame=frame,
        sop_uid=text(levels, "SOPInstanceUID"),
        position_mm=place["ImagePositionPatient"],
        orientation=place["ImageOrientationPatient"],
        pixel_mm=place["PixelSpacing"],
        thickness_mm=_or_nan(levels, "SliceThickness"),
        between_mm=_or_nan(levels, "SpacingBetweenSlices"),
        instance=frame + 1 if multi_frame else whole(levels, "InstanceNumber"),
        part=(whole(levels, parts[0]) or 0, whole(levels, parts[1]) or 0),
        tilt_degrees=_or_nan(levels, "GantryDetectorTilt"),
        diameter_mm=_or_nan(levels, "ReconstructionDiameter"),
        scout="LOCALIZER" in types,
        slope=slope,
        intercept=intercept,
        padding=None if padding is None else (padding, padding if limit is None else limit),
        pixels=pixels,
        value_problem=problem or value_problem,
        place_problem=place_problem,
    )


def _place(levels: Sequence[Dataset]) -> tuple[dict[str, tuple[float, ...]], str]:
    """Position, orientation and pixel size, each empty if unknown, and the first problem."""
    place: dict[str, tuple[float, ...]] = {}
    problems = []
    counts = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    for keyword, count in counts.items():
        place[keyword], problem = _vector(levels, keyword, count)
        if problem:
            problems.append(problem)
    return place, problems[0] if problems else ""


def _vector(levels: Sequence[Dataset], keyword: str, count: int) -> tuple[tuple[float, ...], str]:
    """So many numbers that an element can have; or none, and the problem."""
    try:
        found = numbers(levels, keyword)
    except UnreadableError as error:
        return (), f"{error}, not {count} numbers; correct it"
    name = described(keyword)
    if not found:
        return (), f"{name} is missing; without it {_WITHOUT[keyword]}; {_AGAIN}"
    if len(found) != count:
        return (), f"{name} has {len(found)} numbers instead of {count}; {_AGAIN}"
    if keyword == "PixelSpacing" and min(found) <= 0:
        return (), f"{name} is {found}, not above 0; correct it"
    if keyword == "ImageOrientationPatient" and not _is_rotation(found):
        return (), f"{name} is {found}, not two perpendicular directions of length 1; correct it"
    return found, ""


def _rescale(levels: Sequence[Dataset]) -> tuple[tuple[float | None, float | None], str]:
    """Slope and intercept, None where missing, and the problem with them, if any."""
    kind = text(levels, "RescaleType").upper()
    problem = ""
    if kind not in ("", "HU", "US"):
        problem = f"{described('RescaleType')} is {kind!r}: its values are not HU"
    if has(levels, "ModalityLUTSequence"):
        problem = (
            f"values by a table, {described('ModalityLUTSequence')}, which is not supported; "
            "convert the series to .nii.gz or .mha"
        )
    try:
        return (number(levels, "RescaleSlope"), number(levels, "RescaleIntercept")), problem
    except UnreadableError as error:
        return (None, None), f"{error}, not a number; correct it"


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
