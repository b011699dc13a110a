"""Data Science Bowl 2017: one scan per patient, labelled by a diagnosis of lung cancer in a year.

  stage1/<patient>/*.dcm, stage2/...             the scans (patients are 32 hexadecimal digits)
  stage1_labels.csv, stage1_solution.csv         id,cancer (0 or 1)
  stage2_solution.csv
  any other .csv                                 locations (optional), see below

All items of a scan have its label, the column `cancer`. Folds are 0 for the training patients of
stage 1, 1 for its test patients, and 2 for stage 2. Scans without a label are left out.

No nodule is marked, so items are places spread evenly through the lungs. Tables of locations that
participants published change that: id,coordx1,coordx2,coordx3,diameter in pixels, x and y within
the slice and z as the number of the slice from below, all from 0, and zeros where nothing was
found. (Diameters are those of discs of whole numbers of pixels. The order of the axes follows the
authors' program; whether they counted from 0 or 1 is not known.)
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres.config import Data
from inres.ct.header import Header, vector
from inres.ct.parts import scan_parts
from inres.sources import Finding, Progress, Scan, Scans, Source, SourceError, register
from inres.sources._problems import Problems, no_problems, refuse
from inres.sources._scans import absent_scans, check_inside, read_headers
from inres.sources._tables import Row, column_names, plain, read_rows

LABELS = ("stage1_labels*.csv", "stage1_solution*.csv", "stage2_solution*.csv")
"""Tables of labels, by fold."""
PLACE = ("id", "coordx1", "coordx2", "coordx3", "diameter")
SCANS = 2101
"""Patients of both stages."""
_PATIENT = re.compile(r"[0-9a-f]{32}")

Labels = Mapping[str, tuple[int, float]]
"""Fold and label of each patient."""


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Read the tables, and the headers of all scans with a label.

    Raises:
      SourceError: there is no scan or table of labels, a line is malformed, labels contradict each
        other, a scan cannot be read, or a location lies outside its scan.
    """
    problems = no_problems()
    messages: list[str] = []
    labels = _labels(root, problems)
    places = _places(root, problems, messages)
    folders = _patients(root)
    messages += _stray(folders)
    messages += _unlabelled(folders, labels)
    messages += absent_scans(dict.fromkeys(labels, 1), folders, what="labels")
    counts = {name: len(rows) for name, rows in places.items()}
    messages += absent_scans(counts, folders, what="locations")
    if data.expect_counts != "off" and len(folders) != SCANS:
        messages.append(f"{root} has {len(folders)} patients, both stages have {SCANS}")
    known = {name: where for name, where in folders.items() if name in labels}
    if not known:
        refuse(root, problems)
        raise SourceError(
            f"{root}: the tables label none of the {len(folders)} patients (first: "
            f"{next(iter(folders))}); add the tables of their stage"
        )
    headers = read_headers(
        root, known, data, problems=problems, messages=messages, progress=progress
    )
    scans = []
    for name, header in headers.items():
        nodules = [_finding(name, n, row, header) for n, row in enumerate(places.get(name, ()))]
        check_inside(nodules, header, problems, table="the table of locations")
        scans.append(_scan(name, header, labels[name], nodules))
    messages += _telling(scans)
    refuse(root, problems)
    return Scans(tuple(sorted(scans, key=lambda scan: (scan.subset, scan.uid))), tuple(messages))


def files(root: Path, data: Data) -> list[Path]:
    """The tables, and every file of the scans."""
    scans = [place for places in _patients(root).values() for place in places]
    return [*root.glob("*.csv"), *(part for path in scans for part in scan_parts(path))]


# Scans


def _patients(root: Path) -> dict[str, list[Path]]:
    """The folders of all patients."""
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; set config.data.root to the folder of DSB 2017")
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((*root.glob("*"), *root.glob("*/*"), *root.glob("*/*/*"))):
        if _PATIENT.fullmatch(path.name) and path.is_dir():
            found[path.name].append(path)
    if not found:
        raise SourceError(
            f"{root}: no scans; expected stage1/<patient>/*.dcm, patients being 32 hexadecimal "
            "digits"
        )
    return dict(found)


def _stray(folders: Mapping[str, Sequence[Path]]) -> list[str]:
    """A message on slices next to the folders of the patients."""
    parents = {place.parent for places in folders.values() for place in places}
    stray = sorted(path for parent in parents for path in parent.glob("*.dcm"))
    if not stray:
        return []
    return [f"{len(stray)} files next to the patients' folders ignored (first: {stray[0]})"]


def _unlabelled(folders: Mapping[str, Sequence[Path]], labels: Labels) -> list[str]:
    bare = [name for name in folders if name not in labels]
    if not bare:
        return []
    return [
        f"{len(bare)} of {len(folders)} scans left out: no table labels them (first: "
        f"{folders[bare[0]][0]}); add stage1_solution.csv or stage2_solution.csv"
    ]


def _scan(name: str, header: Header, label: tuple[int, float], nodules: Sequence[Finding]) -> Scan:
    fold, cancer = label
    return Scan(
        uid=name,
        path=header.path,
        subset=fold,
        nodules=tuple(nodules),
        patient=name,
        columns={"cancer": cancer},
        spread=not nodules,
    )


# Tables


def _label_tables(root: Path) -> Iterator[tuple[int, Path]]:
    """The tables of labels with their fold."""
    for fold, pattern in enumerate(LABELS):
        for table in sorted(root.glob(pattern)):
            yield fold, table


def _labels(root: Path, problems: Problems) -> Labels:
    """The label of each patient; the first table that has one gives the fold."""
    tables = list(_label_tables(root))
    if not tables:
        raise SourceError(f"{root}: no labels; expected stage1_labels.csv with columns id,cancer")
    found: dict[str, tuple[int, float]] = {}
    for fold, table in tables:
        for row in read_rows(table, ("id", "cancer")):
            try:
                patient = _patient(row)
                cancer = row.number("cancer")
                if cancer not in (0, 1):
                    raise ValueError(f"{row.where}: cancer is {cancer:g}; must be 0 or 1")
            except ValueError as error:
                problems["lines that cannot be read; correct them"].append(str(error))
                continue
            first = found.setdefault(patient, (fold, cancer))
            if first[1] != cancer:
                problems["patients of two labels; correct a table"].append(
                    f"{row.where}: {patient} has cancer {cancer:g}, before {first[1]:g}"
                )
    return found


def _patient(row: Row) -> str:
    """The patient of a row.

    Raises:
      ValueError: it is blank.
    """
    if not row.text("id"):
        raise ValueError(f"{row.where}: id is blank")
    return row.text("id")


def _places(root: Path, problems: Problems, messages: list[str]) -> dict[str, list[Row]]:
    """The rows of each patient in all tables of locations; those that are all zero are none."""
    labels = {table for _, table in _label_tables(root)}
    found: dict[str, list[Row]] = defaultdict(list)
    for table in sorted(set(root.glob("*.csv")) - labels):
        if not _has_places(table):
            messages.append(
                f"{table} ignored: neither of labels (by its name) nor of locations (columns "
                f"{','.join(PLACE)})"
            )
            continue
        for row in read_rows(table, PLACE):
            try:
                patient = _patient(row)
                values = [row.number(name, blank=0.0) for name in PLACE[1:]]
                if min(values) < 0:
                    raise ValueError(f"{row.where}: {min(values):g}; must be 0 or more")
                if any(values):
                    for name in PLACE[1:4]:
                        row.number(name)  # a blank is no 0
            except ValueError as error:
                problems["lines that cannot be read; correct them"].append(str(error))
                continue
            if any(values):
                found[patient].append(row)
    return dict(found)


def _has_places(table: Path) -> bool:
    """Whether a table is one of locations, by its first line: if so, it must have all columns."""
    return not {*PLACE[1:4]}.isdisjoint(map(plain, column_names(table)))


def _finding(patient: str, number: int, row: Row, header: Header) -> Finding:
    """A location in the world; slices count from below, in whatever order the scan has them."""
    x, y, z, diameter = (row.number(name, blank=0.0) for name in PLACE[1:])
    if header.direction[2, 2] < 0:
        z = header.shape[0] - 1 - z
    world = vector(header.index_to_world(np.array([z, y, x])))
    diameter_mm = diameter * header.spacing_mm[0] if diameter > 0 else math.nan
    return Finding(f"{patient}/{number}", world, diameter_mm)


def _telling(scans: Sequence[Scan]) -> list[str]:
    """A message where locations are known of patients of one label only."""
    marked = Counter(scan.columns["cancer"] for scan in scans if not scan.spread)
    every = Counter(scan.columns["cancer"] for scan in scans)
    if len(marked) != 1 or len(every) < 2:
        return []
    return [
        f"locations are known of patients with cancer {next(iter(marked)):g} alone: whether an "
        "item shows a nodule or a place spread through the lungs then tells the label; remove the "
        "table of locations, or add one for the others"
    ]


register(
    Source(name="dsb2017", title="Data Science Bowl 2017", read=read, files=files),
    module=__name__,
)
