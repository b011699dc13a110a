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
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.retrieval import codes as codes_lib
from inres.retrieval.ids import as_ids
from inres.storage import records as records_lib
from inres.storage import shards as shards_lib
from inres.storage.records import Given, StoreError, Value
from inres.storage.shards import Rows, Shard
from inres.system import files

FORMAT = "inres-index"
VERSION = 1
MANIFEST = "manifest.json"
LOCK = "lock"
SHARD_ROWS = 1 << 20


def _seal(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(root: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest: the moment at which a change becomes true."""
    files.write_json(root / MANIFEST, {**manifest, "sha256": _seal(manifest)})


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest of the index at `path`, checked against its own checksum.

    Raises:
      FileNotFoundError: no index there.
      StoreError: not an index, another version, or a damaged manifest.
    """
    path = Path(path) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the index stage")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path}: damaged ({error}); run the index stage again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path}: not the manifest of an index (format is not {FORMAT!r})")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"{path}: format version {manifest.get('version')}, this program reads {VERSION}; "
            "run the index stage again"
        )
    if manifest.get("sha256") != _seal(manifest):
        raise StoreError(f"{path}: damaged (checksum differs); run the index stage again")
    return manifest


def hold(root: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the index at `root` for one writer.

    Raises:
      StoreError: another writer holds it.
    """
    return files.lock(
        root / LOCK,
        StoreError(f"{root}: another program is writing to this index; try again when it is done"),
    )


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
    if len(codes) > np.iinfo(np.int32).max:
        raise ValueError(f"{len(codes)} items: ids are int32")
    ids = np.arange(len(codes), dtype=np.int32)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "bits": bits,
        "dims": features.shape[1],
        "dtype": dtype,
        "model": model,
        "count": len(codes),
        "next_id": len(codes),
        "next_serial": 0,
        "columns": records_lib.kinds(columns),
        "shards": [],
        "removed": None,
    }
    rows = shards_lib.given(ids, codes, features, [*columns.values()], bits=bits, dtype=dtype)
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    with contextlib.ExitStack() as stack:
        if Path(path, MANIFEST).is_file():
            stack.enter_context(hold(path))
        elif path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise StoreError(f"{path}: is there, and no index to be replaced; choose another place")
        root = stack.enter_context(files.atomic_path(path))
        root.mkdir()
        write_shards(root, manifest, rows, shard_rows)
        write_manifest(root, manifest)


class Records:
    """The records of an index: `records[id]` is a dict of the item's properties."""

    def __init__(self, path: Path, shards: Sequence[Shard], kinds: Mapping[str, str]):
        self.columns = dict(kinds)
        self._path = path
        self._shards = list(shards)
        self._first = np.array([shard.ids[0] for shard in self._shards], np.int64)

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def _dict(self, row: Sequence[Any]) -> dict[str, Value]:
        return {
            name: value if kind != "real" else float("nan" if value is None else value)
            for (name, kind), value in zip(self.columns.items(), row, strict=True)
        }

    def __getitem__(self, id_: int) -> dict[str, Value]:
        """The record of item `id_`; NaN where a real number is unknown.

        Raises:
          KeyError: no such item.
        """
        return self.many([id_])[0]

    def many(self, ids: Sequence[int] | np.ndarray) -> list[dict[str, Value]]:
        """The records of `ids`, in that order.

        Raises:
          KeyError: one of them is no item.
          ValueError: they are no integers [N].
        """
        wanted = as_ids(ids)
        shard_of = np.searchsorted(self._first, wanted, side="right") - 1
        found: dict[int, dict[str, Value]] = {}
        for place in np.unique(shard_of[shard_of >= 0]):
            shard, inside = self._shards[place], np.unique(wanted[shard_of == place])
            for i in inside[shard.contains(inside)].tolist():
                for row in shard.table.select(self.columns, "id = ?", (i,)):
                    found[i] = self._dict(row)
        missing = [i for i in wanted.tolist() if i not in found]
        if missing:
            raise KeyError(f"no item {missing[0]} in {self._path}")
        return [found[i] for i in wanted.tolist()]

    def column(self, name: str) -> np.ndarray:
        """A column over all items, ids ascending: int64, float64 (NaN: unknown) or object [N].

        An integer column with unknowns is float64.
        """
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        kind = self.columns[name]
        parts = [np.zeros(0, {"text": object, "real": np.float64, "integer": np.int64}[kind])]
        same: dict[Value, Value] = {}
        for shard in self._shards:
            values = [value for (value,) in shard.select([name])]
            if kind == "text":
                # One object for equal texts: a scan's name stands at each of its items.
                parts.append(np.array([same.setdefault(v, v) for v in values], object))
            else:
                unknown = kind == "real" or None in values
                parts.append(np.array(values, np.float64 if unknown else np.int64))
        return np.concatenate(parts)

    def groups(self, name: str) -> tuple[np.ndarray, dict[str, int]]:
        """Items that share a text: each one's number, int32 [N], -1 where blank; text -> number."""
        numbers: dict[str, int] = {}
        rows = [numbers.setdefault(v, len(numbers)) if v else -1 for v in self.column(name)]
        return np.array(rows, np.int32), numbers

    def where(self, condition: str, values: Sequence[Value] = ()) -> np.ndarray:
        """Ids int32 of the items for which an SQL condition holds, ascending.

        `condition` is an SQL expression on the columns of one item, with `?` for each of `values`,
        for instance `where("diameter_mm BETWEEN ? AND ?", (5, 8))`.

        Raises:
          ValueError: no such condition can be asked.
        """
        values = records_lib.plain(values)  # SQLite would take NumPy's for bytes
        records_lib.check_condition(self.columns, condition, values)
        parts = [np.zeros(0, np.int32)]
        for shard in self._shards:
            ids = np.array(shard.table.where(self.columns, condition, values), np.int32)
            parts.append(np.setdiff1d(ids, shard.removed, assume_unique=True))
        return np.concatenate(parts)

    def all(self) -> Iterator[tuple[int, dict[str, Value]]]:
        """(id, record) of every item, ids ascending."""
        for shard in self._shards:
            for i, *row in shard.select(["id", *self.columns]):
                yield i, self._dict(row)


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
        manifest = read_manifest(root)
        try:
            stored = open_manifest(root, manifest, model)
            if verify:
                shards_lib.check_sums(root, named_files(manifest))
        except StoreError:
            # A writer may have replaced files meanwhile; then the new manifest names others.
            if read_manifest(root) == manifest:
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
            f"{model!r}; index the archive with the present network"
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


def named_files(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of all files of an index but the manifest."""
    entries = [entry for shard in manifest["shards"] for entry in shard["files"].values()]
    return [*entries, *([manifest["removed"]] if manifest["removed"] else [])]
