"""A LUNA16 tree: scans by subset with their annotated nodules and excluded findings.

  subset0..9/<seriesuid>.mhd with .raw or .zraw     the scans, ten folds
  annotations.csv                                   seriesuid,coordX,coordY,coordZ,diameter_mm
  annotations_excluded.csv                          the same; diameter -1 where unknown
  seg-lungs-LUNA16/<seriesuid>.mhd                  automatic lung masks (optional)

Everything that is wrong with a tree is found before any voxel is read, and reported together.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inres.ct.header import Header, ScanError, Vector
from inres.ct.scan import read_header
from inres.system import files
from inres.system.progress import progress as default_progress

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
NODULES, EXCLUDED = "annotations.csv", "annotations_excluded.csv"
SCANS = 888
COMPLETE = {NODULES: (1186, 601), EXCLUDED: (35192, 888)}
"""Rows of each table of the complete LUNA16, and the scans that they are of."""
TRUNCATED = (NODULES, 1117)
"""The rows of an incomplete table that circulates."""
_SHOWN = 10
_OUTSIDE = "annotations outside of their scan; correct annotations.csv or the scan's header"
_NO_MASK = (
    "scans without a lung mask that can be read; fetch seg-lungs-LUNA16 or set "
    "data.lung_masks=threshold"
)
_NO_SCAN = "tables of no scan that is here and kept; a seriesuid is the name of a scan's file"


class Luna16Error(ValueError):
    """A tree cannot be used; the message lists every kind of problem with its first cases."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A marked place in a scan."""

    name: str
    """Unique over scans: the series and a running number."""
    world_mm: Vector
    """x, y, z of the centre (LPS)."""
    diameter_mm: float
    """NaN where unknown."""


@dataclasses.dataclass(frozen=True)
class ScanEntry:
    """One scan of the tree."""

    uid: str
    path: Path
    subset: int
    nodules: tuple[Finding, ...] = ()
    excluded: tuple[Finding, ...] = ()
    lung_mask: Path | None = None
    """The file of `seg-lungs-LUNA16`, where there is one."""


@dataclasses.dataclass(frozen=True)
class Luna16:
    """A checked tree."""

    scans: tuple[ScanEntry, ...]
    """Ordered by subset and series."""
    messages: tuple[str, ...]
    """What a reader of the results should know."""


def read_findings(path: Path, *, prefix: str = "") -> tuple[dict[str, list[Finding]], list[str]]:
    """The findings of a CSV file by series, and its bad lines as texts.

    A diameter of -1 becomes NaN. Names are `<prefix><seriesuid>/<n>`, n counting from 0.

    Raises:
      Luna16Error: no such file, or a column is missing.
    """
    try:
        rows = files.read_csv_lines(path, COLUMNS)
    except (ValueError, FileNotFoundError) as error:
        raise Luna16Error(str(error)) from None
    found: dict[str, list[Finding]] = defaultdict(list)
    bad = []
    for line, row in rows:
        where = f"{path}: line {line}"
        uid = row["seriesuid"].strip()
        try:
            x, y, z, diameter = (files.number(row, name, where=where) for name in COLUMNS[1:])
            if not uid:
                raise ValueError(f"{where}: seriesuid is blank")
            if diameter <= 0 and diameter != -1:
                raise ValueError(f"{where}: diameter_mm is {diameter:g}; must be above 0")
        except ValueError as error:
            bad.append(str(error))
            continue
        diameter = float("nan") if diameter == -1 else diameter
        name = f"{prefix}{uid}/{len(found[uid])}"
        found[uid].append(Finding(name, (x, y, z), diameter))
    return dict(found), bad


def read_luna16(
    root: str | Path,
    *,
    max_thickness_mm: float = 2.5,
    expect_counts: str = "auto",
    need_masks: bool = False,
    progress: Callable[..., Iterable[Any]] = default_progress,
) -> Luna16:
    """Read a tree's tables and headers.

    Args:
      root: the tree.
      max_thickness_mm: scans with thicker slices are left out, with a message; 0 keeps all.
      expect_counts: whether the complete LUNA16's counts are expected: `auto` gives a message
        where they differ, `strict` is an error, `off` is silent.
      need_masks: a scan without a mask in `seg-lungs-LUNA16`, or without that mask's data file,
        is an error.
      progress: wraps the reading of the headers, as `inres.system.progress.progress`.

    Raises:
      Luna16Error: the tree or a table is missing or malformed, a series lies in two subsets,
        a data file is missing or truncated, an annotation is doubled, lies outside of its scan
        or has no diameter, no scan is left, none with an annotation, or excluded findings are of
        no scan at all.
    """
    root = Path(root)
    paths = _scan_paths(root)
    problems: dict[str, list[str]] = defaultdict(list)
    messages: list[str] = []
    nodules = _table(root, NODULES, problems) or {}
    excluded = _table(root, EXCLUDED, problems, prefix="excluded/", optional=True)
    if excluded is None:
        messages.append(f"{EXCLUDED} not found: normal slices keep clear of annotated nodules only")
    _check_tables(nodules, root, problems)

    entries, thick = [], []
    for uid in progress(sorted(paths), name="headers", total=len(paths), unit="scan"):
        places = paths[uid]
        if len(places) > 1:
            problems["series found twice; remove one"].append(" and ".join(map(str, places)))
            continue
        path = places[0]
        try:
            header = read_header(path)
        except ScanError as error:
            problems["scans that cannot be read"].append(str(error))
            continue
        if 0 < max_thickness_mm < header.thickness_mm - 1e-3:
            thick.append(header.thickness_mm)
            continue
        inside = nodules.get(uid, [])
        for finding in inside:
            if not header.contains(np.array(finding.world_mm)):
                problems[_OUTSIDE].append(_outside(finding, header))
        mask = root / "seg-lungs-LUNA16" / f"{uid}.mhd"
        if need_masks:
            try:
                read_header(mask)
            except ScanError as error:
                problems[_NO_MASK].append(str(error))
        entries.append(
            ScanEntry(
                uid=uid,
                path=path,
                subset=_subset(root, path),
                nodules=tuple(inside),
                excluded=tuple((excluded or {}).get(uid, [])),
                lung_mask=mask if mask.is_file() else None,
            )
        )
    if thick:
        messages.append(
            f"{len(thick)} of {len(paths)} scans left out: slices thicker than "
            f"{max_thickness_mm:g} mm (up to {max(thick):g}); --config.data.max_thickness_mm=0 "
            "keeps them"
        )
    if not entries and not problems:
        raise Luna16Error(f"{root}: no scan left. {messages[-1]}")
    tables = {NODULES: nodules} | ({} if excluded is None else {EXCLUDED: excluded})
    _check_series(NODULES, nodules, {entry.uid: entry.path for entry in entries}, problems)
    # All excluded findings may be of scans that are left out: then none is near a normal slice.
    here = {uid: places[0] for uid, places in paths.items()}
    _check_series(EXCLUDED, excluded or {}, here, problems)
    differences = _absent(paths, tables)
    if expect_counts != "off":
        differences = _differences(paths, tables) + differences
    if expect_counts == "strict" and differences:
        problems["not the complete LUNA16; --config.data.expect_counts=auto goes on"] = differences
    else:
        messages += differences
    if problems:
        raise Luna16Error(_listed(root, problems))
    entries.sort(key=lambda entry: (entry.subset, entry.uid))
    return Luna16(tuple(entries), tuple(messages))


def lung_mask_of(scan: Path, root: Path) -> Path | None:
    """The mask of a scan in `seg-lungs-LUNA16`; None if it has none or is not of the tree `root`.

    A scan of the tree may be named by any path that leads to its file.
    """
    mask = root / "seg-lungs-LUNA16" / f"{scan.stem}.mhd"
    paths = (path for folder in _subset_folders(root) for path in folder.rglob("*.mhd"))
    known = any(path.stem == scan.stem and path.samefile(scan) for path in paths)
    return mask if known and mask.is_file() else None


def _subset(root: Path, path: Path) -> int:
    return int(path.relative_to(root).parts[0].removeprefix("subset"))


def tree_files(root: Path, *, lung_masks: bool) -> list[Path]:
    """Every file that `read_luna16` and the scans it lists are read from."""
    tables = [path for folder in ("", "CSVFILES") for path in (root / folder).glob("annotations*")]
    scans = [path for folder in _subset_folders(root) for path in folder.rglob("*")]
    masks = list((root / "seg-lungs-LUNA16").glob("*")) if lung_masks else []
    kinds = (".mhd", ".raw", ".zraw", ".csv")
    return [path for path in tables + scans + masks if path.suffix in kinds]


def _subset_folders(root: Path) -> list[Path]:
    return [p for p in sorted(root.glob("subset*")) if p.name.removeprefix("subset").isdigit()]


def _scan_paths(root: Path) -> dict[str, list[Path]]:
    """The .mhd files of all subset folders by series."""
    if not root.is_dir():
        raise Luna16Error(f"{root}: no such folder; give the LUNA16 tree as --config.data.root")
    folders = _subset_folders(root)
    paths: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for path in sorted(folder.rglob("*.mhd")):
            paths[path.stem].append(path)
    if not paths:
        raise Luna16Error(
            f"{root}: no scans; expected subset0 to subset9 with .mhd files "
            f"(found {len(folders)} subset folders)"
        )
    return paths


def _table(
    root: Path,
    name: str,
    problems: dict[str, list[str]],
    *,
    prefix: str = "",
    optional: bool = False,
) -> dict[str, list[Finding]] | None:
    path = next((p for p in (root / name, root / "CSVFILES" / name) if p.is_file()), root / name)
    if optional and not path.is_file():
        return None
    try:
        found, bad = read_findings(path, prefix=prefix)
    except Luna16Error as error:
        problems["tables"].append(str(error))
        return {}
    if bad:
        problems["lines that cannot be read; correct them"] += bad
    return found


def _check_tables(
    nodules: Mapping[str, list[Finding]], root: Path, problems: dict[str, list[str]]
) -> None:
    for findings in nodules.values():
        places = Counter(finding.world_mm for finding in findings)
        for finding in findings:
            if np.isnan(finding.diameter_mm):
                problems["annotations without a diameter; correct annotations.csv"].append(
                    f"{finding.name} at {_text(finding.world_mm)}"
                )
            if places[finding.world_mm] > 1:
                places[finding.world_mm] = 0
                problems["nodules annotated twice; remove a line of annotations.csv"].append(
                    f"{finding.name} at {_text(finding.world_mm)}"
                )


def _check_series(
    name: str,
    table: Mapping[str, list[Finding]],
    scans: Mapping[str, Path],
    problems: dict[str, list[str]],
) -> None:
    """A table may be of more scans than are here, but not of others alone."""
    if table and scans and not table.keys() & scans.keys():
        problems[_NO_SCAN].append(
            f"{name} has {next(iter(table))!r}, {next(iter(scans.values()))} is there"
        )


def _text(world_mm: Vector) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in world_mm) + ") mm"


def _outside(finding: Finding, header: Header) -> str:
    corners = header.index_to_world(
        np.array([[-0.5, -0.5, -0.5], np.array(header.shape) - 0.5])  # opposite corners
    )
    low, high = corners.min(0), corners.max(0)
    return (
        f"{finding.name} at {_text(finding.world_mm)}; {header.path} reaches from "
        f"{_text(tuple(low))} to {_text(tuple(high))}"
    )


def _differences(
    paths: Mapping[str, list[Path]], tables: Mapping[str, Mapping[str, list[Finding]]]
) -> list[str]:
    """How the tree and its tables, by name, differ from the complete LUNA16, as messages."""
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


def _absent(
    paths: Mapping[str, list[Path]], tables: Mapping[str, Mapping[str, list[Finding]]]
) -> list[str]:
    """What the tables hold of scans that are not in the tree, or are misnamed, as messages."""
    out = []
    for name, table in tables.items():
        absent = [uid for uid in table if uid not in paths]
        if absent:
            rows, count = (sum(len(table[uid]) for uid in some) for some in (table, absent))
            out.append(
                f"{count} of {rows} findings of {name} left out: their {len(absent)} scans are not "
                f"in this tree (first: {absent[0]})"
            )
    return out


def _listed(root: Path, problems: Mapping[str, list[str]]) -> str:
    parts = [f"{root}: {sum(map(len, problems.values()))} problem(s)"]
    for kind, cases in problems.items():
        parts.append(f"{len(cases)} x {kind}:")
        parts += [f"  {case}" for case in cases[:_SHOWN]]
        if len(cases) > _SHOWN:
            parts.append(f"  ... and {len(cases) - _SHOWN} more")
    return "\n".join(parts)
