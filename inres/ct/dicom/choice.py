"""Which series of a folder is the scan."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from inres.ct.dicom.instance import CT_CLASSES
from inres.ct.dicom.kernels import sharpness
from inres.ct.dicom.series import AXIAL, Series, normal_of
from inres.ct.dicom.slices import Slice
from inres.ct.header import ScanError

_HOW = (
    "choose one by its uid (series_uid, --series) or by a text of its kernel or description "
    "(data.kernel), or keep each in its own folder"
)
_ONE_UID = (
    "choose one by its uid (series_uid, --series); if they are slices of one scan, give them one "
    "SeriesInstanceUID, as with DCMTK's dcmodify -m SeriesInstanceUID=1.2.3 *"
)
_SAME_MM = 0.05
"""Thicknesses closer than this are equal."""
_UNEVEN = 3.2
"""Greatest ratio of the distances of slices that only their places show to be one series."""


def choose(
    path: Path, found: Sequence[Series], *, series_uid: str = "", kernel: str = ""
) -> tuple[Series, tuple[str, ...]]:
    """The series that is the scan, and notes on the others.

    Of several CT volumes, rules apply in this order until one is left: no problem in its headers;
    axial slices; stored as CT rather than as secondary capture; original rather than derived;
    at least half as long as the longest; thinnest slices; soft rather than sharp kernel; most
    slices.

    Args:
      path: the folder, for messages.
      found: all series there.
      series_uid: the uid of the series to take, which overrides everything.
      kernel: a text that ConvolutionKernel or SeriesDescription must contain, in any case.

    Raises:
      ScanError: no CT volume, none of this uid or kernel, or several that the rules do not order.
    """
    if series_uid:
        chosen = _by_uid(path, found, series_uid)
        return chosen, () if chosen.volume else (chosen.reason,)
    volumes = [series for series in found if series.volume]
    if not volumes and (whole := _scattered(found)):
        return whole
    if not volumes:
        volumes = [series for series in found if series.slices == 1]
    if not volumes:
        raise ScanError(f"{path}: no CT volume; {_listed(found, 'found', reasons=True)}")
    notes = []
    others = [series for series in found if series not in volumes]
    notes += [f"left out, {series.reason}: {series.described()}" for series in others]
    if kernel:
        volumes = _of_kernel(path, volumes, kernel)
    chosen, left = _by_rules(path, volumes)
    notes += [f"left out, {reason}: {series.described()}" for series, reason in left]
    if len(found) > 1:
        notes.insert(0, f"series {chosen.described()} of {len(found)}")
    return chosen, tuple(notes)


def _by_uid(path: Path, found: Sequence[Series], uid: str) -> Series:
    named = [series for series in found if series.uid == uid]
    if not named:
        raise ScanError(f"{path}: no series {uid}; {_listed(found, 'found')}")
    if len(named) > 1:
        raise ScanError(
            f"{path}: series {uid} belongs to {len(named)} studies or patients; keep each in its "
            "own folder"
        )
    if not named[0].slices:
        raise ScanError(f"{path}: series {uid} is {named[0].reason}")
    return named[0]


def _of_kernel(path: Path, volumes: Sequence[Series], kernel: str) -> list[Series]:
    wanted = kernel.casefold()
    named = [s for s in volumes if wanted in f"{s.kernel}\n{s.description}".casefold()]
    if not named:
        raise ScanError(
            f"{path}: no series with {kernel!r} (data.kernel) in its kernel or description; "
            f"{_listed(volumes, 'found')}; choose one by its uid (series_uid, --series)"
        )
    return named


def _by_rules(path: Path, volumes: Sequence[Series]) -> tuple[Series, list[tuple[Series, str]]]:
    """The series that is first by all rules, and each other one with the rule that excluded it."""
    left: list[tuple[Series, str]] = []
    remaining = list(volumes)
    longest = max(map(_extent_mm, volumes))
    rules: tuple[tuple[str, Callable[[Series], float]], ...] = (
        ("problems in its headers", lambda s: any(plane.problem for plane in s.planes)),
        ("not axial", lambda s: not _axial(s)),
        ("secondary capture", lambda s: s.instances[0].sop_class not in CT_CLASSES),
        ("derived", lambda s: s.instances[0].image_type[:1] == ("DERIVED",)),
        ("a part of the scan", lambda s: _extent_mm(s) < longest / 2),
        ("thicker slices", _slice_mm),
        ("sharper kernel", lambda s: sharpness(s.kernel, s.description)),
        ("fewer slices", lambda s: -s.slices),
    )
    for reason, value in rules:
        values = [value(series) for series in remaining]
        good = [value < min(values) + _SAME_MM for value in values]
        left += [(s, reason) for s, kept in zip(remaining, good, strict=True) if not kept]
        remaining = [s for s, kept in zip(remaining, good, strict=True) if kept]
    if len(remaining) > 1:
        single = all(series.slices == 1 for series in remaining)
        raise ScanError(
            f"{path}: {len(remaining)} series that may be the scan; "
            f"{_listed(remaining, 'they are')}; {_HOW if not single else _ONE_UID}"
        )
    return remaining[0], left


def _heights(series: Series) -> np.ndarray:
    """Sorted positions in mm along the normal of the first slice, as far as they are known."""
    planes = [s for s in series.planes if s.position_mm and s.orientation]
    if not planes:
        return np.zeros(1)
    return np.sort(np.array([s.position_mm for s in planes]) @ normal_of(planes[0]))


def _extent_mm(series: Series) -> float:
    heights = _heights(series)
    return float(heights[-1] - heights[0])


def _slice_mm(series: Series) -> float:
    """The larger of slice thickness and slice distance, so that gaps between thin slices count."""
    heights = _heights(series)
    steps = np.diff(heights)
    steps = steps[steps > 0.01]
    distance = float(np.median(steps)) if steps.size else 0.0
    return max(distance, 0.0 if math.isnan(series.thickness_mm) else series.thickness_mm)


def _axial(series: Series) -> bool:
    known = [plane for plane in series.planes if plane.orientation]
    return bool(known) and abs(normal_of(known[0])[2]) >= AXIAL


def _scattered(found: Sequence[Series]) -> tuple[Series, tuple[str, ...]] | None:
    """One series made of single slices that have a uid each, if they fit together.

    Anonymisers that replace every uid by a random one leave such slices.
    """
    single = [series for series in found if series.slices == 1]
    if len(single) < 3:
        return None

    def key(series: Series) -> tuple[object, ...]:
        plane: Slice = series.planes[0]
        turn = tuple(round(value, 3) for value in plane.orientation)
        return (series.patient, series.study_date, series.description, plane.layout, turn)

    if len({key(series) for series in single}) > 1 or any(s.planes[0].problem for s in single):
        return None
    positions = np.array([series.planes[0].position_mm for series in single])
    steps = np.diff(np.sort(positions @ normal_of(single[0].planes[0])))
    if steps.min() < 0.01 or steps.max() > _UNEVEN * steps.min():
        return None
    whole = dataclasses.replace(
        single[0],
        files=tuple(path for series in single for path in series.files),
        slices=len(single),
        instances=tuple(instance for series in single for instance in series.instances),
        volume=True,
        reason="",
    )
    note = f"{len(single)} slices with a series uid each, read as one series"
    others = [s for s in found if s.slices != 1]
    return whole, (note, *(f"left out, {s.reason}: {s.described()}" for s in others))


def _listed(found: Sequence[Series], verb: str, *, reasons: bool = False) -> str:
    shown = [s.described() + (f": {s.reason}" if reasons and s.reason else "") for s in found[:6]]
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"{verb} {'; '.join(shown)}{more}" if found else f"{verb} none"
