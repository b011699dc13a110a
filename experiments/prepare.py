"""Scans or a folder -> item store (paper, section 4.1).

    python -m experiments.prepare --config=experiments/configs/phantom.py --workdir=runs/phantom

Phantoms are written first, to <workdir>/scans. Leaves <workdir>/prepare: items.csv, slices,
lung masks, the audit of nodules. Takes about 2 minutes for the phantoms on two cores.
"""

from pathlib import Path
from typing import Any

from experiments import common
from inres.config import Config
from inres.data import folder, items
from inres.data import prepare as prepare_lib
from inres.phantoms import dataset
from inres.pipeline import stages
from inres.sources import luna16


def run(config: Config, workdir: Path) -> None:
    """Make the item store, unless it is there."""
    root = common.data_root(config, workdir)
    inputs: dict[str, Any] = {
        "data": common.part(config.data, "kind", "max_thickness_mm", "lung_masks"),
        "items": common.part(config.items, "hu_min", "hu_max", "neighbours"),
    }
    if config.data.kind != "folder":
        inputs["data"]["seed"] = config.data.seed
        names = ("spacing_mm", "canvas_mm", "normals", "normal_clearance_mm")
        more = ("slices_per_nodule", "neighbour_mm")
        inputs["items"] |= common.part(config.items, *names, *more)
    if config.data.kind == "luna16" and config.data.expect_counts == "strict":
        inputs["data"]["expect_counts"] = "strict"  # a store made without has not been checked
    if config.data.kind == "phantom" and not config.data.root:
        made = {"phantom": common.part(config.phantom), "seed": config.data.seed}
        workers = common.workers(config)
        inputs["upstream"] = {
            "scans": stages.run(
                workdir,
                "scans",
                made,
                lambda out: dataset.write_dataset(
                    out, config.phantom, seed=config.data.seed, workers=workers
                ),
            )
        }
    else:
        inputs[stages.FILES] = stages.describe_files(_files(config, root), root)
    # Scans are known by what they were made from, one by one.
    may_change = () if config.data.kind == "folder" else (stages.FILES,)
    stages.run(
        workdir,
        "prepare",
        inputs,
        lambda out: _prepare(config, root, out),
        may_change=may_change,
    )


def _files(config: Config, root: Path) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; set --config.data.root")
    if config.data.kind == "folder":
        return folder.folder_files(root)
    return luna16.tree_files(root, lung_masks=config.data.lung_masks == "luna16")


def _prepare(config: Config, root: Path, out: Path) -> None:
    if config.data.kind == "folder":
        folder.prepare_folder(config, root=root, out=out)
    else:
        prepare_lib.prepare(config, root=root, out=out, workers=common.workers(config))
    store = items.open_store(out)
    print(f"  {len(store.items)} items of {len(set(store.column('scan')))} scans in {out}")
    for message in common.messages(out):
        print(f"  note: {message}")


if __name__ == "__main__":
    common.launch(run)
