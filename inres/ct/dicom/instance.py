"""One DICOM file: what it is, and its slices, read from the header alone.

Reading does not fail on the contents of a file. A slice that lacks what HU or positions need
carries its problem, which is an error only where the slice is used.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from inres.ct.dicom import limits
from inres.ct.dicom.elements import UnreadableError, has, text
from inres.ct.dicom.slices import SLICE_TAGS, Slice, slice_of
from inres.ct.dicom.storage import OVERLAY_BIT, PIXEL_TAGS, storage_of, uid

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
TAGS = (
    *("SpecificCharacterSet", "SOPClassUID", "StudyDate", "Modality", "SeriesDescription"),
    *("PatientID", "ConvolutionKernel", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *SLICE_TAGS,
    *PIXEL_TAGS,
)
"""The elements that are read of each file."""
_WANTED: list[BaseTag] = [*map(Tag, TAGS), Tag(OVERLAY_BIT)]


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
        name = CT_CLASSES.get(self.sop_class) or uid(self.sop_class).name or "of unknown class"
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
        limits.require_few_items(file)
        try:
            dataset = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=_WANTED
            )
            return _instance(path, dataset, file)
        except OSError:
            raise
        except Exception as error:  # pydicom raises whatever its parsers meet
            raise UnreadableError(str(error)) from None


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
    pixels, problem = storage_of(dataset, meta, file)
    multi_frame = has([dataset], "PerFrameFunctionalGroupsSequence")
    if pixels.frames > 1 and not multi_frame:
        problem = problem or (
            f"{pixels.frames} frames without a position for each; convert it to enhanced CT or to "
            "one file for each slice"
        )
    described = len(dataset.PerFrameFunctionalGroupsSequence or ()) if multi_frame else 1
    # A frame without a description is a problem, and one is enough.
    for frame in range(min(pixels.frames, described + 1) if multi_frame else 1):
        levels = _frame_levels(dataset, frame)
        yield slice_of(path, frame, levels, pixels, problem=problem, multi_frame=multi_frame)


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
