"""Divide the items and look for what stands on two sides (paper, section 4.2).

    python -m experiments.split --config=experiments/configs/phantom.py --workdir=runs/phantom

Leaves <workdir>/split: split.csv (the side of every item) and leaks.json (scans, patients and
near-identical images on two sides). A split that leaks is refused, unless it is the paper's split
of slices, or its training items are to be left out (--config.split.overlap=drop). Takes seconds;
half a minute for 100,000 images on two cores.
"""

from pathlib import Path

import numpy as np

from experiments import common
from inres.config import Config
from inres.data import items, leaks, splits
from inres.pipeline import stages
from inres.system import files

COLUMNS = ("item", "scan", "patient", "label", "side")


def run(config: Config, workdir: Path) -> None:
    """Split, unless that was done."""
    inputs = {
        "split": common.part(config.split),
        "segment": common.part(config.segment, "holdout_every"),
        "upstream": {"prepare": stages.done(workdir, "prepare")},
    }
    stages.run(workdir, "split", inputs, lambda out: _split(config, workdir, out))


def sides(workdir: Path) -> np.ndarray:
    """The side of every item, str [N]: `train`, `val`, `test`, or empty for items left out."""
    stages.done(workdir, "split")
    rows = files.read_csv(workdir / "split" / "split.csv", COLUMNS)
    return np.array([row["side"] for row in rows])


def leak_lines(workdir: Path) -> list[str]:
    """What the run should say beside its scores; empty where nothing leaks."""
    return leaks.leak_lines(files.read_json(workdir / "split" / "leaks.json"))


def _split(config: Config, workdir: Path, out: Path) -> None:
    store = items.open_store(workdir / "prepare")
    if all(item.label < 0 for item in store.items):
        # Images and masks alone: nothing is said of scans, so every n-th pair is held out.
        held = np.arange(len(store.items)) % config.segment.holdout_every == 0
        side = np.where(held, "test", "train")
        found = leaks.examine(store.items, side, store.slices)
    else:
        side, found = splits.split_items(store.items, config.split, store.slices)
        splits.require_trained(store.column("label"), side, store.root / "items.csv")
        blank = sum(not item.split for item in store.items)
        if config.split.kind == "column" and blank:
            print(f"  note: {blank} items are on no side, since their split is blank")
    rows = [
        dict(zip(COLUMNS, (name, item.scan, item.patient, item.label, part), strict=True))
        for name, item, part in zip(items.item_names(store.items), store.items, side, strict=True)
    ]
    files.write_csv(out / "split.csv", COLUMNS, rows)
    files.write_json(out / "leaks.json", found)
    print("  " + ", ".join(f"{count} {name}" for name, count in found["items"].items()) + " items")
    for line in leaks.leak_lines(found):
        print(f"  note: {line}")


if __name__ == "__main__":
    common.launch(run)
