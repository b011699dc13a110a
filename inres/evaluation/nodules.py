"""Retrieval of whole nodules: all slices of one are searched together, their distances averaged."""

import dataclasses
from typing import Any

import numpy as np

from inres.evaluation import judging
from inres.evaluation.distances import Distances, columns, same_scan
from inres.evaluation.embedded import Embedded

_CELLS = 1 << 22
"""Cells of the distances [q, N] that are held at once."""


@dataclasses.dataclass(frozen=True)
class Units:
    """Which of N items are slices of one nodule; an item that names none stands alone."""

    order: np.ndarray
    """int64 [N]: the items, nodule by nodule."""
    starts: np.ndarray
    """int64 [M]: where each nodule begins in that order."""

    @classmethod
    def of(cls, side: Embedded) -> "Units":
        """Nodules are told apart by scan and name."""
        alone = [f"\n{row}" for row in range(len(side))]
        named = alone if side.nodules is None else np.where(side.nodules == "", alone, side.nodules)
        keys = np.char.add(np.char.add(np.asarray(side.scans, str), "\n"), np.asarray(named, str))
        _, number = np.unique(keys, return_inverse=True)
        order = np.argsort(number, kind="stable")
        return cls(order, np.flatnonzero(np.diff(number[order], prepend=-1)))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def sizes(self) -> np.ndarray:
        """int64 [M], slices of each."""
        return np.diff(self.starts, append=len(self.order))


@dataclasses.dataclass(frozen=True)
class NoduleEvaluation:
    """What `evaluate` found; a query is a nodule."""

    rankings: dict[str, dict[str, float | None]]
    """By ranking: every measure of `judging.MEASURES`."""
    per_query: dict[str, dict[str, np.ndarray]]
    """By ranking and measure, float64 [Q], NaN where undefined."""
    first: np.ndarray
    """int64 [Q]: of each query nodule one of its slices, as a row of the queries."""
    counts: dict[str, Any]
    """`queries` and `gallery`, in nodules, and the `slices` of each."""


def of_two_classes(side: Embedded) -> str:
    """The first nodule whose slices differ in class, as `scan/nodule`; empty where none is."""
    units = Units.of(side)
    labels = side.labels[units.order]
    wrong = np.flatnonzero(np.repeat(labels[units.starts], units.sizes) != labels)
    if side.nodules is None or not len(wrong):
        return ""
    row = units.order[wrong[0]]
    return f"{side.scans[row]}/{side.nodules[row]}".lstrip("/")


def evaluate(
    queries: Embedded,
    gallery: Embedded,
    *,
    classes: int,
    threshold: int,
    fine: str = "fc1",
    k: int = 10,
    own_scan: bool = False,
) -> NoduleEvaluation | None:
    """Search for every nodule with all its slices, by every ranking, and judge the nodules found.

    The distance of two nodules is the mean distance over all pairs of their slices (sums of
    scores: Fox and Shaw 1994, "Combination of multiple searches", CombSUM; average linkage of
    clusters). The two stages are those of slices: nodules whose mean Hamming distance is below
    the threshold, by mean distance of the fine feature; then the others by mean Hamming distance.

    Args: as `protocol.evaluate`.

    Returns:
      None where no nodule has several slices, or slices of one nodule differ in class: then a
      nodule is no unit of retrieval.
    """
    asked, stored = Units.of(queries), Units.of(gallery)
    if max(asked.sizes.max(), stored.sizes.max()) < 2:
        return None
    if of_two_classes(queries) or of_two_classes(gallery):
        return None
    queries, gallery = queries.take(asked.order), gallery.take(stored.order)
    distances = Distances(queries, gallery, threshold=threshold, fine=fine)
    heads, archive = queries.take(asked.starts), columns(gallery.take(stored.starts))
    known = {name: column for name, column in columns(heads).items() if name in archive}
    mine, theirs = same_scan(heads.scans, gallery.scans[stored.starts])
    setting = judging.Setting(classes, threshold, "", k, {})
    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    for chosen in _parts(asked, len(gallery)):
        excluded = (mine[chosen, None] == theirs) & (not own_scan)
        truth = judging.Truth.of(
            {name: column[chosen] for name, column in known.items()}, archive, excluded, k
        )
        judge = judging.Judge(truth, np.zeros(excluded.shape, np.int16), excluded, setting)
        for name, found in _fused(distances, asked, stored, chosen, threshold).items():
            found[excluded] = np.inf
            judged = judge.judge("of nodules", found)
            wanted = {m.column: judged[m.column] for m in judging.MEASURES}
            parts.setdefault(name, []).append(wanted)
    per_query = {
        name: {key: np.concatenate([part[key] for part in found]) for key in found[0]}
        for name, found in parts.items()
    }
    return NoduleEvaluation(
        rankings={n: judging.summary(v, heads.labels, k) for n, v in per_query.items()},
        per_query=per_query,
        first=asked.order[asked.starts],
        counts={
            "queries": len(asked),
            "gallery": len(stored),
            "slices": [len(queries), len(gallery)],
        },
    )


def _parts(asked: Units, items: int) -> list[slice]:
    """Some whole nodules at a time, at most `_CELLS` distances of their slices but for one."""
    parts, first, rows = [], 0, 0
    for unit, size in enumerate(asked.sizes):
        if rows and (rows + size) * items > _CELLS:
            parts.append(slice(first, unit))
            first, rows = unit, 0
        rows += int(size)
    return [*parts, slice(first, len(asked))]


def _fused(
    distances: Distances, asked: Units, stored: Units, chosen: slice, threshold: int
) -> dict[str, np.ndarray]:
    """Mean distances of nodules by ranking, float64 [u, M]."""
    starts, sizes = asked.starts[chosen], asked.sizes[chosen]
    rows = slice(int(starts[0]), int(starts[-1] + sizes[-1]))
    part = distances.part(rows, np.zeros((rows.stop - rows.start, len(stored.order)), bool))
    fused = {}
    for name, found in distances.each(part):
        if name == "two_stage":
            fused[name] = np.empty(0)  # keeps its place
            continue
        one = np.sqrt(found) if name in distances.euclidean else found.astype(np.float64)
        total = np.add.reduceat(one, stored.starts, axis=1)
        total = np.add.reduceat(total, starts - starts[0], axis=0)
        fused[name] = total / (sizes[:, None] * stored.sizes)
    fine, hamming = fused[distances.fine], fused["hamming"]
    # Within the pool below 1, in the order of the fine distance; behind it from 1 on.
    inside = fine / np.nextafter(fine.max(initial=0.0), np.inf)
    fused["two_stage"] = np.where(hamming < threshold, inside, 1.0 + hamming)
    return fused
