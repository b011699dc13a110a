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
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inres.retrieval import codes as codes_lib
from inres.storage import manifest as manifest_lib
from inres.storage import records as records_lib
from inres.storage import shards as shards_lib
from inres.storage.errors import StoreError
from inres.storage.index_records import Records
from inres.storage.manifest import MANIFEST
from inres.storage.records import Given
from inres.storage.shards import Rows, Shard
from inres.system import files

SHARD_ROWS = 1 << 20


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


def write_shards(root: Path, manifest: dict[str, Any], rows: Rows, shard_rows: int) -> None:
    """Write rows as shards and add these to `manifest`, which the caller has to write.

    Raises:
      OSError: there is not enough disk space.
    """
    words, width = codes_lib.words(manifest["bits"]), manifest["dims"]
    row_bytes = 4 * words + 4 + width * np.dtype(shards_lib.ON_DISK[manifest["dtype"]]).itemsize
    files.require_space(root, rows.count * row_bytes)
    for start in range(0, rows.count, shard_rows):
        part = shards_lib.part_of(rows, start, start + shard_rows)
        entry = shards_lib.write(root, manifest["next_serial"], part, manifest)
        manifest["shards"].append(entry)
        manifest["next_serial"] += 1


def save(
    path: str | Path,
    codes: Any,
    features: Any,
    records: Given,
    *,
    bits: int,
    model: str,
    dtype: str = "float32",
    shard_rows: int = SHARD_ROWS,
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
      shard_rows: maximum number of items per shard.

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
    )
    rows = shards_lib.given(ids, codes, features, [*columns.values()], bits=bits, dtype=dtype)
    path = Path(os.path.realpath(path))  # replaces the target of a link and keeps the link
    with contextlib.ExitStack() as stack:
        if Path(path, MANIFEST).is_file():
            stack.enter_context(manifest_lib.hold(path))
        elif path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise StoreError(f"{path}: exists and is not an index; choose another path")
        root = stack.enter_context(files.atomic_path(path))
        root.mkdir()
        write_shards(root, manifest, rows, shard_rows)
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

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

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
        manifest = manifest_lib.read(root)
        try:
            stored = open_manifest(root, manifest, model)
            if verify:
                shards_lib.check_sums(root, manifest_lib.named_files(manifest))
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
        shards_lib.check_sums(root, [manifest["removed"]])
        gone = sum(entry["count"] for entry in manifest["shards"]) - manifest["count"]
        removed = shards_lib.open_array(root, manifest["removed"], (gone,), "<i4")
    shards = tuple(
        shards_lib.open_shard(root, entry, manifest, removed) for entry in manifest["shards"]
    )
    return Stored(
        path=root,
        bits=manifest["bits"],
        dims=manifest["dims"],
        dtype=manifest["dtype"],
        model=manifest["model"],
        shards=shards,
        records=Records(root, shards, manifest["columns"]),
    )


def verify(path: str | Path) -> None:
    """Read the whole index and compare every file with its checksum.

    Raises:
      StoreError: a file is missing or differs; names the first one.
    """
    load(path, verify=True)
