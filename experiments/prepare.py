"""Scans or a folder -> item store (paper, section 4.1).

    python -m experiments.prepare --config=experiments/configs/phantom.py --workdir=runs/phantom

Phantoms are written first, to <workdir>/scans. Leaves <workdir>/prepare: items.csv, slices,
lung masks, the audit of nodules. Takes about 2 minutes for the phantoms on two cores.
"""

from pathlib import Path
from typing import Any

from experiments import common
from inres import sources
from inres.config import Config
from inres.data import items
from inres.data import prepare as prepare_lib
from inres.pipeline import stages


def run(config: Config, workdir: Path) -> None:
    """Make the item store, unless it is there."""
    root = common.data_root(config, workdir)
    source = sources.get(config.data.kind)
    inputs: dict[str, Any] = dict(prepare_lib.settings(config))
    if source.write is not None and not config.data.root:
        write, workers = source.write, common.workers(config)
        written = stages.run(
            workdir,
            "scans",
            source.written_from(config),
            lambda out: write(out, config, workers),
        )
        inputs["upstream"] = {"scans": written}
    else:
        inputs[stages.FILES] = stages.describe_files(prepare_lib.input_files(config, root), root)
    stages.run(
        workdir,
        "prepare",
        inputs,
        lambda out: _prepare(config, root, out),
        may_change=(stages.FILES,) if prepare_lib.files_may_change(config) else (),
    )


def _prepare(config: Config, root: Path, out: Path) -> None:
    prepare_lib.prepare(config, root=root, out=out, workers=common.workers(config))
    store = items.open_store(out)
    print(f"  {len(store.items)} items of {len(set(store.column('scan')))} scans in {out}")
    for message in common.messages(out):
        print(f"  note: {message}")


if __name__ == "__main__":
    common.launch(run)
