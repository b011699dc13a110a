"""The index on disk: a directory another program can read.

  manifest.json          what is valid; the one file that is ever replaced
  codes-<serial>.npy     uint32 [n, W] of a shard, packed as `inres.retrieval.codes` says
  features-<serial>.npy  [n, D] of a shard: float32 or float16, or bfloat16 as its uint16 pattern
  ids-<serial>.npy       int32 [n], ascending: the item of each row
  records-<serial>.sqlite  table `records`, integer primary key `id`, a column an item property
  removed-<serial>.npy   int32 [m], ascending: items that are no longer part of the index

The README.md beside this file has the whole format: the manifest's keys, byte and bit
order, checksums, and what a reader may rely on.

No named file ever changes: `inres.storage.updates` writes new ones and then replaces the
manifest, so that a reader sees the old state or the new one. Nothing here holds more of an index
in memory than a block of rows, but for what is asked for: `Stored.features`, `Records.column`.
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
    """Items as arrays and columns, their forms checked; their values are when they are written.

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
    """Write rows as shards and enter them in `manifest`, which is not yet written.

    Raises:
      OSError: the disk has too little room.
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
    """Write an index of N items, ids 0 ... N - 1; an index at `path` is replaced as a whole.

    Memory-mapped arrays are read a block at a time.

    Args:
      path: directory to make.
      codes: uint32 [N, W].
      features: floats [N, D], finite in `dtype`.
      records: N mappings with the same keys, or a mapping of columns, name -> N values; int,
        float (NaN: unknown), str or None.
      bits: code length.
      model: fingerprint of the network that made codes and features.
      dtype: stored type of the features: float32, float16 or bfloat16.
      shard_rows: items of a shard at most.

    Raises:
      ValueError, TypeError: the items do not agree or cannot be stored; nothing is written.
      StoreError: another program is writing to the index at `path`.
      OSError: the disk is full; nothing is left.
    """
    codes, features, columns = checked(codes, features, records, bits, dtype)
    n = len(codes)
    if n > np.iinfo(np.int32).max:
        raise ValueError(f"{n} items: ids are int32")
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
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    with contextlib.ExitStack() as stack:
        if Path(path, MANIFEST).is_file():
            stack.enter_context(manifest_lib.hold(path))
        elif path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise StoreError(f"{path}: is there, and no index to be replaced; choose another place")
        root = stack.enter_context(files.atomic_path(path))
        root.mkdir()
        write_shards(root, manifest, rows, shard_rows)
        manifest_lib.write(root, manifest)


@dataclasses.dataclass(frozen=True)
class Stored:
    """An index on disk, opened: arrays are memory-mapped, and read when they are used.

    It stays as it was opened, whatever a writer does meanwhile.
    """

    path: Path
    bits: int
    dims: int
    dtype: str
    """Stored type of the features."""
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
        """uint32 [N, W]; mapped where there is one shard, else read."""
        return self._all("codes")

    @property
    def features(self) -> np.ndarray:
        """[N, D], as stored; mapped where there is one shard, else read."""
        return self._all("features")


def load(path: str | Path, *, model: str | None = None, verify: bool = False) -> Stored:
    """Open an index without reading its items; sizes and headers are checked.

    Args:
      path: the directory.
      model: fingerprint of the network that will make the queries; None takes any.
      verify: read every file and compare it with its checksum, too: for those who are going to
        read them all anyway.

    Raises:
      FileNotFoundError: no index at `path`.
      StoreError: damaged, incomplete, of another version or of another model; names the file.
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
            # A writer may have replaced files meanwhile; then the new manifest names others.
            if manifest_lib.read(root) == manifest:
                raise
            continue
        # An index saved over this one has files of the same names.
        if root.stat().st_ino == directory:
            return stored


def open_manifest(root: Path, manifest: Mapping[str, Any], model: str | None = None) -> Stored:
    """Open the index that a manifest describes; as `load`, but for that manifest alone."""
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
      StoreError: a file is missing or differs; names the first such.
    """
    load(path, verify=True)
