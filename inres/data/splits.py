"""Which items train, validate and test; what must not be shared between the sides is looked for.

A split by subset, patient or column must keep every patient, every scan and every picture on one
side. The paper's random split of slices (section 4.2) does not: there the overlap is
counted, to stand beside its scores.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from inres.config import ConfigError, Split
from inres.data import duplicates
from inres.data.items import Item, item_names, patients

SIDES = ("train", "val", "test")
"""In this order; "earlier" and "later" below mean it."""


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What stands on two sides of a split."""

    scans: tuple[str, ...]
    patients: tuple[str, ...]
    """Known patients only."""
    twins: np.ndarray
    """int64 [M, 2]: an item of an earlier and one of a later side with near-identical images, as
    `duplicates.twins` pairs them."""

    def __bool__(self) -> bool:
        return bool(self.scans or self.patients or len(self.twins))


def split_items(
    items: Sequence[Item], config: Split, images: np.ndarray
) -> tuple[np.ndarray, dict[str, Any]]:
    """Divide the items and look for what stands on two sides.

    Args:
      items: the N items.
      config: the rule.
      images: uint8 [N, S, S], their images as prepared.

    Returns:
      The side of every item, str [N] of `train`, `val`, `test`, or empty for items left out;
      and what still stands on two sides, as `leaks` describes it.

    Raises:
      ConfigError: an empty side, or a column or a subset that the data lacks.
      ValueError: a patient, a scan or a picture stands on two sides, and is not to be dropped.
    """
    side = assign(items, config)
    thumbnails = duplicates.thumbnails(images)
    found = overlap(items, side, thumbnails)
    if not found or config.kind == "slices":
        return side, leaks(items, side, found)
    if config.overlap == "refuse":
        raise ValueError(_refusal(items, side, found))
    rows = _earlier_rows(items, side, found)
    side[rows] = ""
    _require_sides(side)
    return side, leaks(items, side, overlap(items, side, thumbnails), left_out=len(rows))


def examine(items: Sequence[Item], side: np.ndarray, images: np.ndarray) -> dict[str, Any]:
    """The `leaks` of a split that is given: side str [N], images uint8 [N, S, S]."""
    return leaks(items, side, overlap(items, side, duplicates.thumbnails(images)))


def assign(items: Sequence[Item], config: Split) -> np.ndarray:
    """The side of every item by the rule alone, str [N]; empty for items that the column leaves.

    Raises:
      ConfigError: an empty side, or a column or a subset that the data lacks.
    """
    rng = np.random.default_rng([config.seed, 17])
    if config.kind == "column":
        side = _column(items)
    elif config.kind == "subset" or config.folds:
        subset = subsets(items, config)
        side = np.full(len(items), "train", dtype=object)
        side[np.isin(subset, config.val_subsets)] = "val"
        side[np.isin(subset, config.test_subsets)] = "test"
    else:
        side = _draw(_groups(items, config.kind), config.test_share, "test", rng)
    if not np.any(side == "val") and config.val_share > 0:
        groups, train = _groups(items, config.kind), np.flatnonzero(side == "train")
        side[train] = _draw(groups[train], config.val_share, "val", rng)
    _follow_central(items, side)
    _require_sides(side)
    return side.astype(f"<U{max(map(len, SIDES))}")


def _follow_central(items: Sequence[Item], side: np.ndarray) -> None:
    """Leave slices beside a nodule's central one out, in place, but where that one trains."""
    training = {
        item.nodule
        for item, name in zip(items, side, strict=True)
        if name == "train" and not item.offset_mm
    }
    for row, item in enumerate(items):
        if item.offset_mm and (side[row] != "train" or item.nodule not in training):
            side[row] = ""


def subsets(items: Sequence[Item], config: Split) -> np.ndarray:
    """The subset of every item, int64 [N]: the data's own, or `config.folds` drawn at random.

    Raises:
      ConfigError: items without a subset, under a split by official subset.
    """
    if config.kind == "subset":
        own = np.array([item.subset for item in items])
        if np.any(own < 0):
            raise ConfigError(
                "config.split.kind = 'subset': the items have no subset; use 'patient' or 'column'"
            )
        return own
    groups = _groups(items, config.kind)
    unique, inverse = np.unique(groups, return_inverse=True)
    order = np.random.default_rng([config.seed, 19]).permutation(len(unique))
    sizes = np.bincount(inverse, minlength=len(unique))[order]
    middle = np.cumsum(sizes) - sizes / 2
    fold = np.empty(len(unique), np.int64)
    fold[order] = np.minimum(middle * config.folds / len(items), config.folds - 1)
    return fold[inverse]


def overlap(items: Sequence[Item], side: np.ndarray, thumbnails: np.ndarray) -> Overlap:
    """Look for scans, patients and pictures on two sides of a split.

    Args:
      items: the N items.
      side: str [N], as `split_items` gives it.
      thumbnails: uint8 [N, T, T], of `duplicates.thumbnails`.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for later in range(1, len(SIDES)):
        left = np.flatnonzero(np.isin(side, SIDES[:later]))
        right = np.flatnonzero(side == SIDES[later])
        found = duplicates.twins(thumbnails[left], thumbnails[right])
        pairs.append(np.stack([left[found[:, 0]], right[found[:, 1]]], axis=1))
    scans, patients_ = (
        tuple(shared_groups(np.array([getattr(item, name) for item in items]), side))
        for name in ("scan", "patient")
    )
    return Overlap(scans, patients_, np.concatenate(pairs))


def shared_groups(groups: np.ndarray, side: np.ndarray) -> list[str]:
    """Groups (scans, patients) with items on more than one side; an empty name is no group."""
    sides: dict[str, set[str]] = {}
    for group, name in zip(groups, side, strict=True):
        if name and group:
            sides.setdefault(str(group), set()).add(str(name))
    return sorted(group for group, names in sides.items() if len(names) > 1)


def leaks(
    items: Sequence[Item], side: np.ndarray, found: Overlap, *, left_out: int = 0
) -> dict[str, Any]:
    """How far a split leaks, in numbers that stand beside its scores.

    `items` by side; `shared` scans and patients, and pairs of `twins`; of the test items, how
    many have an item of their scan, of their patient, or a near-identical image in training or
    validation (`test_items_of_shared`); `nodule_share`: the share of test nodules whose scan
    also has a training nodule; `examples` of twins, each with both names; `left_out`, as given:
    items that were taken from their side because a later one has their like.
    """
    test = side == "test"
    with_twin = np.zeros(len(items), bool)
    with_twin[found.twins[:, 1]] = True
    names = item_names(items)
    return {
        "items": {name: int(np.sum(side == name)) for name in SIDES},
        "shared": {
            "scans": len(found.scans),
            "patients": len(found.patients),
            "twins": len(found.twins),
        },
        "test_items_of_shared": {
            "scans": int(np.sum(test & np.isin([item.scan for item in items], found.scans))),
            "patients": int(
                np.sum(test & np.isin([item.patient for item in items], found.patients))
            ),
            "twins": int(np.sum(test & with_twin)),
        },
        "nodule_share": leaking_share(items, side),
        "examples": [[str(names[a]), str(names[b])] for a, b in found.twins[:10]],
        "left_out": left_out,
    }


def leaking_share(items: Sequence[Item], side: np.ndarray) -> float:
    """Share of test nodules whose scan also has a training nodule (what `slices` leaks)."""
    train = {i.scan for i, s in zip(items, side, strict=True) if s == "train" and i.label > 0}
    test = [i.scan for i, s in zip(items, side, strict=True) if s == "test" and i.label > 0]
    return float(np.mean([scan in train for scan in test])) if test else 0.0


def leak_lines(leaks: dict[str, Any]) -> list[str]:
    """The words for what `split_items` found; none where nothing stands on two sides."""
    total = leaks["items"]["test"]
    parts = [
        (leaks["test_items_of_shared"][key], words)
        for key, words in (
            ("scans", "have their scan in training or validation"),
            ("patients", "have their patient in training or validation"),
            ("twins", "have a near-identical image in training or validation"),
        )
    ]
    lines = [f"{count} of {total} test items {words}" for count, words in parts if count]
    if leaks["nodule_share"]:
        share = leaks["nodule_share"]
        lines.append(f"{share:.0%} of test nodules have a nodule of their scan in training")
    if leaks["left_out"]:
        lines.append(
            f"{leaks['left_out']} training or validation items are left out: a later side has "
            "their patient, scan or picture"
        )
    return lines


def _refusal(items: Sequence[Item], side: np.ndarray, found: Overlap) -> str:
    """Why a split is refused, and the remedy."""
    if found.patients:
        what = f"patient {found.patients[0]} stands on two sides of the split"
        more = f"{len(found.patients)} such patients"
    elif found.scans:
        what = f"scan {found.scans[0]} stands on two sides of the split"
        more = f"{len(found.scans)} such scans"
    else:
        names = item_names(items)
        first, second = (f"{names[i]} ({side[i]}, scan {items[i].scan})" for i in found.twins[0])
        what = f"{first} and {second} show the same picture"
        more = f"{len(found.twins)} such pairs"
    return (
        f"{what} ({more}); mend the data or the split, or leave out the training items with "
        "--config.split.overlap=drop"
    )


def _earlier_rows(items: Sequence[Item], side: np.ndarray, found: Overlap) -> np.ndarray:
    """Rows of which a later side has the scan, the patient or the picture."""
    rank = np.array([SIDES.index(name) if name else -1 for name in side])
    drop = np.zeros(len(items), bool)
    drop[found.twins[:, 0]] = True
    for name, shared in (("scan", found.scans), ("patient", found.patients)):
        groups = np.array([getattr(item, name) for item in items])
        for group in shared:
            rows = np.flatnonzero((groups == group) & (rank >= 0))
            drop[rows[rank[rows] < rank[rows].max()]] = True
    return np.flatnonzero(drop)


def _require_sides(side: np.ndarray) -> None:
    for name in ("train", "test"):
        if not np.any(side == name):
            raise ConfigError(
                f"config.split: no item falls to {name!r}; give other subsets or shares"
            )


def _column(items: Sequence[Item]) -> np.ndarray:
    """The split column."""
    side = np.array([item.split.strip() for item in items], dtype=object)
    unknown = sorted(set(side) - {*SIDES, ""})
    if unknown or not np.any(side == "test"):
        raise ConfigError(
            "config.split.kind = 'column': the split column must hold train, test and perhaps "
            f"val (found {sorted(set(side))}); use 'patient' to split at random"
        )
    return side


def _groups(items: Sequence[Item], kind: str) -> np.ndarray:
    """What a random split keeps together, str [N]: patients, else scans, else single items."""
    if kind == "slices":
        return np.array([f"item {row}" for row in range(len(items))])
    return np.array([p or f"item {row}" for row, p in enumerate(patients(items))])


def _draw(groups: np.ndarray, share: float, name: str, rng: np.random.Generator) -> np.ndarray:
    """Give `name` to whole random groups until they hold `share` of the items."""
    unique, inverse = np.unique(groups, return_inverse=True)
    order = rng.permutation(len(unique))
    sizes = np.bincount(inverse, minlength=len(unique))[order]
    before = np.cumsum(sizes) - sizes
    chosen = order[before + sizes / 2 <= share * len(groups)]
    return np.where(np.isin(inverse, chosen), name, "train").astype(object)
