"""Which items train, validate and test; what must not be shared between the sides is looked for.

A split by subset, patient or column must keep every patient, every scan and every picture on one
side. The paper's random split of slices (section 4.2) does not: there the overlap is
counted, to stand beside its scores.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.config import ConfigError, Split
from inres.data import duplicates
from inres.data.items import Item, item_names, known_patients, patients

SIDES = ("train", "val", "test")
"""In this order; "earlier" and "later" below mean it."""


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What stands on two sides of a split."""

    scans: tuple[str, ...]
    """In words, and with nodules of unknown scan: `scan 7`, `nodule n1`."""
    patients: tuple[str, ...]
    """Known patients only."""
    twins: np.ndarray
    """int64 [M, 2]: an item of an earlier and one of a later side with near-identical images, as
    `duplicates.twins` pairs them."""
    pictures: bool
    """Whether there were images to compare."""

    def __bool__(self) -> bool:
        return bool(self.scans or self.patients or len(self.twins))


def split_items(
    items: Sequence[Item],
    config: Split,
    images: np.ndarray | None,
    *,
    flag: str = "--config.split.overlap",
) -> tuple[np.ndarray, dict[str, Any]]:
    """Divide the items and look for what stands on two sides.

    Args:
      items: the N items.
      config: the rule.
      images: uint8 [N, S, S], their images as prepared; None where there are none to compare.
      flag: the name of `config.overlap`, for the error.

    Returns:
      The side of every item, str [N] of `train`, `val`, `test`, or empty for items left out;
      and what still stands on two sides, as `leaks` describes it.

    Raises:
      ConfigError: an empty side, or a column or a subset that the data lacks.
      ValueError: a patient, a scan or a picture stands on two sides, and is not to be dropped.
    """
    side = assign(items, config)
    thumbnails = None if images is None else duplicates.thumbnails(images)
    found = overlap(items, side, thumbnails)
    if not found or config.kind == "slices":
        return side, leaks(items, side, found)
    if config.overlap == "refuse":
        raise ValueError(
            f"{_shared(items, side, found)}; mend the data or the split, or leave out the training "
            f"items with {flag}=drop"
        )
    rows = _earlier_rows(items, side, found)
    what = _shared(items, side, found)
    side[rows] = ""
    if empty := _empty_side(side):
        raise ConfigError(
            f"{flag}=drop leaves no item to {empty!r}: {what}; mend the data or the split"
        )
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
    if empty := _empty_side(side):
        raise ConfigError(f"config.split: no item falls to {empty!r}; {_remedy(items, config)}")
    return side.astype(f"<U{max(map(len, SIDES))}")


def require_trained(labels: np.ndarray, side: np.ndarray, table: Path) -> None:
    """Check that every class that is searched for is trained; `table` is named in the error.

    Args:
      labels: int [N], known.
      side: str [N], as `split_items` gives it.
      table: the file of the items.

    Raises:
      ConfigError: one class alone, or a class without training items.
    """
    trained = set(labels[side == "train"].tolist())
    for name in ("val", "test"):
        for label in sorted(set(labels[side == name].tolist()) - trained):
            raise ConfigError(
                f"{table}: class {label} has {np.sum((labels == label) & (side == name))} {name} "
                "items but none to train on; choose another split (--config.split...) or leave "
                "the class out"
            )
    if len(trained) < 2:
        raise ConfigError(
            f"{table}: all training items are of class {min(trained)}; nothing to learn"
        )


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
        blank = np.flatnonzero(own < 0)
        if len(blank):
            raise ConfigError(
                f"config.split.kind = 'subset': {len(blank)} of {len(own)} items have no subset "
                f"(first: row {blank[0]}, {item_names(items)[blank[0]]}); give them one, or use "
                "'patient' or 'column'"
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


def overlap(items: Sequence[Item], side: np.ndarray, thumbnails: np.ndarray | None) -> Overlap:
    """Look for scans, patients and pictures on two sides of a split.

    Args:
      items: the N items.
      side: str [N], as `split_items` gives it.
      thumbnails: uint8 [N, T, T], of `duplicates.thumbnails`; None: no pictures to look for.
    """
    scans, patients_ = (
        tuple(shared_groups(groups, side)) for groups in (_scans(items), known_patients(items))
    )
    if thumbnails is None:
        return Overlap(scans, patients_, np.zeros((0, 2), np.int64), pictures=False)
    return Overlap(scans, patients_, _twins(side, thumbnails), pictures=True)


def _twins(side: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """`Overlap.twins`."""
    pairs = []
    for later in range(1, len(SIDES)):
        left = np.flatnonzero(np.isin(side, SIDES[:later]))
        right = np.flatnonzero(side == SIDES[later])
        found = duplicates.twins(thumbnails[left], thumbnails[right])
        pairs.append(np.stack([left[found[:, 0]], right[found[:, 1]]], axis=1))
    return np.concatenate(pairs)


def _scans(items: Sequence[Item]) -> np.ndarray:
    """The scan of every item in words, str [N]; of an unknown one the nodule, else empty."""

    def words(item: Item) -> str:
        if item.scan:
            return f"scan {item.scan}"
        whose = f" of {item.patient}" if item.patient else ""
        return f"nodule {item.nodule}{whose}" if item.nodule else ""

    return np.array([words(item) for item in items], str)


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

    `items` by side; `shared` scans (or nodules of unknown scan) and patients, and pairs of `twins`;
    of the test items, how many have an item of their scan, of their patient, or a near-identical
    image in training or validation (`test_items_of_shared`); `nodule_share`: the share of test
    nodules whose scan also has a training nodule; `examples` of twins, each with both names;
    `left_out`, as given: items that were taken from their side because a later one has their like;
    `known`: whether there were scans, patients and pictures to compare.
    """
    test, scans, whose = side == "test", _scans(items), known_patients(items)
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
            "scans": int(np.sum(test & np.isin(scans, found.scans))),
            "patients": int(np.sum(test & np.isin(whose, found.patients))),
            "twins": int(np.sum(test & with_twin)),
        },
        "nodule_share": leaking_share(items, side),
        "examples": [[str(names[a]), str(names[b])] for a, b in found.twins[:10]],
        "left_out": left_out,
        "known": {
            "scan": bool(np.any(scans != "")),
            "patient": bool(np.any(whose != "")),
            "near-identical image": found.pictures,
        },
    }


def leaking_share(items: Sequence[Item], side: np.ndarray) -> float:
    """Share of test nodules whose scan also has a training nodule (what `slices` leaks).

    Of an unknown scan the nodule itself is looked for.
    """
    nodule, scans = np.array([item.label > 0 for item in items]), _scans(items)
    train = set(scans[nodule & (side == "train")].tolist()) - {""}
    test = scans[nodule & (side == "test")].tolist()
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


def _shared(items: Sequence[Item], side: np.ndarray, found: Overlap) -> str:
    """The words for the first thing that stands on two sides, and how many there are."""
    if found.patients:
        what = f"patient {found.patients[0]} stands on two sides of the split"
        more = f"{len(found.patients)} such patients"
    elif found.scans:
        what = f"{found.scans[0]} stands on two sides of the split"
        more = f"{len(found.scans)} such {found.scans[0].split()[0]}s"
    else:
        names = item_names(items)
        first, second = (f"{names[i]} ({side[i]}, scan {items[i].scan})" for i in found.twins[0])
        what = f"{first} and {second} show the same picture"
        more = f"{len(found.twins)} such pairs"
    return f"{what} ({more})"


def _earlier_rows(items: Sequence[Item], side: np.ndarray, found: Overlap) -> np.ndarray:
    """Rows of which a later side has the scan, the patient or the picture."""
    rank = np.array([SIDES.index(name) if name else -1 for name in side])
    drop = np.zeros(len(items), bool)
    drop[found.twins[:, 0]] = True
    for groups, shared in ((_scans(items), found.scans), (known_patients(items), found.patients)):
        for group in shared:
            rows = np.flatnonzero((groups == group) & (rank >= 0))
            drop[rows[rank[rows] < rank[rows].max()]] = True
    return np.flatnonzero(drop)


def _empty_side(side: np.ndarray) -> str:
    """Which of `train` and `test` has no items; empty where both have some."""
    return next((name for name in ("train", "test") if not np.any(side == name)), "")


def _remedy(items: Sequence[Item], config: Split) -> str:
    """What to do where the rule leaves a side empty."""
    if config.kind == "column":
        return "name it in the split column, or use --config.split.kind=patient"
    if config.kind == "subset" or config.folds:
        there = ", ".join(str(subset) for subset in np.unique(subsets(items, config)))
        fewer = " or draw fewer --config.split.folds" if config.kind != "subset" else ""
        return (
            f"there are subsets {there}: choose --config.split.test_subsets (now "
            f"{config.test_subsets}) and val_subsets (now {config.val_subsets}) among them{fewer}"
        )
    groups = _groups(items, config.kind)
    if len(items) > 1 and len(set(groups)) == 1:
        return (
            f"all {len(items)} items are of one patient ({groups[0]}), and others are needed to "
            "test on; only --config.split.kind=slices divides one patient's slices"
        )
    return "give other shares with --config.split.test_share and --config.split.val_share"


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
    """What a random split keeps together, str [N]: patients, else scans, nodules, single items."""
    single = np.array([f"item {row}" for row in range(len(items))])
    if kind == "slices":
        return single
    whose, nodules = patients(items), _scans(items)
    return np.where(whose != "", whose, np.where(nodules != "", nodules, single))


def _draw(groups: np.ndarray, share: float, name: str, rng: np.random.Generator) -> np.ndarray:
    """Give `name` to whole random groups until they hold `share` of the items."""
    unique, inverse = np.unique(groups, return_inverse=True)
    order = rng.permutation(len(unique))
    sizes = np.bincount(inverse, minlength=len(unique))[order]
    before = np.cumsum(sizes) - sizes
    chosen = order[before + sizes / 2 <= share * len(groups)]
    return np.where(np.isin(inverse, chosen), name, "train").astype(object)
