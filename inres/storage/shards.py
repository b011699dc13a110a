"""The files of a shard: written in blocks from any source of rows, memory-mapped for reading."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from inres.retrieval import codes as codes_lib
from inres.storage import arrays, records
from inres.storage.errors import damaged
from inres.system import files

PARTS = ("codes", "features", "ids", "records")
ON_DISK = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
BLOCK_BYTES = 1 << 24
"""Size of a block of features while writing."""


def feature_type(dtype: str) -> np.dtype:
    """The NumPy dtype of stored features.

    Raises:
      ValueError: features cannot be stored in this type.
    """
    if dtype not in ON_DISK:
        raise ValueError(f"dtype is {dtype!r}, must be one of {', '.join(ON_DISK)}")
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


@dataclasses.dataclass(frozen=True)
class Rows:
    """A source of items, read in blocks."""

    count: int
    read: Callable[[str, int, int], Any]
    """read(part, start, stop) returns `codes` uint32 [n, W], `features` [n, D] in the stored type,
    `ids` int32 [n], or `records`: n sequences of values in the order of the index's columns."""


def given(
    ids: np.ndarray,
    codes: np.ndarray,
    features: np.ndarray,
    columns: Sequence[records.Column],
    *,
    bits: int,
    dtype: str,
) -> Rows:
    """Rows from arrays [N, ...] and columns of N values, checked as they are read.

    Reading a block raises ValueError if a feature is not finite or a bit above `bits` is set.
    """
    kind = feature_type(dtype)

    def read(part: str, start: int, stop: int) -> Any:
        if part == "ids":
            return ids[start:stop]
        if part == "codes":
            return codes_lib.check(codes[start:stop], bits)
        if part == "records":
            if not columns:
                return [()] * (stop - start)
            return list(zip(*(records.plain(c[start:stop]) for c in columns), strict=True))
        with np.errstate(over="ignore"):
            block = features[start:stop].astype(kind, copy=False)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise ValueError(f"features of row {row} are not all finite as {dtype}")
        return block

    return Rows(len(ids), read)


def joined(pieces: Sequence[Rows]) -> Rows:
    """Concatenate several sources of rows."""
    ends = np.cumsum([piece.count for piece in pieces]).tolist()

    def read(part: str, start: int, stop: int) -> Any:
        found = []
        for piece, end in zip(pieces, ends, strict=True):
            low, high = max(start, end - piece.count), min(stop, end)
            if low < high:
                found.append(piece.read(part, low - end + piece.count, high - end + piece.count))
        if len(found) == 1:
            return found[0]
        if part == "records":
            return [row for block in found for row in block]
        return np.concatenate(found)

    return Rows(ends[-1] if ends else 0, read)


def part_of(rows: Rows, start: int, stop: int) -> Rows:
    """Rows `start` to `stop`, or to the end if there are fewer."""
    count = min(stop, rows.count) - start
    return Rows(count, lambda part, a, b: rows.read(part, start + a, start + b))


def array_form(manifest: Mapping[str, Any], part: str, count: int) -> tuple[tuple[int, ...], str]:
    """Shape and dtype on disk of `codes`, `features` or `ids`."""
    return {
        "codes": ((count, codes_lib.words(manifest["bits"])), "<u4"),
        "features": ((count, manifest["dims"]), ON_DISK[manifest["dtype"]]),
        "ids": ((count,), "<i4"),
    }[part]


def write(root: Path, serial: int, rows: Rows, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the four files of a shard in parallel, each atomically.

    Args:
      root: directory of the index.
      serial: number in the file names.
      rows: items of the shard.
      manifest: `bits`, `dims`, `dtype` and `columns` are used.

    Returns:
      The shard's entry in the manifest.
    """
    row_bytes = manifest["dims"] * np.dtype(ON_DISK[manifest["dtype"]]).itemsize
    step = max(1, min(records.BLOCK, BLOCK_BYTES // row_bytes))

    def blocks(part: str) -> Iterator[Any]:
        for start in range(0, rows.count, step):
            yield rows.read(part, start, min(start + step, rows.count))

    def write_part(part: str) -> dict[str, Any]:
        if part != "records":
            path = root / f"{part}-{serial:06d}.npy"
            return arrays.write(path, *array_form(manifest, part, rows.count), blocks(part))
        path = root / f"{part}-{serial:06d}.sqlite"
        numbered = (
            ((i, *row) for i, row in zip(ids.tolist(), values, strict=True))
            for ids, values in zip(blocks("ids"), blocks("records"), strict=True)
        )
        with files.atomic_path(path) as temporary:
            records.write(temporary, manifest["columns"], numbered, manifest.get("group", ""))
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": files.sha256(path)}

    with ThreadPoolExecutor(len(PARTS)) as pool:
        entries = list(pool.map(write_part, PARTS))
    return {"count": rows.count, "files": dict(zip(PARTS, entries, strict=True))}


@dataclasses.dataclass(frozen=True)
class Shard:
    """The memory-mapped arrays of a shard by ascending id, including rows of removed items."""

    ids: np.ndarray
    """int32 [n]."""
    codes: np.ndarray
    """uint32 [n, W]."""
    features: np.ndarray
    """[n, D]; float32, float16 or bfloat16."""
    table: records.Table
    """Records of all rows."""
    removed: np.ndarray
    """int32 [m], ascending: those of `ids` that have been removed."""

    def __len__(self) -> int:
        return len(self.ids) - len(self.removed)

    @functools.cached_property
    def live(self) -> np.ndarray | None:
        """bool [n], False for removed items; None if there are none."""
        if len(self.removed) == 0:
            return None
        live = np.ones(len(self.ids), bool)
        live[np.searchsorted(self.ids, self.removed)] = False
        return live

    def rows(self, name: str) -> np.ndarray:
        """The live rows of `ids`, `codes` or `features`; memory-mapped if all rows are live."""
        array = getattr(self, name)
        return array if self.live is None else array[self.live]

    def contains(self, ids: np.ndarray) -> np.ndarray:
        """bool [n]: whether each of `ids` is an item of this shard, by bisection."""
        return _among(ids, self.ids) & ~_among(ids, self.removed)

    def select(self, names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """The named columns of the live rows by ascending id, read in blocks."""
        return itertools.chain.from_iterable(self.blocks(names))

    def blocks(self, names: Iterable[str]) -> Iterator[list[tuple[Any, ...]]]:
        """The same, block by block."""
        source = self.source(names)
        for start in range(0, source.count, records.BLOCK):
            yield source.read("records", start, min(start + records.BLOCK, source.count))

    def source(self, names: Iterable[str]) -> Rows:
        """The live rows as a source, with the named columns as records."""
        names = tuple(names)
        live = self.live
        place = None if live is None else np.flatnonzero(live)

        def read(part: str, start: int, stop: int) -> Any:
            if live is None or place is None:
                inside, keep = slice(start, stop), None
            else:
                inside = slice(place[start], place[stop - 1] + 1)
                keep = live[inside]
            if part != "records":
                block = getattr(self, part)[inside]
                return block if keep is None else block[keep]
            found = self._records_of(self.ids[inside], names)
            if keep is None:
                return found
            return [row for row, kept in zip(found, keep, strict=True) if kept]

        return Rows(len(self), read)

    def _records_of(self, ids: np.ndarray, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """The named columns of consecutive rows, including removed ones."""
        found = self.table.select(names, "id BETWEEN ? AND ?", (int(ids[0]), int(ids[-1])))
        if len(found) != len(ids):
            raise damaged(self.table.path, f"{len(found)} records of {len(ids)} items")
        return found


def _among(wanted: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """bool [n]: whether each of `wanted` is in the array `ascending`."""
    if len(ascending) == 0:
        return np.zeros(len(wanted), bool)
    inside = (wanted >= ascending[0]) & (wanted <= ascending[-1])
    # With two dtypes, searchsorted would convert a copy of all of `ascending`.
    probe = np.where(inside, wanted, ascending[0]).astype(ascending.dtype)
    return inside & (ascending[np.searchsorted(ascending, probe)] == wanted)


def open_shard(
    root: Path, entry: Mapping[str, Any], manifest: Mapping[str, Any], removed: np.ndarray
) -> Shard:
    """Open a shard without reading it; `removed` are the removed ids of the whole index.

    Raises:
      StoreError: a file is missing or does not match the manifest; names the file.
    """
    opened = {}
    for part in PARTS[:-1]:
        form = array_form(manifest, part, entry["count"])
        opened[part] = arrays.open_array(root, entry["files"][part], *form)
    if manifest["dtype"] == "bfloat16":
        opened["features"] = opened["features"].view(ml_dtypes.bfloat16)
    table = records.Table(arrays.check_file(root, entry["files"]["records"]))
    ids = opened["ids"]
    low = np.searchsorted(removed, ids[:1], "left").sum()
    high = np.searchsorted(removed, ids[-1:], "right").sum()
    return Shard(ids, opened["codes"], opened["features"], table, removed[low:high])
