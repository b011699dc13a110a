"""Scans added to the archive of a finished run, and items removed from it.

The archive is not built again: new items are prepared, segmented and encoded by the run's own
settings and networks, like items that the network was not trained on, and appended to the index on
disk (`inres.storage.updates`).
"""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres import sources
from inres.config import Config, Data
from inres.data import folder, identity, item_store, labels, prepare, views
from inres.data.item_store import ItemStore
from inres.data.items import Item
from inres.data.scans import NothingNew
from inres.encoding.encoded import Encoded
from inres.pipeline import added, artifacts, segment, train
from inres.pipeline.records import fields_of
from inres.pipeline.trained import TrainedRun, renewed
from inres.retrieval import codes
from inres.storage import store as storage
from inres.storage import updates
from inres.system import files
from inres.system.checks import ConfigError
from inres.system.progress import progress as default_progress

PENDING = ".preparing"
"""The item store of an addition that is not finished, which the same command continues."""
_RESTART = "remove this folder to prepare the scans again"


@dataclasses.dataclass(frozen=True)
class Added:
    """What was added to an archive."""

    items: int
    scans: int
    skipped: tuple[str, ...]
    """Scans that the archive has already, also under another name."""
    notes: tuple[str, ...]


def add(
    run: TrainedRun,
    data: Data,
    *,
    normals: int = 0,
    workers: int = 0,
    progress: sources.Progress = default_progress,
) -> Added:
    """Add the items of scans, or of a folder of images, to the archive of `run` on disk.

    A scan that the archive has already, by its name or by its voxels, is skipped. Labels are those
    of the run's classes, unknown otherwise; the archive then holds the network's own estimates.
    Columns that the archive's records lack are left out. If the program is killed, the archive is
    as before or complete, and the same command continues with the scans that were prepared.

    Args:
      run: a finished run.
      data: kind and place of the scans.
      normals: number of normal slices to add, over all scans.
      workers: processes for scans; 0 means one per core.
      progress: wraps long loops.

    Raises:
      ConfigError: scans are to be added to an archive of images, or the other way round.
      AddedError, StoreError: another program is writing to the archive.
      StageError: the archive was made again since the run was opened.
      SourceError, PrepareError, ValueError: as in `inres.data.prepare.prepare`; nothing is added.
      OSError: the disk is full; nothing is added.
    """
    source, archive = sources.get(data.kind), run.stored.path
    _require_same_form(run.config, source)
    config = _config_of(run, data, normals)
    root = source.root_of(config.data, written=Path())
    paths = prepare.input_files(config, root)  # refuses data that is not there
    with added.lock(archive):
        added.remove_leftovers(archive)
        run = renewed(run)  # others may have added scans since it was opened
        present = run.stored.records.distinct("scan") - {""}
        pending = _pending(added.folder(archive), config, root, stamp=_stamp(paths))
        try:
            if not (pending / "items.csv").is_file():
                prepare.prepare(
                    config,
                    root=root,
                    out=pending,
                    workers=workers or None,
                    progress=progress,
                    skip=present,
                )
        except NothingNew as nothing:
            shutil.rmtree(pending)
            return Added(0, 0, nothing.names, ())
        store = item_store.open_store(pending)
        _require_same_size(run, store, root)
        found = _added(run, store, present, pending, _messages(pending))
        shutil.rmtree(pending)
        return found


def remove(run: TrainedRun, where: str) -> int:
    """Remove the items whose records meet an SQL condition from the archive of `run` on disk.

    The condition is on the archive as it is there now, also if `run` was opened before it changed.

    Returns:
      How many were removed.

    Raises:
      ValueError: the condition is not valid, or all items meet it.
      StoreError: another program is writing to the archive.
    """
    stored = storage.load(run.stored.path)
    ids = stored.records.where(where)
    if len(ids) == len(stored):
        raise ValueError(
            f"condition {where!r}: all {len(ids)} items meet it; an archive keeps at least one"
        )
    updates.remove(stored.path, ids)
    return len(ids)


def require_nothing_added(archive: Path) -> None:
    """Refuse to replace an archive to which items were added.

    Raises:
      AddedError: items were added; says how to keep them.
    """
    count = sum(one.count for one in added.segments(archive)) if archive.is_dir() else 0
    if count:
        raise added.AddedError(
            f"{added.folder(archive)}: {count} items were added to the archive and would be lost; "
            "keep them by exporting the run (experiments.export), then remove this folder and run "
            "again"
        )


def _require_same_form(config: Config, source: sources.Source) -> None:
    ready_made = sources.get(config.data.kind).ready_made
    if ready_made != source.ready_made:
        holds, given = ("images", "scans") if ready_made else ("scans", "images")
        raise ConfigError(
            f"config.data.kind is {source.name!r}: the archive holds items made of {holds}, so "
            f"{given} cannot be added to it"
        )


def _config_of(run: TrainedRun, data: Data, normals: int) -> Config:
    """The settings by which new items are prepared: as many planes, and the unit, of the run's."""
    config, ready_made = run.config, sources.get(data.kind).ready_made
    cubes = config.items.view == "cube"
    items = dataclasses.replace(
        config.items,
        normals=normals,
        label=labels.AUTO if ready_made else labels.NONE,
        neighbours=0 if cubes else views.planes_of(run.channels) // 2,
        unit=_unit(run) if ready_made and not cubes else config.items.unit,
    )
    return dataclasses.replace(
        config, data=dataclasses.replace(data, expect_counts="off"), items=items
    )


def _unit(run: TrainedRun) -> str:
    """What an item of the run is (`config.items.unit`), as far as its own items show it."""
    own = run.own or run
    if own.config.items.unit != "auto":
        return own.config.items.unit
    if any(item.offset_mm for item in own.items):
        return "nodule"
    nodules = [(item.scan, item.patient, item.nodule) for item in own.items if item.nodule]
    return "slice" if len({*nodules}) < len(nodules) else "auto"


def _stamp(paths: Sequence[Path]) -> str:
    """A digest of names, sizes and times of files, which changes when one of them does."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        digest.update(os.fsencode(path) + f"\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _pending(folder: Path, config: Config, root: Path, *, stamp: str) -> Path:
    """The folder in which items are prepared; one that was begun for other data is emptied.

    Scans that were prepared are kept when `stamp`, the digest of all files of the data, changes,
    since each is compared with its own; a complete store is not, since it may lack new ones.
    """
    pending = folder / PENDING
    begun = {"root": str(root), **prepare.settings(config)}
    path = folder / f"{PENDING}.json"
    before = files.read_object(path, remedy="remove it") if path.is_file() else {}
    complete = (pending / "items.csv").is_file()
    if (before.pop("files", "") != stamp and complete) or before != begun:
        shutil.rmtree(pending, ignore_errors=True)
    files.write_json(path, {**begun, "files": stamp})
    pending.mkdir(exist_ok=True)
    return pending


def _messages(store: Path) -> tuple[str, ...]:
    return tuple(files.read_object(store / "meta.json", remedy=_RESTART).get("messages", ()))


def _added(
    run: TrainedRun,
    store: ItemStore,
    present: set[str],
    pending: Path,
    notes: Sequence[str],
) -> Added:
    """Encode the items of a store and append those of new scans to the archive."""
    copies, known = _copies(run, present, pending)
    notes = [*notes, *known]
    there = {*present, *copies}
    rows = np.array(
        [
            row
            for row, item in enumerate(store.items)
            if item.scan not in there and not item.offset_mm
        ],
        np.int64,
    )
    left_out = files.read_object(pending / "meta.json", remedy=_RESTART).get("skipped", ())
    skipped = tuple(sorted({*left_out, *copies, *(there & {item.scan for item in store.items})}))
    if not len(rows):
        return Added(0, 0, skipped, tuple(notes))
    ready_made = sources.get(run.config.data.kind).ready_made
    given = labels.like(
        [store.items[row] for row in rows],
        _labelled_by(run.config),
        run.class_names,
        normal=folder.shows_none if ready_made else lambda item: item.diameter_mm == 0,
    )
    inputs = _inputs(run, store, pending)[rows]
    if inputs.shape[-1] < run.channels:  # not one of the new nodules has several slices
        inputs = views.single(inputs[..., 0], run.channels)
    encoded = run.encoders.unseen(inputs)
    append(run, given, views.own_slices(inputs), encoded, scans=pending / "scans.csv")
    dropped = _dropped(given, run.stored.records.columns)
    lost = f"columns that the archive's records lack were left out: {', '.join(dropped)}"
    return Added(
        len(rows),
        len({item.scan for item in given}),
        skipped,
        (*notes, *([lost] if dropped else [])),
    )


def _copies(run: TrainedRun, present: set[str], pending: Path) -> tuple[set[str], list[str]]:
    """The prepared scans that are in the archive under another name, and notes on them."""
    known = [scan for scan in run.load_scans() if scan.scan in present]
    new = identity.read([pending / "scans.csv"])
    copies = identity.copies(new, known)
    alike = identity.sharing_a_series([scan for scan in new if scan.scan not in copies], known)
    return {*copies}, [
        *(f"{copy}: skipped, its voxels are those of {scan}" for copy, scan in copies.items()),
        *(
            f"{one}: the SeriesInstanceUID is that of {scan} in the archive, but not the voxels; "
            "both are kept"
            for one, scan in alike.items()
        ),
    ]


def _require_same_size(run: TrainedRun, store: ItemStore, root: Path) -> None:
    """Refuse images of another size than the archive's, whose scale is then another.

    Raises:
      ValueError: they have; what was prepared is removed.
    """
    if not sources.get(run.config.data.kind).ready_made or store.cubes is not None:
        return
    side = store.slices.shape[-1]
    if side != run.item_side_px:
        shutil.rmtree(store.root)
        raise ValueError(
            f"{root / store.items[0].image}: {side} pixels a side, but the archive's images have "
            f"{run.item_side_px}; cut the new images as those were cut"
        )


def _labelled_by(config: Config) -> str:
    """What the archive's items are labelled by."""
    by, ready_made = config.items.label, sources.get(config.data.kind).ready_made
    if ready_made:
        return labels.AUTO if by == "label" else by
    return labels.SIZE if by == labels.AUTO else by


def _inputs(run: TrainedRun, store: ItemStore, pending: Path) -> np.ndarray:
    """Network inputs of all items of a store, uint8 [N, S, S, C], as those of the run."""
    if run.segmenter is not None and store.cubes is None:
        masks = segment.in_blocks(run.segmenter, store.slices)
        segment.write_masks(masks, store.slices.shape, pending)
    reach = np.full(len(store.items), run.reach)
    train.write_inputs(run.config, store, pending, pending, reach=reach)
    return artifacts.network_inputs(pending)


def append(
    run: TrainedRun,
    items: Sequence[Item],
    images: np.ndarray,
    encoded: Encoded,
    *,
    scans: Path | None = None,
) -> None:
    """Append encoded items to the archive of `run` on disk; the caller holds `added.lock`.

    Args:
      images: uint8 [n, S, S], the items as the network sees them.
      scans: as in `added.write`.
    """
    archive, columns = run.stored.path, run.stored.records.columns
    before = added.segments(archive)
    first_item = before[-1].first_item + before[-1].count if before else len(run)
    known = artifacts.known_of(run.config, items, run.property_scale)
    made = run.representation
    code, features = codes.pack(made.to_bits(encoded, known)), made.to_features(encoded, known)
    records = [_record(item, first_item + place, columns) for place, item in enumerate(items)]
    wrote = added.write(
        archive,
        items,
        images,
        encoded,
        first_item=first_item,
        first_id=added.next_id(archive),
        scans=scans,
    )
    try:
        updates.add(archive, code, features, records, model=run.stored.model)
    except BaseException:
        if added.next_id(archive) == wrote.first_id:  # nothing was added
            shutil.rmtree(wrote.root)
        raise


def _record(item: Item, number: int, columns: Mapping[str, str]) -> dict[str, Any]:
    """The record of an item with the columns of an archive; unknown values are None."""
    fields = fields_of(item, number)

    def value(name: str, kind: str) -> Any:
        if name in fields:
            return fields[name]
        if kind == "text":
            number = item.value(name)
            return item.text(name) or ("" if np.isnan(number) else f"{number:g}")
        number = item.value(name)
        return None if np.isnan(number) else number

    return {name: value(name, kind) for name, kind in columns.items()}


def _dropped(items: Sequence[Item], columns: Mapping[str, str]) -> list[str]:
    """Columns of items that an archive's records lack, or hold as numbers where these are texts."""
    found = {name for item in items for name in item.properties if name not in columns}
    found |= {name for item in items for name in item.texts if columns.get(name) != "text"}
    return sorted(found)
