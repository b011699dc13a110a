"""The LIDC's readings against LUNA16's list of nodules, which was made from them.

LUNA16 lists nodules of 3 mm or more that at least 3 of 4 readers marked, with diameters and
positions averaged over marks. It averages pair by pair, from the last reader to the first, so that
the first reader weighs as much as all others together, and where a reader drew a nodule in parts it
averages the parts. Everything else that was marked is among its excluded findings.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, spatial

from inres.ct.header import SPACINGS_MM
from inres.lidc import nodules, xml_files
from inres.lidc.nodules import Nodule
from inres.lidc.outlines import Measured
from inres.lidc.planes import Planes
from inres.lidc.readings import Reading, ReadingError
from inres.sources import Finding
from inres.sources.luna16 import read_findings
from inres.system import files, tables
from inres.system.progress import progress

READERS = 3
"""Least number of readers of a nodule of LUNA16."""
NEAR_MM, NEAR_SHARE = 1.0, 0.1
"""Positions and diameters agree to within this, the diameters relative to LUNA16's."""
EXACT_MM, EXACT_SHARE = 0.05, 0.001
"""The same for what was computed in the same way."""
USUAL_PIXEL_MM = 0.7
"""Pixel size where nothing is known of it."""
HEAD = "seriesuid"
"""First line of seriesuids.csv, in some copies."""
GEOMETRY = (
    "seriesuid",
    *(f"{what}_{axis}" for what in ("origin", "spacing") for axis in "xyz"),
)
"""Columns of a table of geometries."""

AVERAGE = "the average of LUNA16 weighs the readers unevenly"
PARTS = "a reader drew it in parts, which LUNA16 averages"
MERGED = "LUNA16 lists two nodules as one"
ABSENT = "no nodule here"
UNKNOWN = "unexplained"

SUMMARY_COLUMNS = {"check": "check", "agree": "agree", "of": "of", "percent": "%"}
COUNT_COLUMNS = {
    "series": "series",
    "luna16": "nodules in LUNA16",
    "found": "found",
    "geometry": "geometry",
    "reason": "reason",
}
NODULE_COLUMNS = {
    "series": "series",
    "x_mm": "x",
    "y_mm": "y",
    "z_mm": "z",
    "luna16_mm": "diameter in LUNA16",
    "diameter_mm": "mean diameter",
    "luna16_average_mm": "diameter by LUNA16's average",
    "distance_mm": "distance of the centres",
    "readers": "readers",
    "agrees": "agrees",
    "reason": "reason",
}


@dataclasses.dataclass(frozen=True)
class Luna16:
    """LUNA16's tables by series."""

    nodules: Mapping[str, Sequence[Finding]]
    excluded: Mapping[str, Sequence[Finding]]
    """With a diameter where a nodule was outlined: single marks, and averages of some of them."""
    series: Sequence[str]
    """All series, also those without nodules."""


@dataclasses.dataclass(frozen=True)
class Count:
    """The nodules of one series."""

    series: str
    luna16: int
    found: int
    known: bool
    """Whether the geometry is known."""
    reason: str
    """Why the numbers differ; empty if they do not."""

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        return vars(self) | {"geometry": "known" if self.known else "guessed"}


@dataclasses.dataclass(frozen=True)
class Match:
    """A nodule of LUNA16's list and what was found at its place."""

    series: str
    listed: Finding
    nodule: Nodule | None
    reason: str
    """Why they differ; empty if they do not."""

    @property
    def distance_mm(self) -> float:
        """Distance of the centres; infinite where nothing was found."""
        if self.nodule is None:
            return np.inf
        return float(np.linalg.norm(self.nodule.world_mm - self.listed.world_mm))

    @property
    def same_size(self) -> bool:
        """Whether the mean diameter is the listed one."""
        return self.nodule is not None and _equal(
            self.nodule.diameter_mm, self.listed.diameter_mm, NEAR_SHARE
        )

    @property
    def agrees(self) -> bool:
        """Whether position and mean diameter are the listed ones."""
        return self.same_size and self.distance_mm <= NEAR_MM

    @property
    def exact(self) -> bool:
        """Whether position and diameter are the listed ones if averaged as LUNA16 did."""
        if self.nodule is None:
            return False
        off = luna16_average([one.world_mm for one in self.nodule.marks]) - self.listed.world_mm
        diameter_mm = luna16_average([one.diameter_mm for one in self.nodule.marks])
        same = _equal(diameter_mm, self.listed.diameter_mm, EXACT_SHARE)
        return same and float(np.linalg.norm(off)) <= EXACT_MM

    def described(self) -> str:
        """Both nodules in words."""
        place = ", ".join(f"{value:.1f}" for value in self.listed.world_mm)
        there = f"{self.listed.diameter_mm:.2f} mm at ({place})"
        if self.nodule is None:
            return there
        return f"{there}; here {self.nodule.diameter_mm:.2f} mm, {self.distance_mm:.2f} mm away"

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        row = dict(zip(("x_mm", "y_mm", "z_mm"), self.listed.world_mm, strict=True)) | {
            "series": self.series,
            "luna16_mm": self.listed.diameter_mm,
            "agrees": "yes" if self.agrees else "no",
            "reason": self.reason,
        }
        if self.nodule is None:
            return row
        diameters = [one.diameter_mm for one in self.nodule.marks]
        return row | {
            "diameter_mm": round(self.nodule.diameter_mm, 4),
            "luna16_average_mm": round(luna16_average(diameters), 4),
            "distance_mm": round(self.distance_mm, 4),
            "readers": self.nodule.readers,
        }


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The result of the comparison."""

    counts: list[Count]
    matches: list[Match]
    """The listed nodules of series of known geometry."""
    excluded: tuple[int, int]
    """Of LUNA16's excluded findings with a diameter in these series: how many are marks or averages
    of marks, as LUNA16 averages, and all."""

    def summary(self) -> list[dict[str, Any]]:
        """The share of each kind of agreement, as rows of a table."""
        near, share = f"{NEAR_MM:g} mm", f"{NEAR_SHARE:.0%}"
        exact = f"{EXACT_MM:g} mm and {EXACT_SHARE:.1%}"
        every = len(self.matches)
        return [
            _share("series with as many nodules as LUNA16", self._same_counts(), len(self.counts)),
            _share(
                f"positions within {near}",
                sum(m.distance_mm <= NEAR_MM for m in self.matches),
                every,
            ),
            _share(f"diameters within {share}", sum(m.same_size for m in self.matches), every),
            _share("positions and diameters", sum(m.agrees for m in self.matches), every),
            _share(
                f"both within {exact}, averaged as in LUNA16",
                sum(m.exact for m in self.matches),
                every,
            ),
            _share(f"excluded findings with a diameter within {exact}", *self.excluded),
        ]

    def _same_counts(self) -> int:
        return sum(one.luna16 == one.found for one in self.counts)

    def tables(self) -> list[tuple[str, dict[str, str], list[dict[str, Any]]]]:
        """Name, columns and rows of each table to write."""
        return [
            ("agreement", SUMMARY_COLUMNS, self.summary()),
            ("series", COUNT_COLUMNS, [one.row() for one in self.counts]),
            ("nodules", NODULE_COLUMNS, [one.row() for one in self.matches]),
        ]

    def lines(self) -> list[str]:
        """The shares, and every difference with its reason, as text."""
        lines = [
            tables.markdown(
                [*SUMMARY_COLUMNS.values()], [[*row.values()] for row in self.summary()]
            )
        ]
        for count in self.counts:
            if count.reason:
                lines.append(
                    f"{count.series}: {count.found} nodules, LUNA16 lists {count.luna16} "
                    f"({count.reason})"
                )
        for match in self.matches:
            if match.reason:
                lines.append(f"{match.series}: {match.described()} ({match.reason})")
        return lines


def read_readings(root: Path) -> tuple[dict[str, Reading], int]:
    """All readings of CT series below `root`, and the number of other XML files.

    Raises:
      ReadingError: there are none, a file cannot be read, or two of a series differ.
    """
    if not root.exists():
        raise ReadingError(f"{root}: no such file or folder; give tcia-lidc-xml.zip")
    found = xml_files.survey(root)
    if found.problems:
        raise ReadingError(found.problems[0])
    if not found.places:
        raise ReadingError(f"{root}: no readings of CT series; give tcia-lidc-xml.zip")
    with xml_files.Opener() as opener:
        places = progress(
            sorted(found.places.items()), name="read XML", total=len(found.places), unit="series"
        )
        return {uid: xml_files.read(those, opener) for uid, those in places}, found.others


def read_luna16(folder: Path) -> Luna16:
    """LUNA16's tables in `folder`: annotations.csv, annotations_excluded.csv and seriesuids.csv.

    Raises:
      ValueError, FileNotFoundError: a table is missing or malformed.
    """
    found = []
    for name in ("annotations.csv", "annotations_excluded.csv"):
        findings, bad = read_findings(folder / name)
        if bad:
            raise ValueError(bad[0])
        found.append(findings)
    series = folder / "seriesuids.csv"
    if not series.is_file():
        raise FileNotFoundError(f"{series}: no such file; it is part of LUNA16's evaluation script")
    try:
        names = series.read_text(encoding="utf-8-sig").replace('"', "").split()
    except UnicodeDecodeError:
        raise ValueError(f"{series}: not a text in UTF-8; fetch it again") from None
    return Luna16(found[0], found[1], [name for name in dict.fromkeys(names) if name != HEAD])


def read_geometry(path: Path, readings: Mapping[str, Reading], luna16: Luna16) -> dict[str, Planes]:
    """Geometries of series from a table of the origins and spacings of LUNA16's images.

    The table does not say which images have their first two axes reversed: LUNA16's excluded
    findings do.

    Raises:
      ValueError, FileNotFoundError: the table is missing or malformed.
    """
    found: dict[str, Planes] = {}
    for line, row in files.read_csv_lines(path, GEOMETRY):
        uid = row["seriesuid"].strip()
        if uid in found or uid not in readings:
            continue
        where = f"{path}: line {line}"
        numbers = [files.number(row, name, where=where) for name in GEOMETRY[1:]]
        low, high = SPACINGS_MM
        if not all(low <= spacing <= high for spacing in numbers[3:]):
            raise ValueError(f"{where}: spacing {numbers[3:]}; must be {low:g} to {high:g} mm")
        either = [
            Planes.regular(
                origin_mm=numbers[:3], spacing_mm=numbers[3:], direction=np.diag([sign, sign, 1.0])
            )
            for sign in (1.0, -1.0)
        ]
        listed = luna16.excluded.get(uid, ())
        found[uid] = min(either, key=lambda planes: _misfit(readings[uid], planes, listed))
    return found


def compare(
    readings: Mapping[str, Reading], luna16: Luna16, geometry: Mapping[str, Planes]
) -> Agreement:
    """Compare the nodules of all series of LUNA16 with its list.

    Args:
      readings: by series.
      luna16: the list.
      geometry: of some series. The nodules of others are counted with a guessed geometry.

    Raises:
      ValueError: there are no readings of any series of the list.
    """
    counts, matches = [], []
    same = every = 0
    series = [uid for uid in luna16.series if uid in readings]
    if not series:
        raise ValueError(
            f"none of the {len(readings)} series with readings is one of the {len(luna16.series)} "
            "of LUNA16; give tcia-lidc-xml.zip"
        )
    for uid in progress(series, name="compare", total=len(series), unit="series"):
        listed, planes = luna16.nodules.get(uid, ()), geometry.get(uid)
        excluded = luna16.excluded.get(uid, ())
        used = planes or guessed(readings[uid], excluded)
        found = nodules.find(readings[uid], used)
        ours = [one for one in found if one.readers >= READERS]
        reason = _count_reason(ours, len(listed), used)
        counts.append(Count(uid, len(listed), len(ours), planes is not None, reason))
        if planes is None:
            continue
        matches += _matches(uid, listed, ours, found, planes)
        sized = [one for one in excluded if one.diameter_mm == one.diameter_mm]
        every += len(sized)
        same += _known_averages(found, sized)
    return Agreement(counts, matches, (same, every))


def guessed(reading: Reading, excluded: Sequence[Finding]) -> Planes:
    """A geometry by which the nodules of a series can be told apart, though not placed.

    The pixel size is fitted to the spots that LUNA16 lists among its excluded findings, and the
    distance of slices is the smallest of heights that were marked.
    """
    heights = [contour.z_mm for mark in reading.marks for contour in mark.contours]
    steps = np.diff(np.unique([*heights, *(spot.z_mm for spot in reading.spots)]))
    slice_mm = float(min(steps[steps > 0.1], default=1.0))
    pixel_mm = _fitted_pixel_mm(reading, excluded)
    return Planes.regular(origin_mm=(0, 0, 0), spacing_mm=(pixel_mm, pixel_mm, slice_mm))


def _fitted_pixel_mm(reading: Reading, excluded: Sequence[Finding]) -> float:
    """Pixel size by the heights at which a single spot was marked and is listed."""
    marked, listed = defaultdict(list), defaultdict(list)
    for spot in reading.spots:
        marked[round(spot.z_mm, 1)].append(spot.point)
    for one in excluded:
        listed[round(one.world_mm[2], 1)].append(one.world_mm[:2])
    single = [z for z in marked if len(marked[z]) == len(listed[z]) == 1]
    if len(single) < 2:
        return USUAL_PIXEL_MM
    points = np.array([marked[z][0] for z in single], np.float64)
    places = np.array([listed[z][0] for z in single])
    points, places = points - points.mean(axis=0), places - places.mean(axis=0)
    slope = abs(float((points * places).sum() / max((points**2).sum(), 1.0)))
    return slope if 0.3 < slope < 1.2 else USUAL_PIXEL_MM


def luna16_average(values: Sequence[Any]) -> Any:
    """The average of the readers' values as LUNA16 took it: pair by pair, from the last."""
    mean = values[-1]
    for value in values[-2::-1]:
        mean = (mean + value) / 2
    return mean


def _share(check: str, agree: int, of: int) -> dict[str, Any]:
    percent = f"{100 * agree / of:.1f}" if of else ""
    return {"check": check, "agree": agree, "of": of, "percent": percent}


def _equal(diameter_mm: float, listed_mm: float, share: float) -> bool:
    return abs(diameter_mm / listed_mm - 1) <= share


def _places(findings: Sequence[Finding]) -> np.ndarray:
    return np.array([one.world_mm for one in findings]).reshape(-1, 3)


def _misfit(reading: Reading, planes: Planes, listed: Sequence[Finding]) -> float:
    """Median distance in mm of the reading's spots to the nearest listed finding."""
    spots = [planes.world_mm(spot.z_mm, np.array([spot.point]))[0] for spot in reading.spots]
    if not spots or not listed:
        return 0.0
    return float(np.median(spatial.cKDTree(_places(listed)).query(np.array(spots))[0]))


def _matches(
    uid: str,
    listed: Sequence[Finding],
    ours: Sequence[Nodule],
    found: Sequence[Nodule],
    planes: Planes,
) -> list[Match]:
    """Each listed nodule with one of `ours`, so that the sum of distances is least.

    Args:
      ours: nodules of enough readers.
      found: all nodules.
    """
    centres = np.array([one.world_mm for one in ours]).reshape(-1, 3)
    apart = spatial.distance.cdist(_places(listed), centres)
    pairs = dict(zip(*optimize.linear_sum_assignment(apart), strict=True))
    matches = []
    for at, finding in enumerate(listed):
        nodule = ours[pairs[at]] if at in pairs else None
        match = Match(uid, finding, nodule, "")
        reason = "" if match.agrees else _reason(match, found, planes)
        matches.append(dataclasses.replace(match, reason=reason))
    return matches


def _reason(match: Match, found: Sequence[Nodule], planes: Planes) -> str:
    if match.nodule is None:
        return ABSENT
    if match.exact:
        return AVERAGE
    readers = {one.mark.reader for one in match.nodule.marks}
    parts = [
        mark
        for other in found
        if other is not match.nodule
        for mark in other.marks
        if mark.mark.reader in readers and _touches(mark, match.nodule, planes)
    ]
    return PARTS if parts else UNKNOWN


def _touches(mark: Measured, nodule: Nodule, planes: Planes) -> bool:
    return any(nodules.near(mark, one, slice_mm=planes.slice_mm) for one in nodule.marks)


def _count_reason(ours: Sequence[Nodule], listed: int, planes: Planes) -> str:
    """Why there are not as many nodules as listed; empty if there are."""
    if len(ours) == listed:
        return ""
    touching = [
        (one, other)
        for one, other in itertools.combinations(ours, 2)
        if any(_touches(mark, one, planes) for mark in other.marks)
    ]
    return MERGED if len(ours) - len(touching) <= listed < len(ours) else UNKNOWN


def _known_averages(found: Sequence[Nodule], listed: Sequence[Finding]) -> int:
    """How many of the listed findings are a mark, or an average of the last marks of a nodule."""
    parts = [one.marks[k:] for one in found for k in range(len(one.marks))]
    parts += [(mark,) for one in found for mark in one.marks]
    if not parts or not listed:
        return 0
    places = np.array([luna16_average([one.world_mm for one in part]) for part in parts])
    sizes = np.array([luna16_average([one.diameter_mm for one in part]) for part in parts])
    near = spatial.distance.cdist(_places(listed), places) <= EXACT_MM
    wanted = np.array([one.diameter_mm for one in listed])[:, None]
    return int((near & (np.abs(sizes / wanted - 1) <= EXACT_SHARE)).any(axis=1).sum())
