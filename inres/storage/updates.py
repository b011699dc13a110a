"""Changes of an index on disk: add, remove, compact; for one writer and any number of readers.

New files are written completely and synced, then the manifest is replaced. If the program is killed
at any moment, the index opens in the state before the change or after it. The next writer removes
files that a killed writer left behind.
"""

import contextlib
import itertools
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.retrieval.ids import as_ids
from inres.storage import arrays, search_files, store
from inres.storage import manifest as manifest_lib
from inres.storage import records as records_lib
from inres.storage import shards as shards_lib
from inres.storage.errors import StoreError
from inres.storage.groups import Numbering
from inres.storage.records import Given
from inres.storage.search_files import Searchable

OURS = re.compile(
    rf"\.?(({'|'.join((*shards_lib.PARTS, *search_files.FORMS, 'removed'))})-\d+|manifest\.json)\."
)
"""Matches the names of an index's files and of temporary files that a killed writer leaves."""
NONE = np.zeros(0, np.int32)
JOINED_ROWS = 1 << 17
"""Most rows that `add` joins with new ones, so that it takes seconds; `compact` joins all."""


@contextlib.contextmanager
def _writing(path: str | Path, model: str | None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Lock the index for one writer; yields its directory and manifest.

    Files that the manifest does not name are removed before and after, also after an error.

    Raises:
      StoreError: another program is writing, or the index is from another model.
    """
    root = Path(path)
    manifest_lib.read(root)
    with manifest_lib.hold(root):
        manifest = manifest_lib.renewed(manifest_lib.read(root))
        if model is not None and manifest["model"] != model:
            raise StoreError(
                f"{root / manifest_lib.MANIFEST}: made with model {manifest['model']!r}, the new "
                f"items with {model!r}; use one network for all items"
            )
        _remove_leftovers(root, manifest)
        try:
            yield root, manifest
        finally:
            _remove_leftovers(root, manifest_lib.read(root))


def _remove_leftovers(root: Path, manifest: Mapping[str, Any]) -> None:
    named = {entry["name"] for entry in manifest_lib.named_files(manifest)}
    for path in root.iterdir():
        if path.name in named or not OURS.match(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def add(
    path: str | Path, codes: Any, features: Any, records: Given, *, model: str | None = None
) -> np.ndarray:
    """Append N items to the index at `path`; they are stored durably when this returns.

    Arguments as in `store.save`; the records must have the index's columns. Small shards at the end
    are rewritten together with the new items, so that adding items one by one creates few shards.

    Returns:
      The ids of the new items, int32 [N], larger than all previous ids.

    Raises:
      StoreError: another program is writing, or the model differs.
      ValueError, TypeError: the items do not fit the index; nothing is changed.
      OSError: the disk is full; nothing is changed.
    """
    with _writing(path, model) as (root, manifest):
        bits, dtype = manifest["bits"], manifest["dtype"]
        codes, features, columns = store.checked(codes, features, records, bits, dtype)
        if features.shape[1] != manifest["dims"]:
            raise ValueError(
                f"features have {features.shape[1]} columns, {root} holds {manifest['dims']}"
            )
        if manifest["next_id"] + len(codes) > np.iinfo(np.int32).max:
            raise ValueError(f"{root}: no int32 ids are left; save the items as a new index")
        ids = np.arange(len(codes), dtype=np.int32) + np.int32(manifest["next_id"])
        if len(ids) == 0:
            return ids
        kinds = _merged_kinds(manifest, columns)
        values = [columns[name] for name in kinds]
        new = shards_lib.given(ids, codes, features, values, bits=bits, dtype=dtype)
        kept, tail = _split(manifest["shards"], len(ids))
        old = [_source(root, manifest, entry, kinds) for entry in tail]
        numbering = _numbering(root, manifest, kept, tail)
        manifest |= {
            "columns": kinds,
            "count": manifest["count"] + len(ids),
            "next_id": manifest["next_id"] + len(ids),
            "shards": kept,
        }
        joined = shards_lib.joined([*old, new])
        store.write_shards(root, manifest, joined, store.SHARD_ROWS, numbering)
        manifest_lib.write(root, manifest)
        return ids


def _numbering(
    root: Path,
    manifest: Mapping[str, Any],
    kept: Sequence[Mapping[str, Any]],
    rewritten: Sequence[Mapping[str, Any]],
) -> Numbering | None:
    """Numbers for the groups of new shards; None if the index has no groups."""
    if not manifest.get("group"):
        return None

    def opened(entries: Sequence[Mapping[str, Any]]) -> list[Searchable]:
        return [
            search_files.open_files(
                root, entry, manifest, shards_lib.open_shard(root, entry, manifest, NONE)
            )
            for entry in entries
            if search_files.are_complete(entry)
        ]

    return Numbering(manifest["group"], manifest["next_group"], opened(kept), opened(rewritten))


def _merged_kinds(
    manifest: Mapping[str, Any], columns: Mapping[str, records_lib.Column]
) -> dict[str, str]:
    """The kinds of the index's columns after adding these; errors as in `records.widened`."""
    kinds = records_lib.kinds(columns, manifest["columns"])
    if manifest["shards"]:
        return records_lib.widened(manifest["columns"], kinds)
    if manifest["columns"]:  # without items the names are fixed, but not the kinds
        records_lib.require_names(manifest["columns"], kinds)
    return kinds


def _split(shards: list[dict[str, Any]], new: int) -> tuple[list, list]:
    """Divide the shards into those that stay and the last ones, to be joined with `new` rows.

    A shard is joined if it is not longer than everything after it. The number of copies of a row
    and the number of shards then grow with the logarithm of the number of items.
    """
    first, rows = len(shards), new
    most = min(JOINED_ROWS, store.SHARD_ROWS)
    while first and shards[first - 1]["count"] <= min(rows, most - rows):
        first -= 1
        rows += shards[first]["count"]
    return shards[:first], shards[first:]


def _source(
    root: Path,
    manifest: Mapping[str, Any],
    entry: Mapping[str, Any],
    columns: Iterable[str],
    removed: np.ndarray = NONE,
) -> shards_lib.Rows:
    """The rows of a shard for copying, verified so that no damaged file gets a new checksum."""
    arrays.check_sums(root, list(entry["files"].values()))
    return shards_lib.open_shard(root, entry, manifest, removed).source(columns)


def remove(path: str | Path, ids: Sequence[int] | np.ndarray, *, model: str | None = None) -> None:
    """Remove items from the index at `path`; `compact` frees their space.

    Raises:
      KeyError: there is no item with one of the ids; nothing is changed.
      ValueError: `ids` is not an integer array of shape [n].
      StoreError: another program is writing.
      OSError: the disk is full; nothing is changed.
    """
    with _writing(path, model) as (root, manifest):
        opened = store.open_manifest(root, manifest)
        ids = np.unique(as_ids(ids))
        known = np.zeros(len(ids), bool)
        for shard in opened.shards:
            known |= shard.contains(ids)
        if not known.all():
            raise KeyError(f"no item {ids[np.argmin(known)]} in {root}")
        if len(ids) == 0:
            return
        gone = [shard.removed for shard in opened.shards]
        removed = np.sort(np.concatenate([*gone, ids.astype(np.int32)]))
        manifest["removed"] = arrays.write(
            root / f"removed-{manifest['next_serial']:06d}.npy", removed.shape, "<i4", [removed]
        )
        manifest["next_serial"] += 1
        manifest["count"] -= len(ids)
        manifest_lib.write(root, manifest)


def compact(path: str | Path) -> None:
    """Free the space of removed items in the index at `path` and join small shards; ids stay.

    Shards that would not change are kept. The others temporarily need their space a second time.

    Raises:
      StoreError: another program is writing, or the index is damaged; nothing is changed.
      OSError: the disk is full; nothing is changed.
    """
    with _writing(path, None) as (root, manifest):
        old, opened = manifest["shards"], store.open_manifest(root, manifest).shards
        final = [_is_final(*pair) for pair in zip(old, opened, strict=True)]
        numbering = _numbering(
            root,
            manifest,
            kept=[entry for entry, stays in zip(old, final, strict=True) if stays],
            rewritten=[entry for entry, stays in zip(old, final, strict=True) if not stays],
        )
        manifest |= {"shards": [], "removed": None}
        runs = itertools.groupby(
            zip(old, opened, strict=True),
            lambda pair: _is_final(*pair),
        )
        for full, pairs in runs:
            entries, shards = zip(*pairs, strict=True)
            removed = sum(len(shard.removed) for shard in shards)
            least = -(-sum(len(shard) for shard in shards) // store.SHARD_ROWS)
            whole = all(map(search_files.are_complete, entries))
            if full or (whole and not removed and len(shards) == least):
                manifest["shards"] += entries
                continue
            rows = [
                _source(root, manifest, entry, manifest["columns"], shard.removed)
                for entry, shard in zip(entries, shards, strict=True)
            ]
            store.write_shards(root, manifest, shards_lib.joined(rows), store.SHARD_ROWS, numbering)
        if manifest["shards"] != old:
            manifest_lib.write(root, manifest)


def _is_final(entry: Mapping[str, Any], shard: shards_lib.Shard) -> bool:
    """Whether compacting leaves a shard as it is, whatever its neighbours are."""
    full = len(shard.removed) == 0 and len(shard) >= store.SHARD_ROWS
    return full and search_files.are_complete(entry)
