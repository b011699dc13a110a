"""Nodules that several readers marked.

Marks of different readers are of one nodule if their centres are no further apart than the sum of
their radii and one slice. LUNA16 used the sum of the radii ("closer than the sum of their radii",
Setio et al. 2017, section 2.2); the slice allows for readers who ended a nodule one slice apart.
All marks of a nodule must meet this mutually, and a reader has at most one: the nearest marks are
joined first. Where a reader drew one nodule in several parts, the part nearest to the others' marks
stands for it, and the rest are nodules of one reader.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from inres.lidc.outlines import Measured, measure
from inres.lidc.planes import Planes
from inres.lidc.readings import Reading


@dataclasses.dataclass(frozen=True, eq=False)
class Nodule:
    """Marks of different readers of one nodule."""

    marks: tuple[Measured, ...]
    """In the order of the readers."""
    of: tuple[int, ...]
    """The numbers of the marks among those of the reading."""

    @property
    def readers(self) -> int:
        """Number of readers who marked it as a nodule of 3 mm or more."""
        return len(self.marks)

    @property
    def diameter_mm(self) -> float:
        """Mean diameter over the readers."""
        return float(np.mean([one.diameter_mm for one in self.marks]))

    @property
    def volume_mm3(self) -> float:
        """Mean volume over the readers."""
        return float(np.mean([one.volume_mm3 for one in self.marks]))

    @property
    def extent_mm(self) -> float:
        """Mean over the readers of the largest width in a slice."""
        return float(np.mean([one.extent_mm for one in self.marks]))

    @property
    def world_mm(self) -> np.ndarray:
        """Mean centre over the readers, float64 [3]."""
        return np.mean([one.world_mm for one in self.marks], axis=0)

    def ratings(self, name: str) -> list[int]:
        """A rating by all readers who gave it, in their order."""
        return [one.mark.ratings[name] for one in self.marks if name in one.mark.ratings]


def find(reading: Reading, planes: Planes) -> list[Nodule]:
    """The nodules of a series, in the order in which the file names their first mark."""
    marks = [measure(mark, planes) for mark in reading.marks]
    return [
        Nodule(tuple(marks[i] for i in group), tuple(group))
        for group in clusters(marks, slice_mm=planes.slice_mm)
    ]


def near(one: Measured, other: Measured, *, slice_mm: float) -> bool:
    """Whether two marks may be of one nodule, by the distance of their centres."""
    apart = np.linalg.norm(one.world_mm - other.world_mm)
    return bool(apart <= (one.diameter_mm + other.diameter_mm) / 2 + slice_mm)


def clusters(marks: Sequence[Measured], *, slice_mm: float) -> list[list[int]]:
    """Numbers of the marks of each nodule, by the rule of this module.

    Every mark belongs to one nodule. Groups and their members are in ascending order.
    """
    pairs = [
        (float(np.linalg.norm(marks[i].world_mm - marks[j].world_mm)), i, j)
        for i, j in itertools.combinations(range(len(marks)), 2)
        if near(marks[i], marks[j], slice_mm=slice_mm)
    ]
    mutual = {(i, j) for _, i, j in pairs}
    groups = {i: [i] for i in range(len(marks))}
    for _, i, j in sorted(pairs):
        both = sorted({*groups[i], *groups[j]})
        readers = {marks[k].mark.reader for k in both}
        if len(readers) == len(both) and mutual.issuperset(itertools.combinations(both, 2)):
            groups |= dict.fromkeys(both, both)
    return [group for i, group in groups.items() if group[0] == i]
