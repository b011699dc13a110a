"""Which items are for training, validation and testing.

A split by subset, patient or column must keep every patient, scan and picture on one side. The
paper's random split of slices (section 4.2) does not: there, overlaps are counted and reported
next to the scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.config import ConfigError, Split
from inres.data import duplicates, leaks
from inres.data.items import SIDES, Item, item_names, known_patients, patients
from inres.system.rows import Images


class LeakError(ValueError):
    """A patient, a scan or a picture is on two sides of a split; the message names the first."""


def split_items(
    items: Sequence[Item], config: Split, images: Images | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Divide the items, and refuse or drop what is on two sides.

    Args:
      items: the N items.
      config: the rule.
      images: uint8 [N, S, S], their images as prepared; None where there are none to compare.

    Returns:
      The side of every item, str [N] of `train`, `val`, `test`, or empty for items left out; and
      what is still on two sides, as `leaks.count_leaks` describes it.

    Raises:
      ConfigError: an empty side, or a column or a subset that the data lacks.
      LeakError: something is on two sides, and `config.overlap` is `refuse`.
    """
    side = assign(items, config)
    thumbnails = None if images is None else duplicates.thumbnails(images)
    overlap = leaks.find_overlap(items, side, thumbnails)
    if not overlap or config.kind == "slices":
        return side, leaks.count_leaks(items, side, overlap)
    what = leaks.describe(items, side, overlap)
    if config.overlap == "refuse":
        raise LeakError(
            f"{what}; correct the data or the split, or drop the items concerned from training "
            "(config.split.overlap = 'drop')"
        )
    rows = _earlier_rows(items, side, overlap)
    left_out = int(np.sum(side[rows] != ""))
    side[rows] = ""
    if empty := _empty_side(side):
        raise ConfigError(
            f"config.split.overlap = 'drop' leaves no item on the side {empty!r}: {what}; correct "
            "the data or the split"
        )
    remaining = leaks.find_overlap(items, side, thumbnails)
    return side, leaks.count_leaks(items, side, remaining, left_out=left_out)


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
    _keep_with_central_slice(items, side)
    if empty := _empty_side(side):
        raise ConfigError(
            f"config.split: no item is on the side {empty!r}; {_remedy(items, config)}"
        )
    return side.astype(f"<U{max(map(len, SIDES))}")


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


def require_trained(labels: np.ndarray, side: np.ndarray, table: Path) -> None:
    """Check that every class that is searched for is trained.

    Args:
      labels: int [N], known.
      side: str [N], as `split_items` returns it.
      table: the file of the items, for the error.

    Raises:
      ConfigError: a class without training items, or a single class.
    """
    trained = set(labels[side == "train"].tolist())
    for name in ("val", "test"):
        for label in sorted(set(labels[side == name].tolist()) - trained):
            raise ConfigError(
                f"{table}: class {label} has {np.sum((labels == label) & (side == name))} {name} "
                "items but none to train on; choose another split (config.split) or leave the "
                "class out"
            )
    if len(trained) < 2:
        raise ConfigError(
            f"{table}: all training items are of class {min(trained)}, so there is nothing to "
            "learn; add items of other classes"
        )


def _column(items: Sequence[Item]) -> np.ndarray:
    """The sides of the split column."""
    side = np.array([item.split.strip() for item in items], dtype=object)
    unknown = sorted(set(side) - {*SIDES, ""})
    if unknown or not np.any(side == "test"):
        raise ConfigError(
            "config.split.kind = 'column': the split column must hold train, test and optionally "
            f"val (found {sorted(set(side))}); use 'patient' to split at random"
        )
    return side


def _groups(items: Sequence[Item], kind: str) -> np.ndarray:
    """What a random split keeps together, str [N]: patients, else scans, nodules, single items."""
    single = np.array([f"item {row}" for row in range(len(items))])
    if kind == "slices":
        return single
    whose, scans = patients(items), leaks.scan_texts(items)
    return np.where(whose != "", whose, np.where(scans != "", scans, single))


def _draw(groups: np.ndarray, share: float, name: str, rng: np.random.Generator) -> np.ndarray:
    """Assign whole random groups to `name` until they hold `share` of the items."""
    unique, inverse = np.unique(groups, return_inverse=True)
    order = rng.permutation(len(unique))
    sizes = np.bincount(inverse, minlength=len(unique))[order]
    before = np.cumsum(sizes) - sizes
    chosen = order[before + sizes / 2 <= share * len(groups)]
    return np.where(np.isin(inverse, chosen), name, "train").astype(object)


def _keep_with_central_slice(items: Sequence[Item], side: np.ndarray) -> None:
    """Leave out, in place, side slices of nodules whose central slice is not for training."""
    training = {
        item.nodule
        for item, name in zip(items, side, strict=True)
        if name == "train" and not item.offset_mm
    }
    for row, item in enumerate(items):
        if item.offset_mm and (side[row] != "train" or item.nodule not in training):
            side[row] = ""


def _earlier_rows(items: Sequence[Item], side: np.ndarray, overlap: leaks.Overlap) -> np.ndarray:
    """Rows whose scan, patient or picture is also on a later side (`SIDES` gives the order).

    Of a nodule, all slices or none: each can be seen with the central one.
    """
    central = leaks.central_rows(items)
    rank = np.array([SIDES.index(name) if name else -1 for name in side[central]])
    drop = np.zeros(len(items), bool)
    drop[overlap.twins[:, 0]] = True
    for groups, shared in (
        (leaks.scan_texts(items), overlap.scans),
        (known_patients(items), overlap.patients),
    ):
        for group in shared:
            rows = np.flatnonzero((groups == group) & (rank >= 0))
            drop[rows[rank[rows] < rank[rows].max()]] = True
    return np.flatnonzero(np.isin(central, central[drop]))


def _empty_side(side: np.ndarray) -> str:
    """Which of `train` and `test` has no items; empty if both have some."""
    return next((name for name in ("train", "test") if not np.any(side == name)), "")


def _remedy(items: Sequence[Item], config: Split) -> str:
    """What to do if the rule leaves a side empty."""
    if config.kind == "column":
        return "name it in the split column, or set config.split.kind = 'patient'"
    if config.kind == "subset" or config.folds:
        present = ", ".join(str(subset) for subset in np.unique(subsets(items, config)))
        fewer = " or draw fewer config.split.folds" if config.kind != "subset" else ""
        return (
            f"there are subsets {present}: choose config.split.test_subsets (now "
            f"{config.test_subsets}) and val_subsets (now {config.val_subsets}) among them{fewer}"
        )
    groups = _groups(items, config.kind)
    if len(items) > 1 and len(set(groups)) == 1:
        return (
            f"all {len(items)} items belong to one patient ({groups[0]}), and testing needs "
            "others; only config.split.kind = 'slices' divides one patient's slices"
        )
    return "change config.split.test_share or config.split.val_share"
