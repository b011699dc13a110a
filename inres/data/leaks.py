"""What is on two sides of a split: scans, patients and near-identical images.

Numbers of this are reported next to the scores that such a leak inflates.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inres.data import duplicates
from inres.data.items import SIDES, Item, item_names, known_patients
from inres.system.rows import Images


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What is on two sides of a split."""

    scans: tuple[str, ...]
    """As text, with nodules where the scan is unknown: `scan 7`, `nodule n1`."""
    patients: tuple[str, ...]
    """Known patients only."""
    twins: np.ndarray
    """int64 [M, 2]: rows of an item of an earlier side and of one of a later side with
    near-identical images, as `duplicates.twins` pairs them."""
    pictures: bool
    """Whether there were images to compare."""

    def __bool__(self) -> bool:
        return bool(self.scans or self.patients or len(self.twins))


def central_rows(items: Sequence[Item]) -> np.ndarray:
    """The row of the central slice of each item's nodule, int64 [N]; of other items their own."""
    central = {
        (item.scan, item.patient, item.nodule): row
        for row, item in enumerate(items)
        if item.nodule and not item.offset_mm
    }
    return np.array(
        [
            central.get((item.scan, item.patient, item.nodule), row) if item.offset_mm else row
            for row, item in enumerate(items)
        ],
        np.int64,
    )


def find_overlap(items: Sequence[Item], side: np.ndarray, thumbnails: np.ndarray | None) -> Overlap:
    """Find scans, patients and images that are on two sides of a split.

    A slice beside the central one of its nodule, which a network can see with that, is on its side.

    Args:
      items: the N items.
      side: str [N], the side of each item; empty for items that are left out.
      thumbnails: uint8 [N, T, T] from `duplicates.thumbnails`, or None to compare no images.
    """
    side = side[central_rows(items)]
    scans = tuple(shared_groups(scan_texts(items), side))
    patients = tuple(shared_groups(known_patients(items), side))
    if thumbnails is None:
        return Overlap(scans, patients, np.zeros((0, 2), np.int64), pictures=False)
    return Overlap(scans, patients, _twins(side, thumbnails), pictures=True)


def _twins(side: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """`Overlap.twins`."""
    pairs = []
    for later in range(1, len(SIDES)):
        left = np.flatnonzero(np.isin(side, SIDES[:later]))
        right = np.flatnonzero(side == SIDES[later])
        found = duplicates.twins(thumbnails[left], thumbnails[right])
        pairs.append(np.stack([left[found[:, 0]], right[found[:, 1]]], axis=1))
    return np.concatenate(pairs)


def scan_texts(items: Sequence[Item]) -> np.ndarray:
    """The scan of every item as text, str [N]; its nodule where that is unknown; else empty."""

    def text(item: Item) -> str:
        if item.scan:
            return f"scan {item.scan}"
        whose = f" of {item.patient}" if item.patient else ""
        return f"nodule {item.nodule}{whose}" if item.nodule else ""

    return np.array([text(item) for item in items], str)


def shared_groups(groups: np.ndarray, side: np.ndarray) -> list[str]:
    """Groups (scans, patients) with items on more than one side; an empty name is no group."""
    sides: dict[str, set[str]] = {}
    for group, name in zip(groups, side, strict=True):
        if name and group:
            sides.setdefault(str(group), set()).add(str(name))
    return sorted(group for group, names in sides.items() if len(names) > 1)


def describe(items: Sequence[Item], side: np.ndarray, overlap: Overlap) -> str:
    """The first thing that is on two sides, and how many there are."""
    if overlap.patients:
        what = f"patient {overlap.patients[0]} is on two sides of the split"
        more = f"{len(overlap.patients)} such patients"
    elif overlap.scans:
        what = f"{overlap.scans[0]} is on two sides of the split"
        more = f"{len(overlap.scans)} such {overlap.scans[0].split()[0]}s"
    else:
        names = item_names(items)
        side = np.asarray(side)[central_rows(items)]
        first, second = (f"{names[i]} ({side[i]}, scan {items[i].scan})" for i in overlap.twins[0])
        what = f"{first} and {second} show the same picture"
        more = f"{len(overlap.twins)} such pairs"
    return f"{what} ({more})"


def examine(items: Sequence[Item], side: np.ndarray, images: Images) -> dict[str, Any]:
    """`count_leaks` for a given split: side str [N], images uint8 [N, S, S]."""
    overlap = find_overlap(items, side, duplicates.thumbnails(images))
    return count_leaks(items, side, overlap)


def count_leaks(
    items: Sequence[Item], side: np.ndarray, overlap: Overlap, *, left_out: int = 0
) -> dict[str, Any]:
    """How much a split leaks, as written to leaks.json.

    Returns a dict with
      items: number of items on each side.
      shared: number of `scans` (or nodules of unknown scan) and `patients` on two sides, and of
        pairs of `twins`.
      test_items_of_shared: number of test items with an item of their scan, or of their patient,
        or with a near-identical image, in training or validation.
      nodule_share: as `leaking_share`.
      examples: names of the first ten pairs of twins.
      left_out: the argument: training and validation items dropped because a later side overlaps.
      known: whether there were scans, patients and images to compare.
    """
    test, scans, whose = side == "test", scan_texts(items), known_patients(items)
    with_twin = np.zeros(len(items), bool)
    with_twin[central_rows(items)[overlap.twins[:, 1]]] = True
    names = item_names(items)
    return {
        "items": {name: int(np.sum(side == name)) for name in SIDES},
        "shared": {
            "scans": len(overlap.scans),
            "patients": len(overlap.patients),
            "twins": len(overlap.twins),
        },
        "test_items_of_shared": {
            "scans": int(np.sum(test & np.isin(scans, overlap.scans))),
            "patients": int(np.sum(test & np.isin(whose, overlap.patients))),
            "twins": int(np.sum(test & with_twin)),
        },
        "nodule_share": leaking_share(items, side),
        "examples": [[str(names[a]), str(names[b])] for a, b in overlap.twins[:10]],
        "left_out": left_out,
        "known": {
            "scan": bool(np.any(scans != "")),
            "patient": bool(np.any(whose != "")),
            "near-identical image": overlap.pictures,
        },
    }


def leaking_share(items: Sequence[Item], side: np.ndarray) -> float:
    """Share of test nodules whose scan also has a training nodule, which a split of slices leaks.

    Where the scan is unknown, the nodule takes its place.
    """
    nodule, scans = np.array([item.label > 0 for item in items]), scan_texts(items)
    train = set(scans[nodule & (side == "train")].tolist()) - {""}
    test = scans[nodule & (side == "test")].tolist()
    return float(np.mean([scan in train for scan in test])) if test else 0.0


def leak_lines(leaks: Mapping[str, Any]) -> list[str]:
    """The result of `count_leaks` as sentences; none if nothing is on two sides."""
    total, counts = leaks["items"]["test"], leaks["test_items_of_shared"]
    shared = (
        ("scans", "have their scan in training or validation"),
        ("patients", "have their patient in training or validation"),
        ("twins", "have a near-identical image in training or validation"),
    )
    lines = [f"{counts[key]} of {total} test items {text}" for key, text in shared if counts[key]]
    if leaks["nodule_share"]:
        share = leaks["nodule_share"]
        lines.append(f"{share:.0%} of test nodules have a nodule of their scan in training")
    if leaks["left_out"]:
        lines.append(
            f"{leaks['left_out']} training or validation items are left out because a later side "
            "has their patient, their scan or a near-identical image"
        )
    return lines
