"""The index on disk: a directory that other programs can read.

  manifest.json            lists the valid files; the only file that is ever replaced
  codes-<serial>.npy       uint32 [n, W] of a shard, packed as described in `inres.retrieval.codes`
  features-<serial>.npy    [n, D] of a shard: float32, float16, or bfloat16 as uint16 bit patterns
  ids-<serial>.npy         int32 [n], ascending: the item id of each row
  records-<serial>.sqlite  table `records`, integer primary key `id`, one column per item property
  removed-<serial>.npy     int32 [m], ascending: ids of removed items

README.md in this directory documents the whole format: the manifest's keys, byte and bit order,
checksums, and what a reader may rely on.

A file named in the manifest never changes. `inres.storage.updates` writes new files and then
replaces the manifest, so that a reader sees either the old state or the new one. Memory use is
limited to a block of rows, except for results such as `Stored.features` and `Records.column`.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inres.retrieval import codes as codes_lib
from inres.retrieval import index as index_lib
from inres.retrieval.index import Index, without_labels
from inres.storage import arrays, search_files
from inres.storage import groups as groups_lib
from inres.storage import manifest as manifest_lib
from inres.storage import records as records_lib
from inres.storage import shards as shards_lib
from inres.storage.errors import StoreError
from inres.storage.groups import Numbering
from inres.storage.index_records import Records
from inres.storage.manifest import MANIFEST
from inres.storage.records import Given
from inres.storage.search_files import Searchable
from inres.storage.shards import Rows, Shard
from inres.system import files

SHARD_ROWS = 1 << 24
"""Most items of a shard. A search reads each shard's own directory, so large ones are faster."""


def checked(
    codes: Any, features: Any, records: Given, bits: int, dtype: str
) -> tuple[np.ndarray, np.ndarray, dict[str, records_lib.Column]]:
    """Items as arrays and columns, after checking shapes and dtypes; values are checked later.

    Raises:
      ValueError, TypeError: shapes, dtypes or columns do not agree.
    """
    codes, features = np.asarray(codes), np.asarray(features)
    codes_lib.check(codes[:0], bits)
    shards_lib.feature_type(dtype)
    n = len(codes) if records == {} else records_lib.length(records)
    if codes.ndim != 2 or features.ndim != 2 or not len(codes) == len(features) == n:
        raise ValueError(
            f"codes {codes.shape}, features {features.shape} and {n} records must be "
            "[N, W], [N, D] and N"
        )
    if features.shape[1] < 1:
        raise ValueError("features have no columns")
    if features.dtype.kind not in "biuf" and features.dtype != shards_lib.feature_type("bfloat16"):
        raise TypeError(f"features are {features.dtype}, must be numbers")
    return codes, features, records_lib.columns(records)


def write_shards(
    root: Path,
    manifest: dict[str, Any],
    rows: Rows,
    shard_rows: int,
    numbering: Numbering | None = None,
) -> None:
    """Write rows as shards and add these to `manifest`, which the caller has to write.

    `numbering` gives the numbers of groups, if the index has any.

    Raises:
      OSError: there is not enough disk space.
    """
    words, width = codes_lib.words(manifest["bits"]), manifest["dims"]
    row_bytes = 4 * words + 4 + width * np.dtype(shards_lib.ON_DISK[manifest["dtype"]]).itemsize
    row_bytes += width + 4 * words + 40  # for the search
    files.require_space(root, rows.count * row_bytes)
    for start in range(0, rows.count, shard_rows):
        part = shards_lib.part_of(rows, start, start + shard_rows)
        serial = manifest["next_serial"]
        entry = shards_lib.write(root, serial, part, manifest)
        shard = shards_lib.open_shard(root, entry, manifest, np.zeros(0, np.int32))
        found = search_files.write(
            root,
            serial,
            shard,
            bits=manifest["bits"],
            groups=None if numbering is None else numbering.of(shard),
            labels=_labels(shard, manifest.get("label", "")),
        )
        manifest["shards"].append({**entry, **found, "files": entry["files"] | found["files"]})
        manifest["next_serial"] += 1
    if numbering is not None:
        manifest["next_group"] = numbering.next


def _labels(shard: Shard, column: str) -> np.ndarray | None:
    """The labels of a shard's rows, int32 [n], -1 where unknown."""
    if not column:
        return None
    values = groups_lib.values_of(shard, column)
    return np.array([-1 if value is None else value for value in values], np.int32)


def save(
    path: str | Path,
    codes: Any,
    features: Any,
    records: Given,
    *,
    bits: int,
    model: str,
    dtype: str = "float32",
    shard_rows: int | None = None,
    group: str = "",
    label: str = "",
) -> None:
    """Write an index of N items with the ids 0 ... N - 1, replacing an index at `path`.

    Memory-mapped arrays are read a block at a time.

    Args:
      path: the directory to create.
      codes: uint32 [N, W].
      features: floats [N, D], finite in `dtype`.
      records: N mappings with the same keys, or a mapping from column names to N values; values are
        int, float (NaN: unknown), str or None.
      bits: code length.
      model: fingerprint of the network that computed codes and features.
      dtype: type of the stored features: float32, float16 or bfloat16.
      shard_rows: maximum number of items per shard; default: SHARD_ROWS.
      group: the text column by which a search can exclude items, such as their scan; empty: none.
      label: the integer column to which a search can be restricted; empty: none.

    Raises:
      ValueError, TypeError: the items do not fit together or cannot be stored; nothing is written.
      StoreError: another program is writing to the index at `path`.
      OSError: the disk is full; nothing is left behind.
    """
    codes, features, columns = checked(codes, features, records, bits, dtype)
    n = len(codes)
    if n > np.iinfo(np.int32).max:
        raise ValueError(f"{n} items are too many: ids are int32")
    ids = np.arange(n, dtype=np.int32)
    manifest = manifest_lib.of_no_shards(
        bits=bits,
        dims=features.shape[1],
        dtype=dtype,
        model=model,
        count=n,
        columns=records_lib.kinds(columns),
        group=group,
        label=label,
    )
    for name, kind in ((group, "text"), (label, "integer")):
        if name and n and manifest["columns"].get(name) != kind:
            raise ValueError(f"{name!r} is not a column of {kind}s")
    rows = shards_lib.given(ids, codes, features, [*columns.values()], bits=bits, dtype=dtype)
    path = Path(os.path.realpath(path))  # replaces the target of a link and keeps the link
    with contextlib.ExitStack() as stack:
        if Path(path, MANIFEST).is_file():
            stack.enter_context(manifest_lib.hold(path))
        elif path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise StoreError(f"{path}: exists and is not an index; choose another path")
        root = stack.enter_context(files.atomic_path(path))
        root.mkdir()
        numbering = Numbering(group, 0, (), ()) if group else None
        write_shards(root, manifest, rows, shard_rows or SHARD_ROWS, numbering)
        manifest_lib.write(root, manifest)


@dataclasses.dataclass(frozen=True)
class Stored:
    """An opened index on disk; arrays are memory-mapped and read on use.

    It keeps the state at the time of opening, even if a writer changes the index.
    """

    path: Path
    bits: int
    dims: int
    dtype: str
    """Type of the stored features."""
    model: str
    shards: tuple[Shard, ...]
    records: Records
    group: str
    """Column by which a search can exclude items; empty: none."""
    label: str
    """Column to which a search can be restricted; empty: none."""
    version: int
    """Of the format."""
    searchable: tuple[Searchable, ...]
    """The shards with their files for the search; empty where some have none (version 1)."""
    stamp: manifest_lib.Stamp = None
    """Of the manifest, before it was read."""

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    @functools.cached_property
    def index(self) -> Index:
        """The items as a search takes them, with groups and without labels.

        They stay on disk and are read when a search needs them. An index of version 1 is sorted in
        memory first.
        """
        return without_labels(self.labelled)

    @functools.cached_property
    def labelled(self) -> Index:
        """The same with labels."""
        if self._is_renewed:
            return Index(tuple(part.segment for part in self.searchable), self.bits, self.dims)
        groups = self._old_groups[0] if "scan" in self.records.columns else None
        labels = self.records.column("label") if "label" in self.records.columns else None
        return index_lib.build(
            self.codes, self.features, bits=self.bits, ids=self.ids, groups=groups, labels=labels
        )

    @property
    def is_current(self) -> bool:
        """Whether no writer has changed the index since it was opened; one look at a file."""
        return manifest_lib.stamp(self.path) == self.stamp

    def group_number(self, text: str) -> int:
        """The number of a group for `search(..., exclude_group=)`; -1 if there is no such group."""
        if self._is_renewed:
            return groups_lib.number_of(text, self.group, self.searchable) if self.group else -1
        return self._old_groups[1].get(text, -1) if "scan" in self.records.columns else -1

    @property
    def _is_renewed(self) -> bool:
        """Whether all shards have what a search needs."""
        return self.version > 1 and len(self.searchable) == len(self.shards)

    @functools.cached_property
    def _old_groups(self) -> tuple[np.ndarray, dict[str, int]]:
        """Groups of an index of version 1, made by this program: scans."""
        return self.records.groups("scan")

    def _all(self, name: str) -> np.ndarray:
        if len(self.shards) == 1:
            return self.shards[0].rows(name)
        forms: dict[str, tuple[tuple[int, ...], Any]] = {
            "ids": ((), np.int32),
            "codes": ((codes_lib.words(self.bits),), np.uint32),
            "features": ((self.dims,), shards_lib.feature_type(self.dtype)),
        }
        shape, dtype = forms[name]
        out = np.empty((len(self), *shape), dtype)
        start = 0
        for shard in self.shards:
            part = out[start : start + len(shard)]
            array = getattr(shard, name)
            if shard.live is None:
                part[...] = array
            else:
                np.compress(shard.live, array, axis=0, out=part)
            start += len(shard)
        return out

    @property
    def ids(self) -> np.ndarray:
        """int32 [N], ascending."""
        return self._all("ids")

    @property
    def codes(self) -> np.ndarray:
        """uint32 [N, W]; memory-mapped if there is one shard without removed items, else read."""
        return self._all("codes")

    @property
    def features(self) -> np.ndarray:
        """[N, D] in the stored type; memory-mapped or read like `codes`."""
        return self._all("features")


def load(path: str | Path, *, model: str | None = None, verify: bool = False) -> Stored:
    """Open an index; sizes and headers are checked, but items are not read.

    Args:
      path: the directory.
      model: fingerprint of the network that computes the queries; None accepts any.
      verify: also read every file and compare it with its checksum.

    Raises:
      FileNotFoundError: no index at `path`.
      StoreError: damaged, incomplete, of another version or another model; names the file.
    """
    root = Path(path)
    while True:
        directory = root.stat().st_ino if root.is_dir() else None
        stamp = manifest_lib.stamp(root)
        manifest = manifest_lib.read(root)
        try:
            stored = dataclasses.replace(open_manifest(root, manifest, model), stamp=stamp)
            if verify:
                arrays.check_sums(root, manifest_lib.named_files(manifest))
        except StoreError:
            # If a writer replaced files in the meantime, the new manifest names other files.
            if manifest_lib.read(root) == manifest:
                raise
            continue
        # An index saved over this one has files with the same names.
        if root.stat().st_ino == directory:
            return stored


def open_manifest(root: Path, manifest: Mapping[str, Any], model: str | None = None) -> Stored:
    """Open the index described by a manifest; errors as in `load`."""
    if model is not None and manifest["model"] != model:
        raise StoreError(
            f"{root / MANIFEST}: made with model {manifest['model']!r}, the queries come from "
            f"{model!r}; build the index again with that network"
        )
    removed = np.zeros(0, np.int32)
    if manifest["removed"]:
        arrays.check_sums(root, [manifest["removed"]])
        gone = sum(entry["count"] for entry in manifest["shards"]) - manifest["count"]
        removed = arrays.open_array(root, manifest["removed"], (gone,), "<i4")
    shards = tuple(
        shards_lib.open_shard(root, entry, manifest, removed) for entry in manifest["shards"]
    )
    pairs = zip(manifest["shards"], shards, strict=True)
    searchable = tuple(
        search_files.open_files(root, entry, manifest, shard)
        for entry, shard in pairs
        if search_files.are_complete(entry)
    )
    return Stored(
        path=root,
        bits=manifest["bits"],
        dims=manifest["dims"],
        dtype=manifest["dtype"],
        model=manifest["model"],
        shards=shards,
        records=Records(root, shards, manifest["columns"]),
        group=manifest.get("group", ""),
        label=manifest.get("label", ""),
        version=manifest["version"],
        searchable=searchable,
    )


def verify(path: str | Path) -> None:
    """Read the whole index and compare every file with its checksum.

    Raises:
      StoreError: a file is missing or differs; names the first one.
    """
    load(path, verify=True)
