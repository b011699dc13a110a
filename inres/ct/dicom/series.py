"""The DICOM series in a folder or tree, and whether each is a CT volume."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from inres.ct.dicom.folder import Found, folders_below, read_folder
from inres.ct.dicom.instance import CT_CLASSES, Instance
from inres.ct.dicom.slices import Slice
from inres.system.messages import printable

_NO_STACK = (
    *("MIP", "MINIP", "MIN_IP", "MAX_IP", "MAXIMUM", "MINIMUM", "PROJECTION IMAGE"),
    *("VOLREN", "VRT", "SSD", "CPR", "CURVED", "CURVED_PLANAR", "SUBTRACTION"),
)
"""Values of ImageType of projections, renderings and the like, which hold no HU of places."""
AXIAL = 0.8
"""Least z component of the normal of axial slices (37 degrees)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """The files of one series in one folder."""

    folder: Path
    uid: str
    """SeriesInstanceUID; empty where the files have none."""
    patient: str
    """PatientID; empty where unknown."""
    study_uid: str
    study_date: str
    """YYYYMMDD; empty where unknown."""
    description: str
    kernel: str
    thickness_mm: float
    """SliceThickness, NaN where unknown."""
    files: tuple[Path, ...]
    slices: int
    """Number of CT slices without scouts."""
    volume: bool
    """Whether it can be read as a CT volume."""
    reason: str
    """Why it cannot be; empty if it can."""
    instances: tuple[Instance, ...] = dataclasses.field(repr=False)
    """Its files; empty from `series_of`."""

    @property
    def planes(self) -> tuple[Slice, ...]:
        """The CT slices without scouts, in the order of the files."""
        return tuple(s for instance in self.instances for s in instance.slices if not s.scout)

    @property
    def scouts(self) -> tuple[Slice, ...]:
        """The scout images."""
        return tuple(s for instance in self.instances for s in instance.slices if s.scout)

    def described(self) -> str:
        """The series in one line, for messages."""
        what = [f"{self.slices} slices" if self.slices else f"{len(self.files)} files"]
        if self.slices and math.isfinite(self.thickness_mm):
            what.append(f"{self.thickness_mm:g} mm")
        what += [part for part in (self.kernel, self.description) if part]
        if len(self.files) == 1:
            what.append(printable(self.files[0].name))
        return f"{self.uid or 'without uid'} ({', '.join(what)})"


def series_of(path: str | Path) -> tuple[Series, ...]:
    """All series in a folder and the folders below it, from one pass over the headers.

    Takes about a millisecond a file. Series of one uid in two folders are two series.

    Returns:
      In the order of folders and uids.

    Raises:
      OSError: a folder cannot be read.
    """
    return tuple(
        dataclasses.replace(series, instances=())  # of a whole tree, they would fill the memory
        for folder in folders_below(Path(path))
        for series in grouped(read_folder(folder))
    )


def grouped(found: Found) -> list[Series]:
    """The series among the files of one folder."""
    # Some anonymisers give the series of different patients the same uid.
    named: dict[tuple[str, str, str], list[Instance]] = {}
    for one in found.instances:
        named.setdefault((one.series_uid, one.study_uid, one.patient), []).append(one)
    return [_series(uid, instances) for (uid, *_), instances in sorted(named.items())]


def _series(uid: str, instances: Sequence[Instance]) -> Series:
    # Of several kinds of file under one uid, the CT images are the series.
    pictured = [instance for instance in instances if instance.slices] or list(instances)
    first = pictured[0]
    planes = [s for instance in pictured for s in instance.slices if not s.scout]
    reason = _why_no_volume(pictured, len(planes))
    return Series(
        folder=first.path.parent,
        uid=uid,
        patient=_first(instance.patient for instance in pictured),
        study_uid=first.study_uid,
        study_date=_first(instance.study_date for instance in pictured),
        description=_first(instance.description for instance in pictured),
        kernel=_first(instance.kernel for instance in pictured),
        thickness_mm=planes[0].thickness_mm if planes else math.nan,
        files=tuple(instance.path for instance in pictured),
        slices=len(planes),
        volume=not reason,
        reason=reason,
        instances=tuple(pictured),
    )


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")


def _why_no_volume(instances: Sequence[Instance], planes: int) -> str:
    """Why a series is no CT volume; empty if it can be one."""
    first = instances[0]
    if not any(instance.slices for instance in instances):
        return f"{first.kind}, not a CT image"
    if not planes:
        return "scout images"
    if shown := sorted(set(first.image_type) & set(_NO_STACK)):
        return f"image type {shown[0]}, not slices"
    if first.sop_class not in CT_CLASSES and all(s.problem for s in first.slices):
        return f"{first.kind}, not a CT image"
    if planes < 2:
        return "a single slice"
    return ""


def normal_of(plane: Slice) -> np.ndarray:
    """The unit vector [3] across a slice (LPS), whose orientation is known."""
    row, column = np.array(plane.orientation).reshape(2, 3)
    normal = np.cross(row, column)
    return normal / np.linalg.norm(normal)
