"""Item records in SQLite: one table per shard, integer key `id`, one column per property."""

import contextlib
import contextvars
import errno
import math
import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.storage.errors import damaged

BLOCK = 1 << 14
"""Number of rows processed at a time."""
Value = int | float | str | None
Column = Sequence[Any] | np.ndarray
Given = Sequence[Mapping[str, Value]] | Mapping[str, Column]


def columns(records: Given) -> dict[str, Column]:
    """Records as columns: name -> N values.

    Args:
      records: N mappings with the same keys, or columns: name -> N values (lists or arrays).

    Raises:
      ValueError: the records have different keys, or a column is not one-dimensional.
    """
    if isinstance(records, Mapping):
        for name, values in records.items():
            if np.ndim(values[:0]) != 1:
                raise ValueError(f"column {name!r} has shape {np.shape(values)}, must be [N]")
        return dict(records)
    names = tuple(records[0]) if len(records) else ()
    for row, record in enumerate(records):
        if record.keys() != set(names):
            raise ValueError(f"record {row} has columns {list(record)}, record 0 {list(names)}")
    return {name: [record[name] for record in records] for name in names}


def length(given: Given) -> int:
    """Number of records.

    Raises:
      ValueError: the columns have different lengths.
    """
    if not isinstance(given, Mapping):
        return len(given)
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of the records have {lengths} values")
    return next(iter(lengths.values()), 0)


def kinds(given: Mapping[str, Column], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """The kind of each column: "integer", "real" or "text", the narrowest that fits its values.

    A column without known values has its `known` kind, or else "integer".

    Raises:
      ValueError: a name is not an identifier, or an integer does not fit into 64 bits.
      TypeError: a column mixes numbers and text, or contains other types.
    """
    if len({name.lower() for name in given}) < len(given):
        raise ValueError(f"columns {', '.join(given)}: some differ only by case")
    known = known or {}
    return {name: _kind(name, v) or known.get(name, "integer") for name, v in given.items()}


def _kind(name: str, values: Column) -> str:
    """The kind of a column; "" if it has no known values."""
    if not name.isidentifier() or name.lower() == "id":
        raise ValueError(f"column {name!r}: must be an identifier other than 'id'")
    seen: set[type] = set()
    for start in range(0, len(values), BLOCK):
        block = plain(values[start : start + BLOCK])
        here = set(map(type, block))
        if int in here and not all(-(2**63) <= v < 2**63 for v in block if type(v) is int):
            raise ValueError(f"column {name!r} contains integers of more than 64 bits")
        seen |= here
    seen.discard(type(None))
    if not seen:
        return ""
    if seen <= {int, bool}:
        return "integer"
    if seen <= {int, bool, float}:
        return "real"
    if seen <= {str}:
        return "text"
    raise TypeError(f"column {name!r} mixes {sorted(t.__name__ for t in seen)}")


def plain(values: Column) -> list[Any]:
    """Values as a list of Python types, converted from NumPy types where necessary."""
    if isinstance(values, np.ndarray):
        if values.dtype != object:
            return values.tolist()
        values = values.tolist()
    return [v.item() if isinstance(v, np.generic) else v for v in values]


def require_names(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Check that new records have the columns of the existing table.

    Raises:
      ValueError: the columns differ.
    """
    if old.keys() != new.keys():
        raise ValueError(f"records have the columns {', '.join(new)}, not {', '.join(old)}")


def widened(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """The kinds of a table after adding records of `new` kinds; integer columns may become real.

    Raises:
      ValueError: the columns differ, or a column would mix text and numbers.
    """
    require_names(old, new)
    out = dict(old)
    for name, kind in new.items():
        if "text" in (kind, old[name]) and kind != old[name]:
            raise ValueError(f"column {name!r} holds {kind}, not {old[name]}")
        if kind == "real":
            out[name] = kind
    return out


def write(
    path: Path,
    kinds: Mapping[str, str],
    blocks: Iterable[Iterable[Sequence[Any]]],
    indexed: str = "",
) -> None:
    """Write a table from blocks of rows (id, values in the order of the columns); NaN becomes NULL.

    Rows with a given value of the column `indexed` are found at once.

    Raises:
      OSError: the disk is full or writing fails.
    """
    declared = "".join(f', "{name}" {kind.upper()}' for name, kind in kinds.items())
    marks = ", ".join("?" * (len(kinds) + 1))
    try:
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute(f"CREATE TABLE records (id INTEGER PRIMARY KEY{declared})")
            for rows in blocks:
                db.executemany(f"INSERT INTO records VALUES ({marks})", rows)
            if indexed:
                db.execute(f'CREATE INDEX records_by_{indexed} ON records ("{indexed}")')
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise OSError(errno.EIO, str(error), str(path)) from None


_STEPS = 20_000
"""Steps of SQLite's machine, some milliseconds, between checks of the time."""
_limit = contextvars.ContextVar("limit", default=math.inf)
"""When conditions must have been evaluated, by the monotonic clock."""
_deadline = contextvars.ContextVar("deadline", default=math.inf)
"""The same, while one is evaluated."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Within this context, evaluating conditions ends with a ValueError after `seconds`."""
    with _set(_limit, time.monotonic() + seconds):
        yield


@contextlib.contextmanager
def _set(variable: contextvars.ContextVar[float], value: float) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _is_late() -> bool:
    return time.monotonic() > _deadline.get()


class _Connection:
    """A connection to a file that does not change, for one thread at a time.

    SQLite would serialize threads itself, but by a lock that a thread takes while it holds
    Python's, which the progress handler of another one needs.
    """

    def __init__(self, path: Path) -> None:
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self.db = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self.db.set_progress_handler(_is_late, _STEPS)
        self._lock = threading.Lock()

    def rows(self, query: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock:
            return self.db.execute(query, tuple(values)).fetchall()


def _close(*connections: _Connection) -> None:
    for one in connections:
        one.db.close()


class Table:
    """The open records of one shard; readable as long as this exists, even if the file is deleted.

    Raises:
      StoreError: the file is missing or damaged; on opening or on reading.
    """

    def __init__(self, path: Path):
        self.path = path
        with self._naming_damage():
            # Conditions may take seconds, for which other reads do not wait.
            self._reading, self._evaluating = _Connection(path), _Connection(path)
        weakref.finalize(self, _close, self._reading, self._evaluating)

    @contextlib.contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise damaged(self.path, error) from None

    def select(
        self, names: Iterable[str], condition: str = "1", values: Sequence[Value] = ()
    ) -> list[tuple[Any, ...]]:
        """The named columns of the rows that satisfy a condition, by ascending id."""
        wanted = ", ".join(f'"{name}"' for name in names) or "NULL"
        query = f"SELECT {wanted} FROM records WHERE {condition} ORDER BY id"
        with self._naming_damage():
            return self._reading.rows(query, values)

    def distinct(self, names: Iterable[str]) -> list[tuple[Any, ...]]:
        """The different values of the named columns."""
        wanted = ", ".join(f'"{name}"' for name in names)
        with self._naming_damage():
            return self._reading.rows(f"SELECT DISTINCT {wanted} FROM records")

    def where(self, kinds: Mapping[str, str], condition: str, values: Sequence[Value]) -> list[int]:
        """Ascending ids of the rows that satisfy a condition accepted by `check_condition`.

        Raises:
          ValueError: the condition cannot be evaluated on a row, or not within `time_limit`.
        """
        with self._naming_damage(), _set(_deadline, _limit.get()):
            try:
                found = self._evaluating.rows(_id_query(kinds, condition), values)
            except (sqlite3.OperationalError, sqlite3.DataError) as error:
                # A checked condition can only fail on a value, or if the file has no table.
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    raise ValueError(
                        f"condition {condition!r}: takes too long; write a simpler one"
                    ) from None
                on_value = error.sqlite_errorcode in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG)
                if not on_value or "no such" in str(error):
                    raise
                raise ValueError(f"condition {condition!r}: {error}") from None
        return [i for (i,) in found]


def _id_query(kinds: Mapping[str, str], condition: str) -> str:
    """The SQL query for the ids that satisfy a condition.

    A shard written before a column became real contains integers; casting makes division agree.
    """
    columns = "".join(
        f', CAST("{name}" AS REAL) AS "{name}"' if kind == "real" else f', "{name}"'
        for name, kind in kinds.items()
    )
    taken = {name.lower() for name in kinds}
    rowids = "".join(f", id AS {n}" for n in ("rowid", "oid", "_rowid_") if n not in taken)
    inner = f"SELECT id{rowids}{columns} FROM records"
    # The condition is on its own line because it may end in a comment.
    return f"SELECT id FROM ({inner}) AS records WHERE (\n{condition}\n) ORDER BY id"


def _reason(db: sqlite3.Connection, condition: str, values: Sequence[Value], error: object) -> str:
    """Why an invalid condition is invalid, without the parts of the query around it.

    SQLite quotes the query from an unclosed quote or bracket on. With nothing after the condition,
    it quotes only the condition.
    """
    try:
        db.execute(f"SELECT id FROM records WHERE\n{condition}", tuple(values))
    except (sqlite3.Error, OverflowError) as alone:
        return str(alone)
    return str(error)


_FUNCTIONS = frozenset(
    (
        *("abs", "ceil", "ceiling", "coalesce", "date", "datetime", "exp", "floor", "glob"),
        *("ifnull", "iif", "instr", "julianday", "length", "like", "ln", "log", "log10", "log2"),
        *("lower", "ltrim", "max", "min", "mod", "nullif", "pow", "power", "round", "rtrim"),
        *("sign", "sqrt", "strftime", "substr", "substring", "time", "trim", "trunc", "typeof"),
        *("unicode", "upper"),
    )
)
"""Functions that conditions may use: none makes long values or reads anything but its arguments."""


class _Reads:
    """An authorizer that allows a condition to read the columns of one item, and nothing else.

    With subqueries, a condition would depend on how the items are divided into shards.
    """

    def __init__(self) -> None:
        self._left = 2  # SELECTs of `_id_query`
        self.reason = ""

    def __call__(self, action: int, first: str | None, second: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_SELECT:
            self._left -= 1
            if self._left < 0:
                self.reason = "a subquery; a condition is on the columns of one item"
        elif action == sqlite3.SQLITE_FUNCTION:
            if (second or "").lower() not in _FUNCTIONS:
                self.reason = f"no function {second} in conditions"
        elif action != sqlite3.SQLITE_READ or first not in ("records", ""):
            self.reason = self.reason or "a condition is on the columns of one item"
        return sqlite3.SQLITE_DENY if self.reason else sqlite3.SQLITE_OK


def check_condition(kinds: Mapping[str, str], condition: str, values: Sequence[Value]) -> None:
    """Check an SQL condition by evaluating it on an empty table with these columns.

    Raises:
      ValueError: the condition is invalid, or the number of `values` differs from its `?` marks.
    """
    declared = "".join(f', "{name}" {kind.upper()}' for name, kind in kinds.items())
    known = {"id", *(name.lower() for name in kinds)}
    no_columns = r"""'(?:[^']|'')*'|--.*|(?s:/\*.*?\*/)|(?i:\bcollate\s*"[^"]*")"""
    for name in re.findall(
        rf'{no_columns}|"([^"]*)"', condition
    ):  # alternatives are tried from left to right
        if name and name.lower() not in known:  # SQLite would read it as a text
            raise ValueError(
                f"condition {condition!r}: no such column: {name}; the columns are "
                f"{', '.join(kinds)}; write text as '...'"
            )
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE records (id INTEGER PRIMARY KEY{declared})")
        reads = _Reads()
        db.set_authorizer(reads)
        try:
            db.execute(_id_query(kinds, condition), tuple(values))
        except (sqlite3.Error, OverflowError) as error:
            db.set_authorizer(None)
            reason = reads.reason or _reason(db, condition, values, error)
            raise ValueError(
                f"condition {condition!r}: {reason}; the columns are {', '.join(kinds)}"
            ) from None
