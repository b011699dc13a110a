"""LIDC-IDRI as TCIA provides it: DICOM series, and the four readers' marks as XML.

  any folders/<any names>.dcm    the series, one or several in a folder
  *.xml                          the readings: next to the slices, in any other folder, or in a
                                 .zip file such as tcia-lidc-xml.zip

Readings belong to a series by its SeriesInstanceUID alone, which is also the name of the scan.
Series without readings, such as the radiographs, are left out. `inres.lidc` says which marks of
different readers are one nodule, and how it is measured.
"""

import dataclasses
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.config import Data
from inres.ct.dicom import Series, Stack, open_stack
from inres.ct.dicom.folder import folders_below, read_folder
from inres.ct.dicom.series import grouped
from inres.ct.dicom.stack import stack_of
from inres.ct.header import ScanError, vector
from inres.lidc import nodules, xml_files
from inres.lidc.nodules import Nodule
from inres.lidc.planes import Planes
from inres.lidc.readings import RATINGS, Mark, Reading, ReadingError
from inres.lidc.xml_files import Library, Opener, Place
from inres.sources import (
    Finding,
    Progress,
    Scan,
    Scans,
    Source,
    SourceError,
    register,
    scan_settings,
)
from inres.sources._problems import Problems, no_problems, refuse
from inres.system.messages import listed

SEPARATOR = ";"
"""Between the values of the readers in a column."""
NOTHING = "-"
"""Stands for a reader without a value."""
KINDS = "internal_structure"
"""The rating whose values are kinds, of which there is no mean."""
_BESIDE = 64
"""Pixels by which a mark may lie beside a slice; some in the LIDC do by 22."""
_ON_SLICE_MM = 0.1
"""A marked height this close to a slice is on it."""


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Read all headers and readings.

    A nodule becomes an item if at least `data.min_readers` marked it and its mean diameter is at
    least `data.min_diameter_mm`. All other marks are findings that normal slices avoid. The columns
    of a nodule:

    - `readers`, their number, and the means over them of `volume_mm3` and `extent_mm`, the largest
      width in a slice;
    - each rating, the mean over the readers who gave it; `internal_structure`, whose values are
      kinds, is the most frequent one (the lowest of several);
    - `<rating>_sd` and `diameter_mm_sd`, standard deviations over the readers;
    - `<rating>_readers`, the values by reader as text, such as `3;4;-;4`;
    - `xml` and `marks`, by which `marks_of` finds the outlines.

    Raises:
      SourceError: there are no readings, or no series that they belong to; a file of readings is
        damaged, or marks do not fit the slices of their series; or a series is there twice.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; set config.data.root to the LIDC-IDRI download")
    problems, left = no_problems(), _Left()
    known = xml_files.survey(root)
    problems["files of readings that cannot be read"] += known.problems
    if not known.places and not known.problems:
        raise SourceError(
            f"{root}: no readings of the LIDC (.xml files, or a .zip file with them); put "
            "tcia-lidc-xml.zip of TCIA's page on the LIDC-IDRI into this folder"
        )
    scans, messages = [], []
    with Opener() as opener:
        for stack in _stacks(root, known, data, left=left, problems=problems, progress=progress):
            place = known.places[stack.series.uid][0]
            try:
                reading = xml_files.read(known.places[stack.series.uid], opener)
            except ReadingError as error:
                problems["files of readings that cannot be read"].append(str(error))
                continue
            _check_heights(reading, stack, problems)
            if not _check_pixels(reading, stack, problems):
                continue
            scan, notes = _scan(stack, reading, place.relative_to(root), data)
            scans.append(scan)
            messages += [*reading.notes, *notes]
    refuse(root, problems)
    summary = _summary(known, [scan.uid for scan in scans], left, data)
    if not scans:
        raise SourceError("\n".join((f"{root}: no scan", *summary)))
    return Scans(tuple(sorted(scans, key=lambda scan: scan.uid)), (*summary, *messages))


def settings(data: Data) -> dict[str, Any]:
    """The fields of `config.data` on which the items depend."""
    own = {"min_readers": data.min_readers, "min_diameter_mm": data.min_diameter_mm}
    return scan_settings(data) | own


def marks_of(root: Path, record: Mapping[str, Any]) -> tuple[Mark, ...]:
    """The readers' outlines of a nodule, in pixels (`inres.lidc.outlines.mask` fills them).

    Args:
      root: the data.
      record: the record of an item in an archive of this source, or the columns of a finding.

    Raises:
      ReadingError: the file is not there any more, or damaged.
    """
    place = Place.below(root, str(record["xml"]))
    with Opener() as opener:
        marks = xml_files.read([place], opener).marks
    return tuple(marks[int(number)] for number in str(record["marks"]).split(SEPARATOR))


def planes_of(path: str | Path, *, series_uid: str = "") -> Planes:
    """Where the pixels of a DICOM series lie; the arguments are those of `read_scan`.

    Raises:
      ScanError: the series cannot be read.
    """
    return _planes(open_stack(Path(path), series_uid=series_uid))


def all_planes(root: Path, wanted: Container[str]) -> dict[str, Planes]:
    """Where the pixels of the `wanted` series below a folder lie, by uid.

    Series that are not one volume are left out.
    """
    stacks = (
        _stack(series, _Left())
        for folder in folders_below(root)
        for series in grouped(read_folder(folder))
        if series.uid in wanted
    )
    return {stack.series.uid: _planes(stack) for stack in stacks if stack}


# Series


@dataclasses.dataclass
class _Left:
    """Series that are left out."""

    unread: list[str] = dataclasses.field(default_factory=list)
    """CT without readings."""
    broken: list[str] = dataclasses.field(default_factory=list)
    """With readings, but not one volume."""
    thick_mm: list[float] = dataclasses.field(default_factory=list)


def _stacks(
    root: Path,
    known: Library,
    data: Data,
    *,
    left: _Left,
    problems: Problems,
    progress: Progress,
) -> Iterator[Stack]:
    """The slices of each series with readings; one series at a time is in memory."""
    folders = list(folders_below(root))
    places: dict[str, Path] = {}
    for folder in progress(folders, name="read headers", total=len(folders), unit="folder"):
        for series in grouped(read_folder(folder)):
            if series.uid not in known.places:
                left.unread += [series.described()] if series.volume else []
                continue
            if series.uid in places:
                problems["series found twice; remove one"].append(
                    f"{series.uid} in {places[series.uid]} and {folder}"
                )
                continue
            places[series.uid] = folder
            stack = _stack(series, left)
            if stack is None:
                continue
            if 0 < data.max_thickness_mm < stack.header.thickness_mm - 1e-3:
                left.thick_mm.append(stack.header.thickness_mm)
                continue
            yield stack


def _stack(series: Series, left: _Left) -> Stack | None:
    if not series.volume:
        left.broken.append(f"{series.described()}: {series.reason}")
        return None
    try:
        return stack_of(series.folder, series)
    except ScanError as error:
        left.broken.append(str(error))
        return None


def _planes(stack: Stack) -> Planes:
    corners = np.array([plane.position_mm for plane in stack.slices])
    corners = corners[np.argsort(corners[:, 2], kind="stable")]
    first = stack.slices[0]
    along_row, along_column = np.array(first.orientation).reshape(2, 3)
    steps = np.diff(corners[:, 2])
    return Planes(
        corners_mm=corners,
        column_mm=along_row * first.pixel_mm[1],
        row_mm=along_column * first.pixel_mm[0],
        slice_mm=float(np.median(steps)) if len(steps) else stack.header.thickness_mm,
    )


def _summary(known: Library, used: Sequence[str], left: _Left, data: Data) -> list[str]:
    """What was left out."""
    out = []
    if known.others:
        out.append(f"{known.others} XML file(s) of another kind, such as readings of radiographs")
    missing = sorted(set(known.places) - set(used))
    missing_count = len(missing) - len(left.thick_mm) - len(left.broken)
    if missing_count > 0:
        out.append(f"readings of {missing_count} series that are not in this folder")
    if left.unread:
        out.append(f"{len(left.unread)} CT series without readings (first: {left.unread[0]})")
    if left.thick_mm:
        out.append(
            f"{len(left.thick_mm)} series with slices further apart than "
            f"{data.max_thickness_mm:g} mm (up to {max(left.thick_mm):g}); "
            "config.data.max_thickness_mm = 0 keeps them"
        )
    if left.broken:
        out.append(f"{len(left.broken)} series that are not one volume:\n{listed(left.broken)}")
    return [f"left out: {text}" for text in out]


# Findings


def _check_heights(reading: Reading, stack: Stack, problems: Problems) -> None:
    """Refuse readings whose heights are not those of the slices."""
    slices = np.array([plane.position_mm[2] for plane in stack.slices])
    heights = _heights(reading)
    heights = heights[(heights >= slices.min()) & (heights <= slices.max())]
    off = np.abs(heights[:, None] - slices).min(axis=1, initial=np.inf) > _ON_SLICE_MM
    if off.sum() > len(heights) / 2:
        problems["readings whose marks lie between the slices; fetch series and XML again"].append(
            f"{stack.series.folder}: {off.sum()} of {len(heights)} heights in {reading.name}, such "
            f"as {heights[off][0]:g} mm"
        )


def _check_pixels(reading: Reading, stack: Stack, problems: Problems) -> bool:
    """Whether outlines lie in the slices, or nearly so; others are of another series."""
    size = (stack.slices[0].pixels.columns, stack.slices[0].pixels.rows)
    points = [point for mark in reading.marks for c in mark.contours for point in c.points]
    places = np.array([*points, *(spot.point for spot in reading.spots), (0, 0)])
    off = np.any((places < -_BESIDE) | (places >= np.array(size) + _BESIDE), axis=1)
    if off.any():
        column, row = places[off][0]
        problems["readings whose marks lie outside of their slices; fetch the XML again"].append(
            f"{stack.series.folder}: column {column} and row {row} in {reading.name}, but slices "
            f"of {size[0]} columns and {size[1]} rows"
        )
    return not off.any()


def _heights(reading: Reading) -> np.ndarray:
    """Heights of all marked slices, float64 [N]."""
    contours = [contour.z_mm for mark in reading.marks for contour in mark.contours]
    return np.unique([*contours, *(spot.z_mm for spot in reading.spots)])


def _scan(stack: Stack, reading: Reading, xml: str, data: Data) -> tuple[Scan, list[str]]:
    """One scan with its findings, and messages."""
    uid, planes = stack.series.uid, _planes(stack)
    kept, excluded, outside = [], [], 0
    for number, nodule in enumerate(nodules.find(reading, planes)):
        enough = nodule.readers >= data.min_readers
        if not (enough and nodule.diameter_mm >= data.min_diameter_mm):
            place = vector(nodule.world_mm)
            excluded.append(Finding(f"excluded/{uid}/{number}", place, nodule.diameter_mm))
        elif not stack.header.contains(nodule.world_mm):
            outside += 1
        else:
            columns = {**_columns(nodule, reading), "xml": xml}
            kept.append(
                Finding(f"{uid}/{number}", vector(nodule.world_mm), nodule.diameter_mm, columns)
            )
    for number, spot in enumerate(reading.spots):
        place = vector(planes.world_mm(spot.z_mm, np.array([spot.point]))[0])
        excluded.append(Finding(f"excluded/{uid}/spot{number}", place, float("nan")))
    scan = Scan(
        uid=uid,
        path=stack.series.folder,
        series_uid=uid,
        nodules=tuple(kept),
        excluded=tuple(excluded),
        patient=stack.series.patient,
        study_date=stack.series.study_date,
        columns={"kernel": stack.series.kernel} if stack.series.kernel else {},
    )
    return scan, list(_incomplete(stack, reading, outside))


def _incomplete(stack: Stack, reading: Reading, outside: int) -> Iterator[str]:
    """A message where marked slices are not there."""
    heights, slices = _heights(reading), [plane.position_mm[2] for plane in stack.slices]
    low, high = min(slices) - _ON_SLICE_MM, max(slices) + _ON_SLICE_MM
    beyond = ((heights < low) | (heights > high)).sum()
    if beyond:
        yield (
            f"{stack.series.folder}: {len(slices)} slices from {min(slices):g} to {max(slices):g} "
            f"mm, but readers marked {beyond} slices beyond: the series is incomplete"
            + (f"; {outside} of its nodules are left out" if outside else "")
        )
    elif outside:
        yield f"{stack.series.folder}: {outside} nodules outside of its slices are left out"


def _columns(nodule: Nodule, reading: Reading) -> dict[str, float | str]:
    """What is known of a nodule, as `read` describes it."""
    columns: dict[str, float | str] = {
        "readers": float(nodule.readers),
        "volume_mm3": round(nodule.volume_mm3, 2),
        "extent_mm": round(nodule.extent_mm, 3),
        "marks": SEPARATOR.join(map(str, nodule.of)),
    }
    if nodule.readers > 1:
        diameters = [one.diameter_mm for one in nodule.marks]
        columns["diameter_mm_sd"] = round(float(np.std(diameters)), 3)
    for name in RATINGS:
        values = nodule.ratings(name)
        if not values:
            continue
        kinds = name == KINDS
        mean = float(np.mean(values))
        columns[name] = float(np.bincount(values).argmax()) if kinds else round(mean, 3)
        if len(values) > 1 and not kinds:
            columns[f"{name}_sd"] = round(float(np.std(values)), 3)
        given = {one.mark.reader: one.mark.ratings.get(name, NOTHING) for one in nodule.marks}
        columns[f"{name}_readers"] = SEPARATOR.join(
            str(given.get(reader, NOTHING)) for reader in range(reading.readers)
        )
    return columns


register(
    Source(name="lidc", title="LIDC-IDRI", read=read, settings=settings),
    module=__name__,
)
