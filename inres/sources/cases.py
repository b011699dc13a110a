"""Any scans, listed in a table cases.csv: one row per finding, or per scan without a location.

`config.data.root` is the table, or the folder in which it is called cases.csv. Columns:

  scan                  path relative to the table: any file, or folder with a DICOM series
  x_mm, y_mm, z_mm      centre of a finding in the world, with `space`: LPS (DICOM, ITK, LUNA16) or
                        RAS (NIfTI, 3D Slicer)
  i, j, k               or its voxel index in the file: column, row and slice, from 0
  mask                  or a file with the scan's voxels: 0 is background, and each connected
                        component of each other value is a finding, which is measured
  diameter_mm           blank where unknown
  patient, study_date, series (DICOM UID, of several in a folder), subset, split, nodule (a name)

All other columns are typed by content and become columns of the finding, or of the scan in a row
without a location. A scan without any location has places spread evenly through its lungs as items;
`diameter_mm` 0 in its row means that it has no nodule, so that normal slices are taken from it.
Every problem of the table is found before any scan is prepared, and all are reported together.
"""

import dataclasses
import math
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres import vocabulary
from inres.config import Data
from inres.ct.components import read_components
from inres.ct.header import Header, ScanError, Vector, vector
from inres.ct.parts import scan_parts
from inres.sources import Finding, Progress, Scan, Scans, Source, SourceError, register
from inres.sources._problems import Problems, no_problems, refuse
from inres.sources._scans import outside, read_headers
from inres.sources._tables import Row, plain, read_rows, typed
from inres.system.files import exists

TABLE = "cases.csv"
WORLD, INDEX = ("x_mm", "y_mm", "z_mm"), ("i", "j", "k")
KNOWN = (
    *("scan", *WORLD, "space", *INDEX, "mask", "diameter_mm", "nodule"),
    *("patient", "study_date", "series", "subset", "split"),
)
MISTAKEN = {
    **dict.fromkeys(("x", "y", "z", "coordx", "coordy", "coordz"), "x_mm,y_mm,z_mm or i,j,k"),
    **dict.fromkeys(("diameter", "diam", "size", "sizemm"), "diameter_mm"),
    **dict.fromkeys(("path", "file", "filename", "image", "seriesuid"), "scan"),
}
"""Names by which tables often call known columns, without spaces and signs."""
BAD_LINES = "lines that cannot be read; correct them"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a row says that its finding is."""

    values: Vector
    space: str
    """`LPS` or `RAS` in mm, or `index`: column, row and slice."""

    def world_mm(self, header: Header) -> Vector:
        """The place in the world (LPS)."""
        x, y, z = self.values
        if self.space == "index":
            return vector(header.index_to_world(np.array([header.plane_of(z), y, x])))
        return (-x, -y, z) if self.space == "RAS" else (x, y, z)

    def remedy(self, header: Header) -> str:
        """What may be wrong with a place outside of its scan."""
        x, y, z = self.values
        if self.space == "index":
            swapped = Place((z, y, x), "index").world_mm(header)
            inside = header.contains(np.array(swapped))
            return " (with i and k exchanged it is inside)" if inside else " (indices start at 0)"
        other = "LPS" if self.space == "RAS" else "RAS"
        inside = header.contains(np.array(Place(self.values, other).world_mm(header)))
        return f" (if the space is {other}, it is inside)" if inside else ""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table, checked by itself."""

    row: Row
    scan: Path
    place: Place | None
    mask: Path | None
    diameter_mm: float
    """NaN where unknown; 0 for a scan without nodules."""
    subset: int
    columns: Mapping[str, float | str]

    @property
    def marked(self) -> bool:
        """Whether the row has a location."""
        return self.place is not None or self.mask is not None


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Read the table, the headers of its scans, and its masks.

    Raises:
      SourceError: there is no table, a column or value is wrong, a scan or mask is missing or
        cannot be read, a finding lies outside its scan, or the rows of a scan contradict each
        other.
    """
    table = table_of(root, data)
    problems = no_problems()
    messages: list[str] = []
    by_scan = _by_scan(_cases(table, problems))
    for cases in by_scan.values():
        _check_scan(cases, problems)
    headers = read_headers(
        root,
        {name: [cases[0].scan] for name, cases in by_scan.items()},
        data,
        series={name: cases[0].row.text("series") for name, cases in by_scan.items()},
        problems=problems,
        messages=messages,
        progress=progress,
    )
    scans, empty = [], []
    for name in progress(list(headers), name="read findings", total=len(headers), unit="scan"):
        cases, header = by_scan[name], headers[name]
        nodules = [one for case in cases for one in _findings(name, case, header, problems)]
        empty += [name] * (not nodules and any(case.mask for case in cases))
        scans.append(_scan(name, cases, header, _numbered(name, nodules)))
    _check_names(scans, table, problems)
    refuse(table, problems)
    messages += _count_messages(scans, empty)
    return Scans(tuple(scans), tuple(messages))


def table_of(root: Path, data: Data) -> Path:
    """The table: `data.root` itself if it is a file, else cases.csv in the folder `root`."""
    given = Path(data.root).expanduser().resolve() if data.root else root
    return given if given.is_file() else root / TABLE


def files(root: Path, data: Data) -> list[Path]:
    """The table, and every file of its scans and masks."""
    table = table_of(root, data)
    cases = _cases(table, no_problems())
    named = {path for case in cases for path in (case.scan, case.mask) if path is not None}
    parts = {part for path in named for part in scan_parts(path)}
    return [table, *(part for part in parts if part.is_file())]


# Rows


def _cases(table: Path, problems: Problems) -> list[Case]:
    """The rows that can be read; all others are problems."""
    rows = read_rows(table, ("scan",))
    if not rows:
        raise SourceError(f"{table}: no rows, only a header")
    _check_columns(table, rows[0].values, problems)
    others = [name for name in rows[0].values if name not in KNOWN]
    ratings = [one.name for one in vocabulary.PROPERTIES]
    columns = typed(rows, others, problems, known=ratings)
    cases = []
    for row, more in zip(rows, columns, strict=True):
        try:
            cases.append(_case(row, more))
        except ValueError as error:
            problems[BAD_LINES].append(str(error))
    return cases


def _check_columns(table: Path, names: Iterable[str], problems: Problems) -> None:
    """Refuse names that would be taken for further columns, although they mean known ones."""
    ratings = [one.name for one in vocabulary.PROPERTIES]
    known = {plain(name): name for name in (*KNOWN, *ratings)}
    names = list(names)
    for name in names:
        meant = known.get(plain(name)) or MISTAKEN.get(plain(name), name)
        if name not in KNOWN and meant != name:
            problems["columns of another name; rename them"].append(
                f"{table}: {name}, known is {meant}"
            )
    for group in (WORLD, INDEX):
        missing = [name for name in group if name not in names]
        if 0 < len(missing) < len(group):
            problems["columns missing"].append(f"{table}: {', '.join(missing)}")
    if set(WORLD) <= set(names) and "space" not in names:
        problems["columns missing"].append(
            f"{table}: space, LPS (x to the patient's left, y to the back: DICOM, ITK, LUNA16) or "
            "RAS (to the right and the front: NIfTI, 3D Slicer)"
        )


def _case(row: Row, columns: Mapping[str, float | str]) -> Case:
    """One row.

    Raises:
      ValueError: a value is wrong; names line and column.
    """
    place, mask = _place(row), row.text("mask")
    if place is not None and mask:
        raise ValueError(f"{row.where}: both a location and a mask; leave one blank")
    diameter = row.number("diameter_mm", blank=math.nan)
    if problem := vocabulary.out_of_range("diameter_mm", diameter):
        raise ValueError(f"{row.where}: {problem}, or blank")
    if diameter == 0 and (place is not None or mask):
        raise ValueError(
            f"{row.where}: diameter_mm is 0, which means that the scan has no nodule, but the row "
            "has a location; leave the diameter blank if it is unknown"
        )
    for name, value in {**columns, "diameter_mm": diameter}.items():
        _require_in_range(row, name, value)
    subset = row.number("subset", blank=-1)
    if subset != int(subset) or not -1 <= subset <= vocabulary.LARGEST_NUMBER:
        raise ValueError(f"{row.where}: subset is {row.text('subset')}; must be 0, 1, 2, ...")
    if row.text("split") not in ("", "train", "val", "test"):
        raise ValueError(f"{row.where}: split is {row.text('split')!r}; must be train, val or test")
    row.date("study_date")
    return Case(
        row=row,
        scan=_path(row, "scan"),
        place=place,
        mask=_path(row, "mask") if mask else None,
        diameter_mm=diameter,
        subset=int(subset),
        columns=columns,
    )


def _require_in_range(row: Row, name: str, value: float | str) -> None:
    """Refuse a number that its property cannot have; NaN is unknown.

    Raises:
      ValueError: names line and column.
    """
    known = vocabulary.find_property(name)
    if not isinstance(value, str) and (value < known.low or value > known.high):
        most = f" to {known.high:g}" if math.isfinite(known.high) else " or more"
        raise ValueError(f"{row.where}: {name} is {value:g}; must be {known.low:g}{most}, or blank")


def _place(row: Row) -> Place | None:
    """The location of a row; None if it has none.

    Raises:
      ValueError: it is incomplete, or there are two.
    """
    given = [
        (names, space)
        for names, space in ((WORLD, row.text("space").upper()), (INDEX, "index"))
        if any(row.text(name) for name in names)
    ]
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(f"{row.where}: both x_mm,y_mm,z_mm and i,j,k; leave one of them blank")
    names, space = given[0]
    if space not in ("LPS", "RAS", "index"):
        raise ValueError(f"{row.where}: space is {row.text('space')!r}; must be LPS or RAS")
    x, y, z = (row.number(name) for name in names)
    return Place((x, y, z), space)


def _path(row: Row, column: str) -> Path:
    """The file or folder that a value names, relative to the table.

    Raises:
      ValueError: there is none.
    """
    text = row.text(column)
    if not text:
        raise ValueError(f"{row.where}: {column} is blank")
    # The same letters may be encoded in two ways, and systems change them when they copy files.
    for form in (text, *(unicodedata.normalize(name, text) for name in ("NFC", "NFD"))):
        path = row.path.parent / form
        if exists(path):
            return path
    hint = "; separate folders with /" if "\\" in text else ""
    raise ValueError(f"{row.where}: {column} {row.path.parent / text[:999]} does not exist{hint}")


# Scans


def _by_scan(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Rows by scan; a scan is named by its path as the table has it, and its series if given."""
    names: dict[tuple[Path, str], str] = {}
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        series = case.row.text("series")
        plain = os.path.normpath(unicodedata.normalize("NFC", case.row.text("scan")))
        name = f"{plain}/{series}" if series else plain
        found[names.setdefault((case.scan.resolve(), series), name)].append(case)
    return dict(found)


def _check_scan(cases: Sequence[Case], problems: Problems) -> None:
    """The rows of one scan must agree."""
    first = cases[0].row
    for column in ("patient", "study_date", "subset", "split"):
        for case in cases[1:]:
            mine, text = case.row.text(column), first.text(column)
            if mine != text:
                problems["rows of one scan that contradict each other"].append(
                    f"{case.row.where}: {column} is {mine!r}, but {text!r} in line {first.line}"
                )
    bare = [case for case in cases if not case.marked]
    if bare and len(cases) > 1:
        lines = ", ".join(str(case.row.line) for case in cases)
        problems["scans with a row without a location and other rows; keep one kind"].append(
            f"{bare[0].row.where}: {bare[0].row.text('scan')}, also in lines {lines}"
        )
    seen: dict[Place, int] = {}
    for case in cases:
        if case.place is not None:
            line = seen.setdefault(case.place, case.row.line)
            if line != case.row.line:
                problems["findings listed twice; remove a line"].append(
                    f"{case.row.where}: the same place as in line {line}"
                )


def _findings(name: str, case: Case, header: Header, problems: Problems) -> list[Finding]:
    """The findings of a row; those outside of their scan are problems."""
    if case.place is not None:
        world = case.place.world_mm(header)
        if not header.contains(np.array(world)):
            problems["findings outside their scan; correct the table"].append(
                outside(case.row.where, world, header) + case.place.remedy(header)
            )
        return [Finding(case.row.text("nodule"), world, case.diameter_mm, case.columns)]
    return _masked(case, header, problems) if case.mask is not None else []


def _masked(case: Case, header: Header, problems: Problems) -> list[Finding]:
    """The components of a row's mask."""
    assert case.mask is not None
    try:
        found = read_components(case.mask, header)
    except ScanError as error:
        problems["masks that cannot be used"].append(f"{case.row.where}: {error}")
        return []
    if len(found) > 1 and not math.isnan(case.diameter_mm):
        problems["diameters of masks with several components; leave them blank"].append(
            f"{case.row.where}: {case.mask} has {len(found)} components"
        )
    title = case.row.text("nodule")
    out = []
    for number, one in enumerate(found):
        measured = {
            "volume_mm3": round(one.volume_mm3, 3),
            "longest_axial_mm": round(one.longest_axial_mm, 3),
            "mask_value": float(one.value),
        }
        diameter = one.diameter_mm if math.isnan(case.diameter_mm) else case.diameter_mm
        label = f"{title}/{number}" if title and len(found) > 1 else title
        out.append(Finding(label, one.centre_mm, diameter, measured | dict(case.columns)))
    return out


def _numbered(name: str, nodules: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings with a name, where the table gives none."""
    return tuple(
        dataclasses.replace(one, name=one.name or f"{name}/{number}")
        for number, one in enumerate(nodules)
    )


def _scan(name: str, cases: Sequence[Case], header: Header, nodules: tuple[Finding, ...]) -> Scan:
    first = cases[0]
    bare = not first.marked
    return Scan(
        uid=name,
        path=header.path,
        series_uid=first.row.text("series"),
        subset=first.subset,
        nodules=nodules,
        patient=first.row.text("patient"),
        study_date=first.row.date("study_date"),
        split=first.row.text("split"),
        columns=first.columns if bare else {},
        spread=bare and first.diameter_mm != 0,
    )


def _check_names(scans: Sequence[Scan], table: Path, problems: Problems) -> None:
    """The names of findings must be unique."""
    scans_of = defaultdict(list)
    for scan in scans:
        for one in scan.nodules:
            scans_of[one.name].append(scan.uid)
    for name, uids in scans_of.items():
        if len(uids) > 1:
            problems["nodules of one name; rename them"].append(
                f"{table}: {name} in {' and '.join(uids)}"
            )


def _count_messages(scans: Sequence[Scan], empty: Sequence[str]) -> list[str]:
    """What the table describes, where it may be something else than meant."""
    spread = [scan.uid for scan in scans if scan.spread]
    out = []
    if spread:
        out.append(
            f"{len(spread)} of {len(scans)} scans have no location (first: {spread[0]}): their "
            "items are places spread through the lungs"
        )
    if empty:
        out.append(
            f"{len(empty)} of {len(scans)} scans have nothing in their masks (first: {empty[0]}): "
            "they count as scans without nodules"
        )
    return out


register(Source(name="cases", title="", read=read, files=files), module=__name__)
