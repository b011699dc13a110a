"""LUNA25: nodules of the NLST at up to three dates, with the outcome: malignant or not.

  luna25_images/<SeriesInstanceUID>.mha                the scans (in any folder)
  LUNA25_Public_Training_Development_Data.csv          PatientID,SeriesInstanceUID,StudyDate,
      CoordX,CoordY,CoordZ (world mm, LPS),LesionID,AnnotationID,NoduleID,label,Age_at_StudyDate,
      Gender

No diameter is known, so items are labelled by `malignant` (0 or 1). A patient has scans of several
dates, which no split may separate. `nodule_id` is the same for a nodule at all dates.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from inres.config import Data
from inres.ct.header import Header
from inres.ct.parts import scan_parts
from inres.sources import Finding, Progress, Scan, Scans, Source, SourceError, register
from inres.sources._problems import Problems, no_problems, refuse
from inres.sources._scans import absent_scans, by_stem, check_inside, read_headers
from inres.sources._tables import Row, read_rows

SERIES = "SeriesInstanceUID"
COLUMNS = ("PatientID", SERIES, "StudyDate", "CoordX", "CoordY", "CoordZ", "AnnotationID", "label")
OLDEST = 120
OPTIONAL = ("NoduleID", "Age_at_StudyDate", "Gender")
COMPLETE = (6163, 4069)
"""Number of nodules, and of scans, in the complete public table."""


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Read the table, and the headers of the scans that it names.

    Raises:
      SourceError: there is no table or scan, a line is malformed, a scan cannot be read or exists
        twice, or a nodule lies outside its scan.
    """
    table = _table(root)
    problems = no_problems()
    messages: list[str] = []
    rows = _rows(table, problems)
    paths = _scan_paths(root)
    messages += _absent(rows, paths)
    known = {uid: places for uid, places in paths.items() if uid in rows}
    if not known:
        refuse(root, problems)
        raise SourceError(
            f"{root}: {table.name} names none of the {len(paths)} scans; a SeriesInstanceUID is "
            f"the name of a file without .mha (first file: {next(iter(paths))})"
        )
    counts = (sum(map(len, rows.values())), len(rows))
    if data.expect_counts != "off" and counts != COMPLETE:
        messages.append(
            "{} has {} nodules of {} scans, the complete table {} of {}".format(
                table.name, *counts, *COMPLETE
            )
        )
    headers = read_headers(
        root, known, data, problems=problems, messages=messages, progress=progress
    )
    scans = []
    for uid, header in headers.items():
        scans.append(_scan(uid, header, rows[uid]))
        check_inside(scans[-1].nodules, header, problems, table=table.name)
    refuse(root, problems)
    return Scans(tuple(scans), tuple(messages))


def files(root: Path, data: Data) -> list[Path]:
    """The table, and every file of the scans."""
    scans = [place for places in _scan_paths(root).values() for place in places]
    return [_table(root), *{part for path in scans for part in scan_parts(path)}]


def _table(root: Path) -> Path:
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; set config.data.root to the folder of LUNA25")
    found = sorted(root.glob("LUNA25*.csv"))
    if len(found) != 1:
        what = "no table" if not found else f"{len(found)} tables ({found[0].name}, ...)"
        raise SourceError(
            f"{root}: {what}; expected one, LUNA25_Public_Training_Development_Data.csv"
        )
    return found[0]


def _scan_paths(root: Path) -> dict[str, list[Path]]:
    paths = [*root.rglob("*.mha"), *root.rglob("*.mhd")]
    if not paths:
        raise SourceError(f"{root}: no scans; expected luna25_images/<SeriesInstanceUID>.mha")
    return by_stem(paths)


def _rows(table: Path, problems: Problems) -> dict[str, list[Row]]:
    """The rows of each scan whose lines can be read; all others are problems."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(table, COLUMNS, OPTIONAL):
        try:
            _finding(row), _person(row)
        except ValueError as error:
            problems["lines that cannot be read; correct them"].append(str(error))
            continue
        found[row.text(SERIES)].append(row)
    names = Counter(row.text("AnnotationID") for rows in found.values() for row in rows)
    for name, count in names.items():
        if count > 1:
            problems["nodules of one AnnotationID; rename or remove one"].append(
                f"{table}: {name} in {count} lines"
            )
    for uid, rows in found.items():
        for column in ("PatientID", "StudyDate"):
            values = sorted({row.text(column) for row in rows})
            if len(values) > 1:
                problems["scans with several patients or dates; correct the table"].append(
                    f"{table}: {uid} has {column} {' and '.join(values)}"
                )
    return dict(found)


def _finding(row: Row) -> Finding:
    """The nodule of a row.

    Raises:
      ValueError: names file, line and column.
    """
    for column in (SERIES, "PatientID", "AnnotationID"):
        if not row.text(column):
            raise ValueError(f"{row.where}: {column} is blank")
    if not row.date("StudyDate"):
        raise ValueError(f"{row.where}: StudyDate is blank")
    malignant = row.number("label")
    if malignant not in (0, 1):
        raise ValueError(f"{row.where}: label is {malignant:g}; must be 0 or 1 (malignant)")
    columns: dict[str, float | str] = {"malignant": malignant}
    if row.text("NoduleID"):
        columns["nodule_id"] = row.text("NoduleID")
    x, y, z = (row.number(name) for name in ("CoordX", "CoordY", "CoordZ"))
    return Finding(row.text("AnnotationID"), (x, y, z), math.nan, columns)


def _person(row: Row) -> dict[str, float | str]:
    """Age in years and sex at the date of a scan, where known.

    Raises:
      ValueError: the age is no number, or impossible.
    """
    age, sex = row.number("Age_at_StudyDate", blank=math.nan), row.text("Gender").lower()
    if age < 0 or age > OLDEST:
        raise ValueError(
            f"{row.where}: Age_at_StudyDate is {age:g}; must be 0 to {OLDEST} years, or blank"
        )
    return ({"age": age} if math.isfinite(age) else {}) | ({"sex": sex} if sex else {})


def _scan(uid: str, header: Header, rows: Sequence[Row]) -> Scan:
    return Scan(
        uid=uid,
        path=header.path,
        nodules=tuple(_finding(row) for row in rows),
        patient=rows[0].text("PatientID"),
        study_date=rows[0].date("StudyDate"),
        columns=_person(rows[0]),
    )


def _absent(rows: Mapping[str, Sequence[Row]], paths: Mapping[str, Sequence[Path]]) -> list[str]:
    """Messages on nodules without a scan, and on scans without a nodule."""
    counts = {uid: len(of_scan) for uid, of_scan in rows.items()}
    bare = sorted(set(paths) - set(rows))
    out = absent_scans(counts, paths, what="nodules")
    if bare:
        out.append(
            f"{len(bare)} of {len(paths)} scans left out: the table does not name them (first: "
            f"{bare[0]})"
        )
    return out


register(Source(name="luna25", title="LUNA25", read=read, files=files), module=__name__)
