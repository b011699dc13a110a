"""Stage `split`: the side of every item, and what stands on two sides (paper, section 4.2)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.config import Config
from inres.data import items, leaks, splits
from inres.pipeline import artifacts, stages
from inres.pipeline.inputs import stage_inputs
from inres.system import files


def split_items(config: Config, workdir: Path) -> None:
    """Write `<workdir>/split` unless it is complete: split.csv and leaks.json.

    Raises:
      ConfigError: the split leaks and `config.split` does not allow it, a side is empty, or a
        class is not trained.
    """
    inputs = stage_inputs(config, "split")
    inputs["upstream.prepare"] = stages.done(workdir, "prepare")
    stages.run_stage(workdir, "split", inputs, lambda out: _split(config, workdir, out))


def _split(config: Config, workdir: Path, out: Path) -> None:
    store = artifacts.open_items(workdir)
    if all(item.label < 0 for item in store.items):
        # Images and masks alone name no scans, so every n-th pair is held out.
        held = np.arange(len(store.items)) % config.segment.holdout_every == 0
        side = np.where(held, "test", "train")
        found = leaks.examine(store.items, side, store.slices)
    else:
        side, found = splits.split_items(store.items, config.split, store.slices)
        splits.require_trained(store.column("label"), side, store.root / "items.csv")
        blank = sum(not item.split for item in store.items)
        if config.split.kind == "column" and blank:
            print(f"  note: {blank} items are on no side because their split is blank")
    rows = [
        dict(
            zip(
                artifacts.SPLIT_COLUMNS,
                (name, item.scan, item.patient, item.label, part),
                strict=True,
            )
        )
        for name, item, part in zip(items.item_names(store.items), store.items, side, strict=True)
    ]
    files.write_csv(out / "split.csv", artifacts.SPLIT_COLUMNS, rows)
    files.write_json(out / "leaks.json", found)
    print("  " + ", ".join(_counts(found["items"], store.items, side)) + " items")
    for line in leaks.leak_lines(found):
        print(f"  note: {line}")


def _counts(counts: dict[str, int], table: Sequence[items.Item], side: np.ndarray) -> list[str]:
    """Items on each side, and how many of them are not a further slice of a nodule."""
    central = np.array([not item.offset_mm for item in table])
    lines = []
    for name, count in counts.items():
        alone = int(np.sum(central & (side == name)))
        lines.append(f"{count} {name}" + ("" if alone == count else f" ({alone} central)"))
    return lines
