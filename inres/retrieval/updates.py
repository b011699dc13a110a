"""Changes of an index on disk: add, remove, compact; one writer, any number of readers.

New files are written whole and synced first; then the manifest is replaced. Killed at any instant,
the index opens in the state before the change or after it. What a killed writer left behind is
removed by the next one.
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres import files
from inres.retrieval import store
from inres.retrieval.store import StoreError, Value

LOCK = "lock"


@contextlib.contextmanager
def _writing(path: str | Path, model: str | None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Hold the index for one writer; give its directory and manifest, leftovers removed.

    Raises:
      StoreError: another writer holds it, or it is of another model.
    """
    root = Path(path)
    store.read_manifest(root)
    with open(root / LOCK, "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{root}: another program is writing to this index; try again when it is done"
            ) from None
        manifest = store.read_manifest(root)
        if model is not None and manifest["model"] != model:
            raise StoreError(
                f"{root / store.MANIFEST}: made with model {manifest['model']!r}, the new items "
                f"with {model!r}; index the archive with one network"
            )
        _remove_leftovers(root, manifest)
        yield root, manifest


def _remove_leftovers(root: Path, manifest: Mapping[str, Any]) -> None:
    named = {entry["name"] for entry in store.named_files(manifest)}
    for path in root.iterdir():
        if path.name in named or path.name in (store.MANIFEST, LOCK):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def add(
    path: str | Path,
    codes: Any,
    features: Any,
    records: Sequence[Mapping[str, Value]],
    *,
    model: str | None = None,
) -> np.ndarray:
    """Append N items to the index at `path`; once this returns they are there for good.

    Arguments as in `store.save`; the records need the index's columns.

    Returns:
      The new items' ids, int32 [N], above all that ever were.

    Raises:
      StoreError: another writer is at work, or the model is another.
      ValueError, TypeError: the items do not fit the index; nothing is changed.
    """
    with _writing(path, model) as (root, manifest):
        codes, features = store.check_items(
            codes, features, records, manifest["bits"], manifest["dtype"]
        )
        if features.shape[1] != manifest["dims"]:
            raise ValueError(
                f"features have {features.shape[1]} columns, {root} holds {manifest['dims']}"
            )
        kinds = store.column_kinds(records)
        if len(records) and not manifest["count"] and not manifest["columns"]:
            manifest["columns"] = kinds
        elif len(records) and tuple(kinds) != tuple(manifest["columns"]):
            raise ValueError(
                f"records have the columns {', '.join(kinds)}, {root} has "
                f"{', '.join(manifest['columns'])}"
            )
        if manifest["next_id"] + len(codes) > np.iinfo(np.int32).max:
            raise ValueError(f"{root}: no int32 ids are left; save the index anew")
        ids = np.arange(len(codes), dtype=np.int32) + np.int32(manifest["next_id"])
        if len(ids):
            _append(root, manifest, ids, codes, features, records)
            store.write_manifest(root, manifest)
        return ids


def _append(
    root: Path,
    manifest: dict[str, Any],
    ids: np.ndarray,
    codes: np.ndarray,
    features: np.ndarray,
    records: Sequence[Mapping[str, Value]],
) -> None:
    """Write shards and enter them in `manifest`, which is not yet written."""
    # An index of no items is one empty shard.
    manifest["shards"] = [shard for shard in manifest["shards"] if shard["count"]]
    for start in range(0, max(1, len(ids)), store.SHARD_ROWS):
        rows = slice(start, start + store.SHARD_ROWS)
        manifest["shards"].append(
            store.write_shard(
                root,
                manifest["next_serial"],
                ids[rows],
                codes[rows],
                features[rows],
                records[rows],
                dtype=manifest["dtype"],
                kinds=manifest["columns"],
            )
        )
        manifest["next_serial"] += 1
    manifest["count"] += len(ids)
    manifest["next_id"] = max(manifest["next_id"], int(ids.max(initial=-1)) + 1)


def remove(path: str | Path, ids: Sequence[int] | np.ndarray, *, model: str | None = None) -> None:
    """Take items out of the index at `path`; their room is freed by `compact`.

    Raises:
      KeyError: one of `ids` is no item; nothing is changed.
      StoreError: another writer is at work.
    """
    with _writing(path, model) as (root, manifest):
        opened = store.load(root)
        ids = np.unique(np.asarray(ids, np.int64))
        missing = ids[~np.isin(ids, opened.ids)]
        if len(missing):
            raise KeyError(f"no item {missing[0]} in {root}")
        if len(ids) == 0:
            return
        dead = [shard.ids[~shard.live] for shard in opened.shards if shard.live is not None]
        removed = np.sort(np.concatenate([*dead, ids])).astype(np.int32)
        name = f"removed-{manifest['next_serial']:06d}.npy"
        with files.atomic_path(root / name) as part:
            np.save(part, removed)
        manifest["removed"] = store.file_entry(root / name)
        manifest["next_serial"] += 1
        manifest["count"] -= len(ids)
        store.write_manifest(root, manifest)
        _remove_leftovers(root, manifest)


def compact(path: str | Path) -> None:
    """Write the items of the index at `path` in as few shards as there can be; ids stay.

    Raises:
      StoreError: another writer is at work, or the index is damaged.
    """
    with _writing(path, None) as (root, manifest):
        opened = store.load(root)
        full = [len(shard) == store.SHARD_ROWS for shard in opened.shards]
        if manifest.get("removed") is None and all(full[:-1]):
            return
        ids, codes, features = opened.ids, opened.codes, opened.features
        records = [record for _, record in opened.records.all()]
        manifest |= {"shards": [], "removed": None, "count": 0}
        _append(root, manifest, ids, codes, features, records)
        store.write_manifest(root, manifest)
        _remove_leftovers(root, manifest)
