"""The index on disk: a directory another program can read.

  manifest.json          what is valid; the one file that is ever replaced
  codes-<serial>.npy     uint32 [n, W] of a shard, packed as `inres.retrieval.codes` says
  features-<serial>.npy  [n, D] of a shard: float32 or float16, or bfloat16 as its uint16 pattern
  ids-<serial>.npy       int32 [n], ascending: the item of each row
  records-<serial>.sqlite  table `records`, integer primary key `id`, a column an item property
  removed-<serial>.npy   int32 [m], ascending: items that are no longer part of the index

The manifest (JSON) has `format` ("inres-index"), `version`, `bits`, `dims`, `dtype` (of the
features), `model` (fingerprint of the network that made them), `count` (of items, the removed
ones left out), `next_id`, `next_serial`, `columns` (name: "integer", "real" or "text"), `shards`,
`removed` (null or a file) and `sha256`. A file is {`name`, `bytes`, `sha256`}, a shard {`count`
(of rows), `files`: {part: file}}. `sha256` of the manifest is that of the rest of it as compact
JSON with sorted keys. Ids ascend from shard to shard, and are never given twice. Files that the
manifest does not name are no part of the index.

No named file ever changes: `inres.retrieval.updates` writes new ones and then replaces the
manifest, so that a reader sees the old state or the new one.
"""

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from inres import files
from inres.retrieval import codes as codes_lib

FORMAT = "inres-index"
VERSION = 1
MANIFEST = "manifest.json"
SHARD_ROWS = 1 << 20
PARTS = ("codes", "features", "ids", "records")
DTYPES = ("float32", "float16", "bfloat16")
Value = int | float | str | None


class StoreError(ValueError):
    """The index on disk is damaged or not the one that was asked for; names the file."""


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def column_kinds(records: Sequence[Mapping[str, Value]]) -> dict[str, str]:
    """The columns of records and their kinds: the widest of integer, real and text seen."""
    names = tuple(records[0]) if records else ()
    seen: dict[str, set[type]] = {name: set() for name in names}
    for row, record in enumerate(records):
        if tuple(record) != names:
            raise ValueError(f"record {row} has columns {list(record)}, record 0 {list(names)}")
        for name, value in record.items():
            seen[name].add(type(value))
    kinds = {}
    for name, types in seen.items():
        if not name.isidentifier() or name.lower() == "id":
            raise ValueError(f"column {name!r}: must be an identifier other than 'id'")
        types = types - {type(None)}
        if types <= {int, bool, np.int32, np.int64}:
            kinds[name] = "integer"
        elif types <= {int, bool, float, np.int32, np.int64, np.float32, np.float64}:
            kinds[name] = "real"
        elif types <= {str}:
            kinds[name] = "text"
        else:
            raise TypeError(f"column {name!r} mixes {sorted(t.__name__ for t in types)}")
    return kinds


def _plain(value: Any, kind: str) -> Value:
    if value is None or (kind == "real" and value != value):
        return None
    return {"integer": int, "real": float, "text": str}[kind](value)


def _write_records(
    path: Path, ids: np.ndarray, records: Iterable[Mapping[str, Value]], kinds: Mapping[str, str]
) -> None:
    columns = "".join(f', "{name}" {kind.upper()}' for name, kind in kinds.items())
    marks = ", ".join("?" * (len(kinds) + 1))
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute(f"CREATE TABLE records (id INTEGER PRIMARY KEY{columns})")
        db.executemany(
            f"INSERT INTO records VALUES ({marks})",
            (
                (int(i), *(_plain(record[name], kind) for name, kind in kinds.items()))
                for i, record in zip(ids, records, strict=True)
            ),
        )


def _to_disk(features: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return np.asarray(features).astype(ml_dtypes.bfloat16).view(np.uint16)
    return np.ascontiguousarray(features, dtype)


def write_shard(
    root: Path,
    serial: int,
    ids: np.ndarray,
    codes: np.ndarray,
    features: np.ndarray,
    records: Iterable[Mapping[str, Value]],
    *,
    dtype: str,
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    """Write the four files of a shard, each whole or absent; give its manifest entry."""
    entry: dict[str, Any] = {"count": len(ids), "files": {}}
    for part in PARTS:
        name = f"{part}-{serial:06d}.{'sqlite' if part == 'records' else 'npy'}"
        with files.atomic_path(root / name) as path:
            if part == "records":
                _write_records(path, ids, records, kinds)
            else:
                array = {"codes": codes, "features": features, "ids": ids}[part]
                np.save(path, _to_disk(array, dtype) if part == "features" else array)
        entry["files"][part] = file_entry(root / name)
    return entry


def file_entry(path: Path) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)}


def check_items(
    codes: Any, features: Any, records: Sequence, bits: int, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and features as arrays, if they and the records can be stored."""
    codes = codes_lib.check(np.asarray(codes), bits)
    features = np.asarray(features)
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, must be one of {', '.join(DTYPES)}")
    if codes.ndim != 2 or features.ndim != 2 or not len(codes) == len(features) == len(records):
        raise ValueError(
            f"codes {codes.shape}, features {features.shape} and {len(records)} records must be "
            "[N, W], [N, D] and N"
        )
    if features.shape[1] < 1:
        raise ValueError("features have no columns")
    for start in range(0, len(features), SHARD_ROWS):
        part = features[start : start + SHARD_ROWS]
        if dtype == "float16":
            with np.errstate(over="ignore"):
                part = part.astype(np.float16)
        if not np.isfinite(part.astype(np.float32)).all():
            raise ValueError(f"features from row {start} on are not all finite as {dtype}")
    return codes, features


def save(
    path: str | Path,
    codes: Any,
    features: Any,
    records: Sequence[Mapping[str, Value]],
    *,
    bits: int,
    model: str,
    dtype: str = "float32",
    shard_rows: int = SHARD_ROWS,
) -> None:
    """Write an index of N items, ids 0 ... N - 1; an index at `path` is replaced as a whole.

    Args:
      path: directory to make.
      codes: uint32 [N, W].
      features: float32 [N, D], finite.
      records: N mappings with the same keys; int, float (NaN: unknown), str or None.
      bits: code length.
      model: fingerprint of the network that made codes and features.
      dtype: stored type of the features: float32, float16 or bfloat16.
      shard_rows: items of a shard at most.

    Raises:
      ValueError, TypeError: shapes, dtypes or columns do not agree; nothing is written.
    """
    codes, features = check_items(codes, features, records, bits, dtype)
    kinds = column_kinds(records)
    with files.atomic_path(path) as root:
        root.mkdir()
        shards: list[dict[str, Any]] = []
        for start in range(0, max(1, len(codes)), shard_rows):
            rows = slice(start, start + shard_rows)
            ids = np.arange(len(codes), dtype=np.int32)[rows]
            shards.append(
                write_shard(
                    root,
                    len(shards),
                    ids,
                    codes[rows],
                    features[rows],
                    records[rows],
                    dtype=dtype,
                    kinds=kinds,
                )
            )
        write_manifest(
            root,
            {
                "format": FORMAT,
                "version": VERSION,
                "bits": bits,
                "dims": features.shape[1],
                "dtype": dtype,
                "model": model,
                "count": len(codes),
                "next_id": len(codes),
                "next_serial": len(shards),
                "columns": kinds,
                "shards": shards,
                "removed": None,
            },
        )


@dataclasses.dataclass(frozen=True)
class Shard:
    """Memory-mapped arrays of a shard, ids ascending; rows of removed items are still there."""

    ids: np.ndarray
    """int32 [n]."""
    codes: np.ndarray
    """uint32 [n, W]."""
    features: np.ndarray
    """[n, D]; float32, float16 or bfloat16."""
    live: np.ndarray | None
    """bool [n], False for removed items; None: all are live."""

    def __len__(self) -> int:
        return len(self.ids) if self.live is None else int(self.live.sum())

    def rows(self, name: str) -> np.ndarray:
        """The live rows of `ids`, `codes` or `features`; mapped where all are live."""
        array = getattr(self, name)
        return array if self.live is None else array[self.live]


class Records:
    """The records of an index: `records[id]` is a dict of the item's properties."""

    def __init__(self, paths: Sequence[Path], shards: Sequence[Shard], kinds: Mapping[str, str]):
        self.columns = dict(kinds)
        self._paths = list(paths)
        self._shards = list(shards)
        self._first = np.array([shard.ids[0] for shard in shards if len(shard.ids)], np.int64)

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def _is_live(self, shard: int, ids: Sequence[int]) -> np.ndarray:
        """bool for each of `ids` of a shard."""
        live = self._shards[shard].live
        if live is None:
            return np.ones(len(ids), bool)
        return live[np.searchsorted(self._shards[shard].ids, ids)]

    @contextlib.contextmanager
    def _open(self, shard: int) -> Iterator[sqlite3.Connection]:
        path = self._paths[shard]
        try:
            uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                yield db
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: damaged ({error}); run the index stage again") from None

    def _value(self, name: str, value: Value) -> Value:
        return float("nan") if value is None and self.columns[name] == "real" else value

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
        """
        wanted = np.asarray(ids, np.int64).reshape(-1)
        shard_of = np.searchsorted(self._first, wanted, side="right") - 1
        found: dict[int, dict[str, Value]] = {}
        for shard in np.unique(shard_of[shard_of >= 0]):
            names = "".join(f', "{name}"' for name in self.columns)
            with self._open(int(shard)) as db:
                inside = np.intersect1d(wanted[shard_of == shard], self._shards[shard].rows("ids"))
                for i in inside.tolist():
                    query = f"SELECT id{names} FROM records WHERE id = ?"
                    for row in db.execute(query, (i,)):
                        found[i] = {
                            name: self._value(name, value)
                            for name, value in zip(self.columns, row[1:], strict=True)
                        }
        missing = [int(i) for i in wanted if int(i) not in found]
        if missing:
            raise KeyError(f"no item {missing[0]} in {self._paths[0].parent}")
        return [found[int(i)] for i in wanted]

    def column(self, name: str) -> np.ndarray:
        """A column over all items, ids ascending: int64, float64 (NaN: unknown) or object [N].

        An integer column with unknowns is float64.
        """
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        values: list[Value] = []
        for shard in range(len(self._paths)):
            with self._open(shard) as db:
                rows = db.execute(f'SELECT id, "{name}" FROM records ORDER BY id').fetchall()
            live = self._is_live(shard, [i for i, _ in rows])
            values += [value for (_, value), keep in zip(rows, live, strict=True) if keep]
        if self.columns[name] == "text":
            return np.array(values, object)
        if self.columns[name] == "real" or None in values:
            return np.array([np.nan if v is None else v for v in values], np.float64)
        return np.array(values, np.int64)

    def where(self, condition: str, values: Sequence[Value] = ()) -> np.ndarray:
        """Ids int32 of the items for which an SQL condition holds, ascending.

        `condition` is an SQL expression on the columns, with `?` for each of `values`, for
        instance `where("diameter_mm BETWEEN ? AND ?", (5, 8))`.
        """
        ids: list[int] = []
        for shard in range(len(self._paths)):
            with self._open(shard) as db:
                query = f"SELECT id FROM records WHERE {condition} ORDER BY id"
                found = [i for (i,) in db.execute(query, tuple(values))]
            ids += np.array(found, np.int64)[self._is_live(shard, found)].tolist()
        return np.array(ids, np.int32)

    def all(self) -> Iterator[tuple[int, dict[str, Value]]]:
        """(id, record) of every item, ids ascending."""
        for shard in range(len(self._paths)):
            with self._open(shard) as db:
                rows = db.execute("SELECT * FROM records ORDER BY id").fetchall()
            live = self._is_live(shard, [row[0] for row in rows])
            for row, keep in zip(rows, live, strict=True):
                if keep:
                    pairs = zip(self.columns, row[1:], strict=True)
                    yield row[0], {name: self._value(name, value) for name, value in pairs}


@dataclasses.dataclass(frozen=True)
class Stored:
    """An index on disk, opened: arrays are memory-mapped, nothing has been read yet."""

    path: Path
    bits: int
    dims: int
    model: str
    shards: tuple[Shard, ...]
    records: Records

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)

    def _all(self, name: str) -> np.ndarray:
        arrays = [shard.rows(name) for shard in self.shards]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

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


def _open_array(path: Path, entry: Mapping[str, Any], shape: tuple[int, ...] | None, dtype: str):
    if not path.is_file():
        raise StoreError(f"{path}: missing; run the index stage again")
    if path.stat().st_size != entry["bytes"]:
        raise StoreError(
            f"{path}: {path.stat().st_size} bytes where the manifest says {entry['bytes']}; "
            "run the index stage again"
        )
    if dtype == "sqlite":
        return None
    try:
        array = np.load(path, mmap_mode=None if shape is None or 0 in shape else "r")
    except (ValueError, OSError, EOFError) as error:
        raise StoreError(f"{path}: damaged ({error}); run the index stage again") from None
    kind = np.dtype(np.uint16) if dtype == "bfloat16" else np.dtype(dtype)
    if (shape is not None and array.shape != shape) or array.dtype != kind:
        raise StoreError(f"{path}: {array.dtype} {array.shape}, the manifest says {dtype} {shape}")
    return array.view(ml_dtypes.bfloat16) if dtype == "bfloat16" else array


def load(path: str | Path, *, model: str | None = None) -> Stored:
    """Open an index without reading its arrays; sizes and headers are checked.

    Args:
      path: the directory.
      model: fingerprint of the network that will make the queries; None takes any.

    Raises:
      FileNotFoundError: no index at `path`.
      StoreError: damaged, incomplete, of another version or of another model.
    """
    while True:
        manifest = read_manifest(path)
        try:
            return _open(Path(path), manifest, model)
        except StoreError:
            # A writer may have compacted meanwhile; then the new manifest names other files.
            if read_manifest(path) == manifest:
                raise


def _open(root: Path, manifest: Mapping[str, Any], model: str | None) -> Stored:
    if model is not None and manifest["model"] != model:
        raise StoreError(
            f"{root / MANIFEST}: made with model {manifest['model']!r}, the queries come from "
            f"{model!r}; index the archive with the present network"
        )
    words = codes_lib.words(manifest["bits"])
    removed = np.zeros(0, np.int32)
    if manifest.get("removed"):
        entry = manifest["removed"]
        removed = _open_array(root / entry["name"], entry, None, "int32")
    shards, records = [], []
    for entry in manifest["shards"]:
        n = entry["count"]
        kinds = {
            "codes": ((n, words), "uint32"),
            "features": ((n, manifest["dims"]), manifest["dtype"]),
            "ids": ((n,), "int32"),
            "records": ((), "sqlite"),
        }
        arrays = {
            part: _open_array(root / entry["files"][part]["name"], entry["files"][part], *kind)
            for part, kind in kinds.items()
        }
        live = None
        if len(removed):
            gone = np.isin(arrays["ids"], removed)
            live = ~gone if gone.any() else None
        records.append(root / entry["files"]["records"]["name"])
        shards.append(Shard(arrays["ids"], arrays["codes"], arrays["features"], live))
    return Stored(
        path=root,
        bits=manifest["bits"],
        dims=manifest["dims"],
        model=manifest["model"],
        shards=tuple(shards),
        records=Records(records, shards, manifest["columns"]),
    )


def verify(path: str | Path) -> None:
    """Read the whole index and compare every file with its checksum.

    Raises:
      StoreError: a file is missing or differs; names the first such.
    """
    root = Path(path)
    load(root)
    for entry in named_files(read_manifest(root)):
        if _sha256(root / entry["name"]) != entry["sha256"]:
            raise StoreError(
                f"{root / entry['name']}: damaged (checksum differs); run the index stage again"
            )


def named_files(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of all files of an index but the manifest."""
    entries = [entry for shard in manifest["shards"] for entry in shard["files"].values()]
    return [*entries, *([manifest["removed"]] if manifest.get("removed") else [])]
