"""Which items train, validate and test; what must not be shared between the sides is looked for."""

from collections.abc import Sequence

import numpy as np

from inres.config import ConfigError, Split
from inres.data.items import Item

SIDES = ("train", "val", "test")


def split_items(items: Sequence[Item], config: Split) -> np.ndarray:
    """The side of every item: str [N] of `train`, `val`, `test`, or empty for items left out.

    Raises:
      ConfigError: an empty side or class, or a column that the data lacks.
      ValueError: a scan stands on two sides (unless `slices` asks for just that).
    """
    scans = np.array([item.scan for item in items])
    rng = np.random.default_rng([config.seed, 17])
    if config.kind == "subset":
        subsets = np.array([item.subset for item in items])
        if np.any(subsets < 0):
            raise ConfigError(
                "config.split.kind = 'subset': the items have no subset; use 'scan' or 'column'"
            )
        side = np.full(len(items), "train", dtype=object)
        side[np.isin(subsets, config.val_subsets)] = "val"
        side[np.isin(subsets, config.test_subsets)] = "test"
    elif config.kind == "column":
        side = np.array([item.split.strip() for item in items], dtype=object)
        unknown = sorted(set(side) - {*SIDES, ""})
        if unknown or not np.any(side == "test"):
            raise ConfigError(
                "config.split.kind = 'column': the split column must hold train, test and perhaps "
                f"val (found {sorted(set(side))}); use 'scan' to split at random by scan"
            )
        if config.shared_scans == "drop":
            side[shared_training(scans, side)] = ""
    elif config.kind == "scan":
        side = _draw(scans, config.test_share, "test", rng)
    else:
        side = _draw(np.arange(len(items)), config.test_share, "test", rng)
    if not np.any(side == "val") and config.val_share > 0:
        groups = np.arange(len(items)) if config.kind == "slices" else scans
        train = np.flatnonzero(side == "train")
        side[train] = _draw(groups[train], config.val_share, "val", rng)
    for name in ("train", "test"):
        if not np.any(side == name):
            raise ConfigError(
                f"config.split: no item falls to {name!r}; give other subsets or shares"
            )
    if config.kind != "slices":
        shared = overlap(scans, side)
        if shared:
            raise ValueError(
                f"scan {shared[0]} stands on two sides of the split ({len(shared)} such scans); "
                "mend the split column, or leave out their training items with "
                "--config.split.shared_scans=drop"
            )
    return side.astype(str)


def overlap(groups: np.ndarray, side: np.ndarray) -> list[str]:
    """Groups (scans, patients) with items on more than one side."""
    sides: dict[str, set[str]] = {}
    for group, name in zip(groups, side, strict=True):
        if name:
            sides.setdefault(str(group), set()).add(str(name))
    return sorted(group for group, names in sides.items() if len(names) > 1)


def shared_training(groups: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Rows whose group also stands on a later side: train before val before test."""
    rank = np.array([SIDES.index(name) if name else -1 for name in side])
    last = {str(g): int(rank[groups == g].max()) for g in overlap(groups, side)}
    return np.flatnonzero(
        [0 <= r < last.get(str(g), -1) for g, r in zip(groups, rank, strict=True)]
    )


def leaking_share(items: Sequence[Item], side: np.ndarray) -> float:
    """Share of test nodules whose scan also has a training nodule (what `slices` leaks)."""
    train = {i.scan for i, s in zip(items, side, strict=True) if s == "train" and i.label > 0}
    test = [i.scan for i, s in zip(items, side, strict=True) if s == "test" and i.label > 0]
    return float(np.mean([scan in train for scan in test])) if test else 0.0


def _draw(groups: np.ndarray, share: float, name: str, rng: np.random.Generator) -> np.ndarray:
    """Give `name` to whole random groups until they hold `share` of the items."""
    unique, inverse = np.unique(groups, return_inverse=True)
    order = rng.permutation(len(unique))
    sizes = np.bincount(inverse, minlength=len(unique))[order]
    before = np.cumsum(sizes) - sizes
    chosen = order[before + sizes / 2 <= share * len(groups)]
    return np.where(np.isin(inverse, chosen), name, "train").astype(object)
