"""The records of a whole index, looked up across its shards."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.retrieval.ids import as_ids
from inres.storage import records as records_lib
from inres.storage.records import Value
from inres.storage.shards import Shard


class Records:
    """The records of an index; `records[id]` is a dict of the item's properties."""

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
        """The record of item `id_`; unknown real numbers are NaN.

        Raises:
          KeyError: there is no such item.
        """
        return self.many([id_])[0]

    def many(self, ids: Sequence[int] | np.ndarray) -> list[dict[str, Value]]:
        """The records of `ids`, in this order.

        Raises:
          KeyError: there is no item with one of the ids.
          ValueError: `ids` is not an integer array of shape [n].
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
        """A column of all items by ascending id: int64, float64 (NaN: unknown) or object [N].

        An integer column with unknown values becomes float64.

        Raises:
          KeyError: there is no such column.
        """
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; the columns are {', '.join(self.columns)}")
        kind = self.columns[name]
        parts = [np.zeros(0, {"text": object, "real": np.float64, "integer": np.int64}[kind])]
        same: dict[Value, Value] = {}
        for shard in self._shards:
            values = [value for (value,) in shard.select([name])]
            if kind == "text":
                # Equal texts share one object, since a scan's name occurs in all of its items.
                parts.append(np.array([same.setdefault(v, v) for v in values], object))
            else:
                unknown = kind == "real" or None in values
                parts.append(np.array(values, np.float64 if unknown else np.int64))
        return np.concatenate(parts)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Columns of numbers of all items by ascending id: float64 [N, P], NaN where unknown.

        Raises:
          KeyError: there is no such column.
          ValueError: a column holds texts.
        """
        for name in names:
            if self.columns[name] == "text":
                raise ValueError(f"column {name!r} holds texts")
        parts = [np.zeros((0, len(names)))]
        for shard in self._shards:
            parts += [np.array(block, np.float64) for block in shard.blocks(names)]
        return np.concatenate(parts)

    def distinct(self, name: str) -> set[Any]:
        """The different values of a column; at once where the column is indexed.

        Raises:
          KeyError: there is no such column.
        """
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; the columns are {', '.join(self.columns)}")
        found: set[Any] = set()
        for shard in self._shards:
            whole = not len(shard.removed)
            found.update(
                value for (value,) in (shard.table.distinct if whole else shard.select)([name])
            )
        return found

    def groups(self, name: str) -> tuple[np.ndarray, dict[str, int]]:
        """Number the texts of a column: int32 [N], -1 for blank texts; and text -> number."""
        numbers: dict[str, int] = {}
        rows = [numbers.setdefault(v, len(numbers)) if v else -1 for v in self.column(name)]
        return np.array(rows, np.int32), numbers

    def where(self, condition: str, values: Sequence[Value] = ()) -> np.ndarray:
        """Ids of the items that satisfy an SQL condition, int32 [n], ascending.

        `condition` is an SQL expression on the columns of one item, with a `?` for each of
        `values`, for instance `where("diameter_mm BETWEEN ? AND ?", (5, 8))`.

        Raises:
          ValueError: the condition is not valid.
        """
        values = records_lib.plain(values)  # SQLite would store NumPy scalars as bytes
        records_lib.check_condition(self.columns, condition, values)
        parts = [np.zeros(0, np.int32)]
        for shard in self._shards:
            ids = np.array(shard.table.where(self.columns, condition, values), np.int32)
            parts.append(np.setdiff1d(ids, shard.removed, assume_unique=True))
        return np.concatenate(parts)

    def all(self) -> Iterator[tuple[int, dict[str, Value]]]:
        """(id, record) of every item, by ascending id."""
        for shard in self._shards:
            for i, *row in shard.select(["id", *self.columns]):
                yield i, self._dict(row)
