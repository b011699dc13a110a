"""Arrays on disk whose rows are compressed one by one, so that any is read without the others.

A file holds a line of JSON with the type and the shape [N, ...], the N + 1 positions in the file at
which rows begin (int64, little-endian; the last one is the length of the file), and the rows, each
a zlib stream of its values in C order.
"""

import contextlib
import dataclasses
import json
import math
import operator
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from inres.system import files

FORMAT = "inres.rows.1"
_LEVEL = 1
"""Of zlib; the default packs CT slices to 0.95 of the size, but takes four times as long."""


class Rows:
    """An array [N, ...] in a file; rows are read and unpacked when they are indexed.

    Rows are indexed by an integer, a slice or an array of integers, and further axes by integers
    and slices, as in NumPy.

    Raises:
      ValueError: the file is damaged.
      FileNotFoundError: there is no such file.
    """

    def __init__(self, path: Path, remedy: str = files.RESTORE):
        self._path, self._remedy = path, remedy
        with files.damage_named(path, remedy), open(path, "rb") as file:
            head = json.loads(file.readline(4096))
            if not isinstance(head, dict) or head.get("format") != FORMAT:
                raise ValueError("not in this format")
            self.dtype = np.dtype(head["dtype"])
            self.shape: tuple[int, ...] = tuple(head["shape"])
            self._starts = np.fromfile(file, "<i8", len(self) + 1)
            size = file.seek(0, 2)
            if len(self._starts) != len(self) + 1 or np.any(np.diff(self._starts) < 0):
                raise ValueError("positions of rows")
            if self._starts[-1] != size:
                raise ValueError(f"{size} bytes instead of {self._starts[-1]}")
        self._content = np.memmap(path, np.uint8, "r")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the unpacked array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, tuple):
            first, *rest = rows
            single = np.ndim(first) == 0 and not isinstance(first, slice)
            return self[first][tuple(rest) if single else (slice(None), *rest)]
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        elif np.ndim(rows) == 0:
            return self._row(operator.index(rows))
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows):
            out[place] = self._row(operator.index(row))
        return out

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._row(row) for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _row(self, row: int) -> np.ndarray:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        with files.damage_named(self._path, self._remedy):
            packed = self._content[self._starts[row] : self._starts[row + 1]]
            values = np.frombuffer(zlib.decompress(packed.data), self.dtype)
            return values.reshape(self.shape[1:])


@dataclasses.dataclass(frozen=True)
class Selected:
    """Some rows of an array, read when they are indexed, by a slice or an array of integers."""

    array: "np.ndarray | Rows"
    """[N, ...]"""
    rows: np.ndarray
    """int [M]"""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dtype(self) -> np.dtype:
        """Of the array."""
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """M, ..."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    def __getitem__(self, chosen: Any) -> np.ndarray:
        return np.asarray(self.array[self.rows[chosen]])


Images = np.ndarray | Rows | Selected
"""An array [N, ...] in memory, memory-mapped, in rows, or a part of one."""


def pack(rows: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of an array, compressed: all bytes, uint8 [B], and the bytes of each, int64 [N]."""
    packed = [zlib.compress(np.ascontiguousarray(row).data, _LEVEL) for row in rows]
    return np.frombuffer(b"".join(packed), np.uint8), np.array([*map(len, packed)], np.int64)


class Writer:
    """Appends rows to the file that `rows_file` writes."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.lengths: list[int] = []

    def add(self, rows: np.ndarray | Sequence[np.ndarray]) -> None:
        """Compress and append rows [n, ...]."""
        self.add_packed(*pack(rows))

    def add_packed(self, content: np.ndarray, lengths: np.ndarray) -> None:
        """Append rows as from `pack`; bytes of `content` that belong to none are left out."""
        self._file.write(content[: lengths.sum()].tobytes())
        self.lengths += lengths.tolist()


@contextlib.contextmanager
def rows_file(path: Path, shape: tuple[int, ...]) -> Iterator[Writer]:
    """Write an array of uint8 row by row, atomically.

    Raises:
      ValueError: other than shape[0] rows were written.
    """
    head = {"format": FORMAT, "dtype": "|u1", "shape": shape}
    line = f"{json.dumps(head)}\n".encode()
    with files.atomic_path(path) as part, open(part, "wb") as file:
        file.write(line + bytes(8 * (shape[0] + 1)))
        first = file.tell()
        writer = Writer(file)
        yield writer
        if len(writer.lengths) != shape[0]:
            raise ValueError(f"{path}: {len(writer.lengths)} rows instead of {shape[0]}")
        file.seek(len(line))
        file.write(np.cumsum([first, *writer.lengths], dtype="<i8").tobytes())


def open_images(stem: Path, remedy: str = files.RESTORE) -> np.ndarray | Rows | None:
    """The array in the file STEM.rows or STEM.npy, memory-mapped; None if there is neither.

    Raises:
      ValueError: the file is damaged.
    """
    packed, plain = (stem.with_name(f"{stem.name}.{ending}") for ending in ("rows", "npy"))
    if packed.is_file():
        return Rows(packed, remedy)
    return files.load_array(plain, remedy, mmap=True) if plain.is_file() else None
