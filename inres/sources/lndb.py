"""LNDb: 294 scans of which 236 are public, each read by one to three of five radiologists.

  data0..5/LNDb-0001.mhd with .raw      the scans (in any folder)
  allNods.csv                           nodules of all readers, merged, with mean ratings; or else
  trainNodules_gt.csv                   the same without ratings
  chars_trainNodules.csv                each reader's ratings (optional)
  trainFolds.csv                        the four official folds (optional)

Tables lie next to the scans' folders or in `trainset_csv`. A cell may list several readers,
separated by commas. A finding that no reader calls a nodule is none. LNDb measures no nodule below
3 mm and gives all of these 3 mm. The masks of single readers are not used.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inres import vocabulary
from inres.config import Data
from inres.ct.header import Header
from inres.ct.parts import scan_parts
from inres.sources import Finding, Progress, Scan, Scans, Source, SourceError, register
from inres.sources._problems import Problems, no_problems, refuse
from inres.sources._scans import absent_scans, by_stem, check_inside, read_headers
from inres.sources._tables import Row, read_rows

ALL, MERGED = "allNods.csv", "trainNodules_gt.csv"
RATINGS, FOLDS = "chars_trainNodules.csv", "trainFolds.csv"
SCANS = 236
SMALLEST_MM = 3.0
"""Diameter that the tables give nodules below 3 mm."""
_NAME = re.compile(r"LNDb-(\d+)")
_PLACE = ("LNDbID", "FindingID", "RadID", "Nodule", "x", "y", "z")
_RATED = {
    "Texture": "texture",
    "Calcification": "calcification",
    "InternalStructure": "internal_structure",
    "Lobulation": "lobulation",
    "Malignancy": "malignancy",
    "Margin": "margin",
    "Sphericity": "sphericity",
    "Spiculation": "spiculation",
    "Subtlety": "subtlety",
}
"""Columns of mean ratings, and of single ones but for the case of the first letter; ours."""

_OPTIONAL = ("RadFinding", "RadFindingID", "DiamEq_Rad", "Volume", "Text")
KINDS = "internal_structure"

Mark = tuple[int, int, int]
"""Scan, reader, and number of the finding among those of this reader."""
Opinions = Mapping[Mark, Mapping[str, float]]
"""Ratings of one reader by our names."""
Found = dict[int, tuple[list[Finding], list[Finding]]]
"""Nodules and other findings of each scan."""


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Read the tables and the headers of all scans.

    Nodules have the columns `readers` (how many call it one) and, where rated, the mean rating and
    its standard deviation over the readers, if there are several.

    Raises:
      SourceError: there is no scan or table, a table is malformed, a scan cannot be read or exists
        twice, or a nodule lies outside its scan.
    """
    paths = _scan_paths(root)
    problems = no_problems()
    messages: list[str] = []
    found = _findings(root, problems, messages)
    folds = _folds(root, problems)
    counts = {_name(number): len(nodules) for number, (nodules, _) in found.items()}
    messages += absent_scans(counts, paths, what="nodules")
    if data.expect_counts != "off" and len(paths) != SCANS:
        messages.append(f"{root} has {len(paths)} scans, the public part of LNDb {SCANS}")
    headers = read_headers(
        root, paths, data, problems=problems, messages=messages, progress=progress
    )
    scans = []
    for name, header in headers.items():
        number = _number(name)
        nodules, excluded = found.get(number, ([], []))
        check_inside(nodules, header, problems, table="the table")
        scans.append(_scan(header, folds.get(number, -1), nodules, excluded))
    refuse(root, problems)
    return Scans(tuple(scans), tuple(messages))


def files(root: Path, data: Data) -> list[Path]:
    """The tables, and every file of the scans."""
    tables = (_table(root, name) for name in (ALL, MERGED, RATINGS, FOLDS))
    scans = [place for places in _scan_paths(root).values() for place in places]
    parts = {part for path in scans for part in scan_parts(path)}
    return [*(table for table in tables if table), *parts]


# Scans


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    assert match
    return int(match[1])


def _name(number: int) -> str:
    return f"LNDb-{number:04d}"


def _scan_paths(root: Path) -> dict[str, list[Path]]:
    """The scans by their name; masks have longer names."""
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; set config.data.root to the folder of LNDb")
    paths = [path for path in root.rglob("LNDb-*.mhd") if _NAME.fullmatch(path.stem)]
    if not paths:
        raise SourceError(f"{root}: no scans; expected data0/LNDb-0001.mhd and others")
    return by_stem(paths)


def _scan(
    header: Header, fold: int, nodules: Sequence[Finding], excluded: Sequence[Finding]
) -> Scan:
    name = header.path.stem
    return Scan(
        uid=name,
        path=header.path,
        subset=fold,
        nodules=tuple(nodules),
        excluded=tuple(excluded),
        patient=name,
    )


# Tables


def _table(root: Path, name: str) -> Path | None:
    places = (root / name, root / "trainset_csv" / name, root / "csv" / name)
    return next((path for path in places if path.is_file()), None)


def _findings(root: Path, problems: Problems, messages: list[str]) -> Found:
    """The findings of each scan by its number."""
    table = _table(root, ALL) or _table(root, MERGED)
    if table is None:
        raise SourceError(
            f"{root}: no table of nodules; expected {ALL} or {MERGED}, here or in trainset_csv"
        )
    rows = read_rows(table, _PLACE, (*_RATED, *_OPTIONAL))
    opinions = _opinions(root, problems)
    found: Found = defaultdict(lambda: ([], []))
    unplaced, small = 0, 0
    for row in rows:
        if not any(row.text(axis) for axis in "xyz"):
            unplaced += 1
            continue
        try:
            number, readers, finding = _finding(row, opinions)
        except ValueError as error:
            problems["lines that cannot be read; correct them"].append(str(error))
            continue
        small += bool(readers) and abs(finding.diameter_mm - SMALLEST_MM) < 1e-6
        found[number][0 if readers else 1].append(finding)
    if unplaced:
        messages.append(
            f"{unplaced} of {len(rows)} rows of {table.name} left out: known from the text of a "
            "report alone, without a place"
        )
    if small:
        messages.append(
            f"{small} nodules are below 3 mm and were not measured; LNDb gives them "
            f"{SMALLEST_MM:g} mm"
        )
    if not opinions:
        messages.append(f"{RATINGS} not found: how readers differ in their ratings is unknown")
    return dict(found)


def _finding(row: Row, opinions: Opinions) -> tuple[int, int, Finding]:
    """The scan's number, how many readers call it a nodule, and the finding.

    Raises:
      ValueError: names file, line and column.
    """
    number, finding = (_whole(row, name) for name in ("LNDbID", "FindingID"))
    readers = [_whole_text(row, "RadID", text) for text in _cell(row, "RadID")]
    of_reader = "RadFinding" if "RadFinding" in row.values else "RadFindingID"
    marks = [_whole_text(row, of_reader, text) for text in _cell(row, of_reader)]
    nodule = [_whole_text(row, "Nodule", text) for text in _cell(row, "Nodule")]
    if not readers or len(marks) != len(readers) or len(nodule) not in (1, len(readers)):
        raise ValueError(
            f"{row.where}: {len(readers)} readers in RadID, {len(marks)} in {of_reader}, "
            f"{len(nodule)} in Nodule; must be as many in each"
        )
    if not {*nodule} <= {0, 1}:
        raise ValueError(f"{row.where}: Nodule is {row.text('Nodule')}; must be 0 or 1 by reader")
    votes = nodule if len(nodule) == len(readers) else nodule * len(readers)
    seen = [
        (number, reader, mark)
        for reader, mark, vote in zip(readers, marks, votes, strict=True)
        if vote
    ]
    world = tuple(row.number(axis) for axis in "xyz")
    diameter = _diameter_mm(row) if seen else math.nan
    columns = {"readers": float(len(seen)), **_ratings(row, seen, opinions)} if seen else {}
    name = f"{_name(number)}/{finding}"
    return number, len(seen), Finding(name, world, diameter, columns)  # type: ignore[arg-type]


def _ratings(row: Row, marks: Sequence[Mark], opinions: Opinions) -> dict[str, float]:
    """Mean and standard deviation of each rating; 0 and blanks are no ratings.

    Of the internal structure, whose values are kinds, it is the most frequent one.
    """
    known: dict[str, float] = {}
    for theirs, ours in _RATED.items():
        single = [opinions[mark][ours] for mark in marks if ours in opinions.get(mark, {})]
        if ours == "texture":
            single = [
                value
                for text in _cell(row, "Text")
                if (value := _rating(_part(row, "Text", text), "Text", ours)) > 0
            ]
        mean = _rating(row, theirs, ours)
        if ours == KINDS:
            if single or (mean > 0 and mean == int(mean)):
                known[ours] = max(sorted(set(single)), key=single.count) if single else mean
            continue
        if mean > 0 or single:
            known[ours] = mean if mean > 0 else float(np.mean(single))
        if len(single) > 1:
            known[f"{ours}_sd"] = float(np.std(single))
    return known


def _rating(row: Row, column: str, name: str) -> float:
    """A rating that we call `name`; 0 where there is none."""
    value = row.number(column, blank=0.0)
    most = vocabulary.find_property(name).high if name != KINDS else 4.0
    if value and not 1 <= value <= most:
        raise ValueError(f"{row.where}: {column} is {value:g}; must be 1 to {most:g}, or blank")
    return value


def _diameter_mm(row: Row) -> float:
    """The diameter as the table gives it, or that of a sphere of the volume."""
    if "DiamEq_Rad" in row.values:
        diameter = row.number("DiamEq_Rad")
    else:
        diameter = 2 * (3 * max(0.0, row.number("Volume", blank=0.0)) / (4 * math.pi)) ** (1 / 3)
    if diameter <= 0:
        raise ValueError(f"{row.where}: the nodule has no size (DiamEq_Rad or Volume)")
    return diameter


def _opinions(root: Path, problems: Problems) -> Opinions:
    """The ratings of every mark of a reader."""
    table = _table(root, RATINGS)
    if table is None:
        return {}
    names = {theirs[0].lower() + theirs[1:]: ours for theirs, ours in _RATED.items()}
    found: dict[Mark, dict[str, float]] = {}
    for row in read_rows(table, ("LNDbID", "RadID", "FindingID"), tuple(names)):
        try:
            scan, reader, mark = (_whole(row, name) for name in ("LNDbID", "RadID", "FindingID"))
            values = {ours: _rating(row, theirs, ours) for theirs, ours in names.items()}
        except ValueError as error:
            problems["lines that cannot be read; correct them"].append(str(error))
            continue
        found[scan, reader, mark] = {name: value for name, value in values.items() if value > 0}
    return found


def _folds(root: Path, problems: Problems) -> dict[int, int]:
    """The official fold of each scan by its number; empty without their table."""
    table = _table(root, FOLDS)
    if table is None:
        return {}
    folds: dict[int, int] = {}
    for row in read_rows(table, ("Fold0",)):
        for name in row.values:
            match = re.fullmatch(r"Fold(\d+)", name)
            if match and row.text(name):
                try:
                    scan, fold = _whole(row, name), int(match[1])
                    if folds.setdefault(scan, fold) != fold:
                        raise ValueError(
                            f"{row.where}: scan {scan} is in folds {folds[scan]} and "
                            f"{fold}; remove one"
                        )
                except ValueError as error:
                    problems["lines that cannot be read; correct them"].append(str(error))
    return folds


def _cell(row: Row, column: str) -> list[str]:
    """The values that a cell lists."""
    return [part.strip() for part in row.text(column).split(",") if part.strip()]


def _part(row: Row, column: str, text: str) -> Row:
    """A row of one of the values that a cell lists."""
    return Row(row.path, row.line, {column: text})


def _whole_text(row: Row, column: str, text: str) -> int:
    value = _part(row, column, text).number(column)
    if value != int(value):
        raise ValueError(f"{row.where}: {column} is {text}; must be a whole number")
    return int(value)


def _whole(row: Row, column: str) -> int:
    return _whole_text(row, column, row.text(column))


register(Source(name="lndb", title="LNDb", read=read, files=files), module=__name__)
