"""From the data of any source to an item store (paper, section 4.1)."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from inres import sources
from inres.config import Config
from inres.data import folder, scan_items
from inres.data.scans import prepare_scans
from inres.system.progress import progress as default_progress


def prepare(
    config: Config,
    *,
    root: str | Path,
    out: str | Path,
    workers: int | None = None,
    progress: sources.Progress = default_progress,
    skip: Collection[str] = (),
) -> None:
    """Write the data at `root` as an item store to `out`, which `inres.data.item_store` describes.

    Args:
      config: the experiment.
      root: the folder of the data.
      out: the item store; what an interrupted run with the same config left there is used.
      workers: processes for scans; None takes `config.data.workers`, of which 0 means one per
        core. One worker works in this process.
      progress: wraps long loops, as `inres.system.progress.progress`.
      skip: names of scans to leave out (not of a folder of images).

    Raises:
      SourceError, PrepareError: as `inres.data.scans.prepare_scans`.
      ValueError, FileNotFoundError: as `inres.data.folder.prepare_folder`.
      OSError: the disk is full.
    """
    root, out = Path(root), Path(out)
    if sources.get(config.data.kind).ready_made:
        folder.prepare_folder(config, root=root, out=out)
        return
    workers = config.data.workers if workers is None else workers
    prepare_scans(
        config,
        root=root,
        out=out,
        workers=workers or os.cpu_count() or 1,
        progress=progress,
        skip=skip,
    )


def settings(config: Config) -> dict[str, dict[str, Any]]:
    """The fields of `config.data` and `config.items` on which an item store depends."""
    source = sources.get(config.data.kind)
    fields = (
        folder.fields(config.items)
        if source.ready_made
        else ("normals", "label", "places_per_scan", *scan_items.fields(config.items))
    )
    return {
        "data": {"kind": config.data.kind, **source.settings(config.data)},
        "items": {name: getattr(config.items, name) for name in fields},
    }


def input_files(config: Config, root: Path) -> list[Path]:
    """The files on which an item store depends.

    Raises:
      FileNotFoundError: there is no folder `root`, or files are missing that its table names.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; correct config.data.root")
    source = sources.get(config.data.kind)
    if source.ready_made:
        return folder.folder_files(root)
    return source.files(root, config.data)


def files_may_change(config: Config) -> bool:
    """Whether an interrupted preparation may continue after files changed.

    True of scans, each of which is compared with its own files.
    """
    return not sources.get(config.data.kind).ready_made
