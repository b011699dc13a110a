"""Tianchi 2017: scans of 1,000 patients, each with a nodule, in parts for training and validation.

  train_subset00..14/LKDS-00001.mhd with .raw     600 patients
  val_subset00../LKDS-00002.mhd                   200 patients
  test_subset00../                                200 patients, whose nodules are not public
  csv/train/annotations.csv                       LUNA16's columns; `seriesuid` is the name of the
  csv/val/annotations.csv                         file, with `_` or `-`

Tables may also lie next to the folders, under any name that begins with `annotations`. The number
of a scan's subset is its fold, and 100 more for the official validation, so that `val_subset03` is
fold 103. Scans without any row in the tables are left out: every patient has nodules, so nothing
is known to be normal in them.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres.config import Data
from inres.ct.header import Header
from inres.ct.parts import scan_parts
from inres.sources import Finding, Progress, Scan, Scans, Source, SourceError, luna16, register
from inres.sources._problems import Problems, no_problems, refuse
from inres.sources._scans import absent_scans, by_stem, check_inside, place_text, read_headers

VALIDATION = 100
"""Fold of `val_subset00`."""
SCANS = 1000
_SUBSET = re.compile(r"(train|val|test)_subset_?(\d+)")

Table = Mapping[str, Sequence[Finding]]
"""Findings by scan."""


def read(root: Path, data: Data, progress: Progress) -> Scans:
    """Read the tables, and the headers of the scans that they name.

    Raises:
      SourceError: there is no scan or table; a scan cannot be read or lies in two folders; or a
        nodule is a duplicate, lies outside its scan or has no diameter.
    """
    paths = _scan_paths(root)
    problems = no_problems()
    messages: list[str] = []
    findings = _findings(root, problems, messages)
    known = {name: places for name, places in paths.items() if name in findings}
    messages += _absent(paths, findings)
    if data.expect_counts != "off" and len(paths) != SCANS:
        messages.append(f"{root} has {len(paths)} scans, the complete Tianchi 2017 {SCANS}")
    if not known:
        refuse(root, problems)
        raise SourceError(
            f"{root}: the tables name none of the {len(paths)} scans; they have "
            f"{next(iter(findings), 'no row')}, the scans are {min(paths)}, ..."
        )
    headers = read_headers(
        root, known, data, problems=problems, messages=messages, progress=progress
    )
    scans = []
    for name, header in headers.items():
        scans.append(_scan(root, name, header, findings[name]))
        check_inside(scans[-1].nodules, header, problems, table="the table")
    refuse(root, problems)
    return Scans(tuple(sorted(scans, key=lambda scan: (scan.subset, scan.uid))), tuple(messages))


def files(root: Path, data: Data) -> list[Path]:
    """The tables, and every file of the scans."""
    scans = [place for places in _scan_paths(root).values() for place in places]
    return [*_tables(root), *{part for path in scans for part in scan_parts(path)}]


# Scans


def _key(name: str) -> str:
    """The name of a scan as files have it."""
    return name.strip().replace("_", "-")


def _subset_folders(root: Path) -> list[Path]:
    found = (*root.glob("*_subset*"), *root.glob("*/*_subset*"))
    return sorted(path for path in found if path.is_dir() and _SUBSET.fullmatch(path.name))


def _scan_paths(root: Path) -> dict[str, list[Path]]:
    """The .mhd files of all subset folders by name."""
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder; set config.data.root to the Tianchi tree")
    folders = _subset_folders(root)
    paths = [path for folder in folders for path in folder.rglob("*.mhd")]
    if not paths:
        raise SourceError(
            f"{root}: no scans; expected train_subset00, val_subset00, ... with .mhd files "
            f"(found {len(folders)} such folders)"
        )
    found: dict[str, list[Path]] = {}
    for name, places in by_stem(set(paths)).items():
        found.setdefault(_key(name), []).extend(places)
    return found


def fold(root: Path, path: Path) -> int:
    """The fold of a scan, by the innermost subset folder that it lies in."""
    parts = reversed(path.relative_to(root).parts)
    part, number = next(match.groups() for match in map(_SUBSET.fullmatch, parts) if match)
    return int(number) + {"train": 0, "val": VALIDATION, "test": 2 * VALIDATION}[part]


def _scan(root: Path, name: str, header: Header, nodules: Sequence[Finding]) -> Scan:
    return Scan(
        uid=name,
        path=header.path,
        subset=fold(root, header.path),
        nodules=tuple(nodules),
        patient=name,
    )


# Tables


def _tables(root: Path) -> list[Path]:
    """The tables of nodules, in order."""
    folders = (root, root / "csv", *root.glob("csv/*"), root / "train", root / "val")
    found = {path for folder in folders for path in folder.glob("annotations*.csv")}
    return sorted(path for path in found if "excluded" not in path.name)


def _findings(root: Path, problems: Problems, messages: list[str]) -> Table:
    """The findings of all tables by scan; a row that several tables share counts once."""
    tables = _tables(root)
    if not tables:
        raise SourceError(
            f"{root}: no table of nodules; expected csv/train/annotations.csv and "
            "csv/val/annotations.csv, or annotations*.csv next to the scans"
        )
    merged: dict[str, list[Finding]] = {}
    copies = 0
    for table in tables:
        read, bad = luna16.read_findings(table)
        if bad:
            problems["lines that cannot be read; correct them"] += bad
        here: dict[str, list[Finding]] = {}
        for name, findings in read.items():
            here.setdefault(_key(name), []).extend(findings)
        for name, findings in here.items():
            before = {(f.world_mm, f.diameter_mm) for f in merged.get(name, ())}
            fresh = [f for f in findings if (f.world_mm, f.diameter_mm) not in before]
            copies += len(findings) - len(fresh)
            merged.setdefault(name, []).extend(fresh)
    if copies:
        messages.append(f"{copies} rows are in several tables of {len(tables)}, and count once")
    named = {
        name: [_named(f"{name}/{n}", finding) for n, finding in enumerate(findings)]
        for name, findings in merged.items()
    }
    _check(named, problems)
    messages += _overlapping(named)
    return named


def _named(name: str, finding: Finding) -> Finding:
    return Finding(name, finding.world_mm, finding.diameter_mm, finding.columns)


def _check(findings: Table, problems: Problems) -> None:
    """Every nodule must have a diameter and a place of its own."""
    for nodules in findings.values():
        places = Counter(nodule.world_mm for nodule in nodules)
        for nodule in nodules:
            case = f"{nodule.name} at {place_text(nodule.world_mm)}"
            if np.isnan(nodule.diameter_mm):
                problems["nodules without a diameter; correct the table"].append(case)
            if places.pop(nodule.world_mm, 1) > 1:
                problems["nodules annotated twice; remove a line of a table"].append(case)


def _overlapping(findings: Table) -> list[str]:
    """A message on nodules whose centres lie in each other, which may be one nodule."""
    found = [pair for nodules in findings.values() for pair in _pairs(nodules)]
    if not found:
        return []
    first, second = found[0]
    return [
        f"{len(found)} pairs of nodules lie inside each other and may be one each; both are kept "
        f"(first: {first.name} and {second.name})"
    ]


def _pairs(nodules: Sequence[Finding]) -> Iterator[tuple[Finding, Finding]]:
    for one, other in itertools.combinations(nodules, 2):
        apart = np.linalg.norm(np.subtract(one.world_mm, other.world_mm))
        if apart < min(one.diameter_mm, other.diameter_mm) / 2:
            yield one, other


def _absent(paths: Mapping[str, Sequence[Path]], findings: Table) -> list[str]:
    """Messages on findings without a scan, and on scans without a finding."""
    counts = {name: len(nodules) for name, nodules in findings.items()}
    bare = [name for name in sorted(paths) if name not in findings]
    out = absent_scans(counts, paths, what="nodules")
    if bare:
        out.append(
            f"{len(bare)} of {len(paths)} scans left out: no table has nodules of them, and every "
            f"patient has some (first: {paths[bare[0]][0]})"
        )
    return out


register(Source(name="tianchi", title="Tianchi 2017", read=read, files=files), module=__name__)
