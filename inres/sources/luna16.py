"""LUNA16: scans by subset with their annotated nodules and excluded findings.

  subset0..9/<seriesuid>.mhd with .raw or .zraw     the scans, ten folds
  annotations.csv                                   seriesuid,coordX,coordY,coordZ,diameter_mm;
                                                    further columns of numbers are properties
  annotations_excluded.csv                          the same; diameter -1 where unknown
  seg-lungs-LUNA16/<seriesuid>.mhd                  automatic lung masks (optional)

Every problem of such a tree is found before any voxel is read, and all are reported together.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres import vocabulary
from inres.config import Data
from inres.ct.header import Header, ScanError
from inres.ct.scan import read_header
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
from inres.sources._scans import (
    absent_scans,
    by_stem,
    check_inside,
    outside_message,
    place_text,
    read_headers,
)
from inres.sources._tables import read_rows
from inres.system.files import numeric_columns

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
NODULES, EXCLUDED = "annotations.csv", "annotations_excluded.csv"
MASKS = "seg-lungs-LUNA16"
SCANS = 888
COMPLETE = {NODULES: (1186, 601), EXCLUDED: (35192, 888)}
"""Number of rows in each table of the complete LUNA16, and of the scans they belong to."""
TRUNCATED = (NODULES, 1117)
"""Number of rows in an incomplete table that circulates."""

Table = Mapping[str, Sequence[Finding]]
"""Findings by series."""


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Read a tree's tables and headers.

    With `data.lung_masks` of `luna16`, every scan must have a mask that can be read.

    Raises:
      SourceError: the tree or a table is missing or malformed; a series lies in two subsets; a
        data file is missing or truncated; an annotation is a duplicate, lies outside its scan or
        has no diameter; no scan is left, or none with an annotation; no excluded finding belongs
        to a scan of the tree; or the counts differ and `data.expect_counts` is `strict`.
    """
    paths = _scan_paths(root)
    problems = no_problems()
    messages: list[str] = []
    tables = _tables(root, problems, messages)
    headers = read_headers(
        root, paths, data, problems=problems, messages=messages, progress=progress
    )
    scans = []
    for uid, header in headers.items():
        scans.append(_scan(uid, header, root, tables))
        check_inside(scans[-1].nodules, header, problems, table=NODULES)
        if data.lung_masks == "luna16":
            _check_mask(_mask_path(root, uid), problems)
    _check_series(tables, scans, paths, problems)
    excluded = tables.get(EXCLUDED, {})
    messages += outside_message(excluded, headers, what=f"findings of {EXCLUDED}")
    messages += _count_messages(data.expect_counts, paths, tables, problems)
    refuse(root, problems)
    return Scans(tuple(sorted(scans, key=lambda scan: (scan.subset, scan.uid))), tuple(messages))


def files(root: Path, data: Data) -> list[Path]:
    """Every file that `read`, and the scans it describes, depend on."""
    tables = [path for folder in ("", "CSVFILES") for path in (root / folder).glob("annotations*")]
    scans = [path for folder in _subset_folders(root) for path in folder.rglob("*")]
    masks = list((root / MASKS).glob("*")) if data.lung_masks == "luna16" else []
    kinds = (".mhd", ".raw", ".zraw", ".csv")
    return [path for path in tables + scans + masks if path.suffix in kinds]


def lung_mask(scan: Path, root: Path) -> Path | None:
    """The mask of a scan in `seg-lungs-LUNA16`; None if it has none or is not in the tree `root`.

    A scan of the tree may be named by any path that leads to its file.
    """
    mask = _mask_path(root, scan.stem)
    paths = (path for folder in _subset_folders(root) for path in folder.rglob("*.mhd"))
    known = any(path.stem == scan.stem and path.samefile(scan) for path in paths)
    return mask if known and mask.is_file() else None


def settings(data: Data) -> dict[str, Any]:
    """The fields of `config.data` on which the items depend.

    Strict counts are one of them: without, the tree has not been checked.
    """
    strict = {"expect_counts": "strict"} if data.expect_counts == "strict" else {}
    return scan_settings(data) | strict


def read_findings(path: Path, *, prefix: str = "") -> tuple[dict[str, list[Finding]], list[str]]:
    """The findings of a CSV file by series, and a message for each bad line.

    A diameter of -1 becomes NaN. Names are `<prefix><seriesuid>/<n>`, n counting from 0. Other
    columns that hold nothing but numbers and blanks become `columns`.

    Raises:
      SourceError: the file or a column is missing.
    """
    rows = read_rows(path, COLUMNS)
    known = [one.name for one in vocabulary.PROPERTIES]
    numeric = numeric_columns([row.values for row in rows], known=known)
    others = [name for name in numeric if name not in COLUMNS]
    found: dict[str, list[Finding]] = defaultdict(list)
    bad = []
    for row in rows:
        uid = row.text("seriesuid")
        try:
            x, y, z, diameter = (row.number(name) for name in COLUMNS[1:])
            columns = {name: row.number(name, blank=np.nan) for name in others}
            if not uid:
                raise ValueError(f"{row.where}: seriesuid is blank")
            if diameter <= 0 and diameter != -1:
                raise ValueError(f"{row.where}: diameter_mm is {diameter:g}; must be above 0")
            if diameter > 0 and (problem := vocabulary.out_of_range("diameter_mm", diameter)):
                raise ValueError(f"{row.where}: {problem}")
        except ValueError as error:
            bad.append(str(error))
            continue
        diameter = float("nan") if diameter == -1 else diameter
        columns = {name: value for name, value in columns.items() if value == value}
        name = f"{prefix}{uid}/{len(found[uid])}"
        found[uid].append(Finding(name, (x, y, z), diameter, columns))
    return dict(found), bad


# Scans


def _subset_folders(root: Path) -> list[Path]:
    return [p for p in sorted(root.glob("subset*")) if p.name.removeprefix("subset").isdecimal()]


def _subset(root: Path, path: Path) -> int:
    return int(path.relative_to(root).parts[0].removeprefix("subset"))


def _mask_path(root: Path, uid: str) -> Path:
    return root / MASKS / f"{uid}.mhd"


def _scan_paths(root: Path) -> dict[str, list[Path]]:
    """The .mhd files of all subset folders by series."""
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; set config.data.root to the LUNA16 tree")
    folders = _subset_folders(root)
    paths = by_stem(path for folder in folders for path in folder.rglob("*.mhd"))
    if not paths:
        raise SourceError(
            f"{root}: no scans; expected subset0 to subset9 with .mhd files "
            f"(found {len(folders)} subset folders)"
        )
    return paths


def _scan(uid: str, header: Header, root: Path, tables: Mapping[str, Table]) -> Scan:
    """One scan with its findings."""
    mask = _mask_path(root, uid)
    return Scan(
        uid=uid,
        path=header.path,
        subset=_subset(root, header.path),
        nodules=tuple(tables[NODULES].get(uid, ())),
        excluded=tuple(tables.get(EXCLUDED, {}).get(uid, ())),
        lung_mask=mask if mask.is_file() else None,
    )


def _check_mask(mask: Path, problems: Problems) -> None:
    try:
        read_header(mask)
    except ScanError as error:
        problems[
            f"scans without a lung mask that can be read; fetch {MASKS} or set "
            "config.data.lung_masks = 'threshold'"
        ].append(str(error))


# Tables


def _tables(root: Path, problems: Problems, messages: list[str]) -> dict[str, Table]:
    """The findings of both tables by file name; without excluded findings, of the first alone."""
    tables: dict[str, Table] = {NODULES: _table(root, NODULES, problems)}
    if os.path.lexists(_table_path(root, EXCLUDED)):
        tables[EXCLUDED] = _table(root, EXCLUDED, problems, prefix="excluded/")
    else:
        messages.append(f"{EXCLUDED} not found: normal slices avoid annotated nodules only")
    if not (tables[NODULES] or any(problems.values())):
        messages.append(f"{NODULES} has no rows: every slice counts as normal")
    _check_nodules(tables[NODULES], problems)
    return tables


def _table_path(root: Path, name: str) -> Path:
    places = (root / name, root / "CSVFILES" / name)
    return next((path for path in places if os.path.lexists(path)), root / name)


def _table(root: Path, name: str, problems: Problems, *, prefix: str = "") -> Table:
    try:
        found, bad = read_findings(_table_path(root, name), prefix=prefix)
    except SourceError as error:
        problems["tables"].append(str(error))
        return {}
    if bad:
        problems["lines that cannot be read; correct them"] += bad
    return found


def _check_nodules(nodules: Table, problems: Problems) -> None:
    """Every nodule must have a diameter and a place of its own."""
    for findings in nodules.values():
        places = Counter(finding.world_mm for finding in findings)
        for finding in findings:
            case = f"{finding.name} at {place_text(finding.world_mm)}"
            if np.isnan(finding.diameter_mm):
                problems["annotations without a diameter; correct annotations.csv"].append(case)
            if places[finding.world_mm] > 1:
                places[finding.world_mm] = 0
                problems["nodules annotated twice; remove a line of annotations.csv"].append(case)


def _check_series(
    tables: Mapping[str, Table],
    scans: Sequence[Scan],
    paths: Mapping[str, Sequence[Path]],
    problems: Problems,
) -> None:
    """A table may list scans that are absent, but not only such scans.

    Excluded findings may all belong to scans that are left out: then none is near a normal slice.
    """
    known = {
        NODULES: {scan.uid: scan.path for scan in scans},
        EXCLUDED: {uid: places[0] for uid, places in paths.items()},
    }
    for name, table in tables.items():
        here = known[name]
        if table and here and not table.keys() & here.keys():
            problems[
                "tables without any finding of a scan that is present and kept; a seriesuid is the "
                "name of a scan's file"
            ].append(
                f"{name} has {next(iter(table))!r}, the scans have {next(iter(here.values()))}"
            )


# Counts


def _count_messages(
    expect: str,
    paths: Mapping[str, Sequence[Path]],
    tables: Mapping[str, Table],
    problems: Problems,
) -> list[str]:
    """Messages on scans that are absent, and on other differences from the complete LUNA16.

    With `expect` of `strict` all of these are problems; `off` compares no counts.
    """
    differences = _absent(paths, tables)
    if expect != "off":
        differences = _differences(paths, tables) + differences
    if expect == "strict" and differences:
        problems["not the complete LUNA16; config.data.expect_counts = 'auto' accepts it"] = (
            differences
        )
        return []
    return differences


def _differences(paths: Mapping[str, Sequence[Path]], tables: Mapping[str, Table]) -> list[str]:
    """How the counts of scans and findings differ from the complete LUNA16."""
    out = []
    if len(paths) != SCANS:
        out.append(f"this tree has {len(paths)} scans, the complete LUNA16 {SCANS}")
    for name, table in tables.items():
        rows = sum(map(len, table.values()))
        if (rows, len(table)) != COMPLETE[name]:
            complete = "{} of {}".format(*COMPLETE[name])
            copy = (name, rows) == TRUNCATED
            out.append(
                f"{name} has {rows} findings of {len(table)} scans, the complete LUNA16 {complete}"
                + (" (a truncated copy with these rows circulates)" if copy else "")
            )
    return out


def _absent(paths: Mapping[str, Sequence[Path]], tables: Mapping[str, Table]) -> list[str]:
    """How many findings are lost because their scans are absent or misnamed."""
    return [
        message
        for name, table in tables.items()
        for message in absent_scans(_counts(table), paths, what=f"findings of {name}")
    ]


def _counts(table: Table) -> dict[str, int]:
    return {uid: len(findings) for uid, findings in table.items()}


register(
    Source(
        name="luna16",
        title="LUNA16",
        read=read,
        files=files,
        settings=settings,
        lung_mask=lung_mask,
    ),
    module=__name__,
)
