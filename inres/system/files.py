"""Atomic writing of files and directories, file locks, JSON, CSV and NumPy files."""

import contextlib
import csv
import ctypes
import errno
import fcntl
import functools
import glob
import hashlib
import io
import json
import math
import os
import re
import shutil
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

import numpy as np


def sync_dir(path: Path) -> None:
    """Make a rename in `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


HOLD = ".inres-part"
"""Suffix of the temporary directories of `atomic_path`."""
ABANDONED_SECONDS = 3600.0
"""Age from which a temporary directory that no process locks is that of a killed writer. Locks do
not reach other machines on every file system."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success sync it and rename it to `path`.

    Works for a file or a directory. After an exception nothing is left behind and an existing
    `path` is unchanged. The temporary name keeps the suffix of `path`, because writers choose
    their format by it. What a killed writer of `path` left is removed (`remove_abandoned`).

    Raises:
      OSError: any error of the writing; that of a full disk names `path` and a remedy.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, path.name)
    with full_disk_named(path):
        hold = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=HOLD, dir=path.parent))
        with _in_use(hold), _replacing(path, hold) as part:
            yield part


@contextlib.contextmanager
def _in_use(hold: Path) -> Iterator[None]:
    """Lock a temporary directory, as far as the file system can, until this process dies."""
    handle = os.open(hold, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _replacing(path: Path, hold: Path) -> Iterator[Path]:
    part = hold / path.name
    try:
        yield part
        for file in [part, *part.rglob("*")] if part.is_dir() else [part]:
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        if part.is_dir() and path.is_dir():
            exchange(part, path, aside=hold / "old")  # cannot be renamed over a non-empty one
        else:
            os.replace(part, path)
        sync_dir(path.parent)
    finally:
        shutil.rmtree(hold, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers using `atomic_path` left in `folder` and below.

    A directory that was moved aside and not yet replaced is restored. No writer may be active
    there, because its unfinished files would be removed.
    """
    for hold in list(folder.rglob(f".?*.????????{HOLD}")):
        if hold.is_dir() and not hold.is_symlink():
            _remove_hold(hold)


def remove_abandoned(folder: Path, name: str = "") -> None:
    """Remove what killed writers using `atomic_path` left in `folder`, not below.

    Other writers may be active there: a directory is removed if no process locks it, and nothing
    was added to it for `ABANDONED_SECONDS`.

    Args:
      name: only what was left of this file or directory.
    """
    pattern = f".{glob.escape(name) if name else '?*'}.????????{HOLD}"
    for hold in list(folder.glob(pattern)):
        if hold.is_dir() and not hold.is_symlink() and _is_abandoned(hold):
            _remove_hold(hold)


def _is_abandoned(hold: Path) -> bool:
    try:
        handle = os.open(hold, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return time.time() - os.fstat(handle).st_mtime > ABANDONED_SECONDS
    except OSError:  # in use, or a file system without locks
        return False
    finally:
        os.close(handle)


def _remove_hold(hold: Path) -> None:
    """Remove a temporary directory; one that was moved aside and not replaced is restored."""
    path = hold.with_name(hold.name[1 : -len(f".????????{HOLD}")])
    if (hold / "old").is_dir() and not path.exists():
        (hold / "old").rename(path)
    shutil.rmtree(hold, ignore_errors=True)


def exchange(new: Path, old: Path, *, aside: Path) -> None:
    """Put the directory `new` in the place of `old`, in one step if the system can (Linux).

    Afterwards the old directory is at `new`, or at `aside` on other systems. All three must be on
    one file system.
    """
    if not _exchange(new, old):
        old.rename(aside)
        os.replace(new, old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False if the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange_flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    names = os.fsencode(first.absolute()), os.fsencode(second.absolute())
    return rename is not None and rename(here, names[0], here, names[1], exchange_flag) == 0


FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a full disk, of a user whose share of it is full, and of a file that is
larger than a limit allows."""
REMEDY = "free some space and try again; existing files are unchanged"


@contextlib.contextmanager
def full_disk_named(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Add `path` and a remedy to the error of a full disk, which often names no file.

    Other libraries than Python's raise errors of their own for it, which become an OSError.
    """
    try:
        yield
    except Exception as error:
        number = _full_disk(error)
        if number is None:
            raise
        said = error.strerror if isinstance(error, OSError) else None
        if said in (None, os.strerror(number)):
            limit = " or a file at its limit (ulimit -f)" if number == errno.EFBIG else ""
            said = f"the disk is full{limit}; {remedy}"
        # The outermost caller's path is the one that the user gave. A new error, since one whose
        # fields were changed loses the change on its way from another process.
        raise OSError(number, said, str(path)) from error


def _full_disk(error: BaseException | None) -> int | None:
    """The number of the error of a full disk in an exception and its causes; None without."""
    while error is not None:
        for number in FULL_DISK:
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return number
        error = error.__cause__
    return None


def require_space(path: Path, need: int) -> None:
    """Check that `need` bytes fit on the disk of the directory `path`.

    Raises:
      OSError: they do not.
    """
    free = shutil.disk_usage(path).free
    if free < need:
        room = f"{need / 1e9:.3g} GB are needed, {free / 1e9:.3g} are free"
        raise OSError(errno.ENOSPC, f"{room}; {REMEDY}", str(path))


@contextlib.contextmanager
def lock(path: str | os.PathLike, held: Exception) -> Iterator[None]:
    """Hold the lock file `path`, or raise `held` if another process holds it.

    The system releases the lock if the process dies. A process that only tests the lock takes it
    for a moment, so acquiring is retried briefly. `held` is also raised if the previous holder
    replaced the directory, and with it the lock file.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        for wait in (0.02, 0.1, None):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if wait is None:
                    raise held from None
                time.sleep(wait)
        if not (os.path.exists(path) and os.path.samestat(os.fstat(handle), os.stat(path))):
            raise held
        yield
    finally:
        os.close(handle)


def no_file(path: Path) -> str:
    """Why `path` is not a regular file that can be read; empty if it is one.

    Pipes and devices are not: reading one can wait for ever.
    """
    try:
        if path.is_file():
            return ""
        if path.is_symlink() and not path.exists():
            return f"a link to {os.readlink(path)}, which is not there"
        if path.is_dir():
            return "a folder, not a file"
        return "a pipe or device, not a regular file" if path.exists() else "no such file"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def exists(path: Path) -> bool:
    """Whether `path` is there; False also if its name is too long to be one."""
    try:
        return path.exists()
    except OSError:
        return False


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON; NaN raises ValueError, because JSON has no NaN."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


RESTORE = "restore it from a copy"


def read_json(path: str | os.PathLike, *, remedy: str = RESTORE) -> Any:
    """Read JSON from `path`.

    Args:
      remedy: what to do about a damaged file; the end of the error message.

    Raises:
      ValueError: the file is damaged; names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged JSON ({error}); {remedy}") from None


def read_object(
    path: str | os.PathLike, needed: Sequence[str] = (), *, remedy: str = RESTORE
) -> dict[str, Any]:
    """A JSON object with at least the keys `needed`; errors as in `read_json`."""
    value = read_json(path, remedy=remedy)
    if isinstance(value, dict) and {*needed} <= value.keys():
        return value
    names = f" with {', '.join(needed)}" if needed else ""
    raise ValueError(f"{path}: damaged ({value!r:.60} is no object{names}); {remedy}")


def write_csv(
    path: str | os.PathLike, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write `rows` as CSV with a header of `columns`; missing values are blank."""
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        _write_rows(file, columns, rows)


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """`rows` as `write_csv` writes them."""
    text = io.StringIO(newline="")
    _write_rows(text, columns, rows)
    return text.getvalue()


def _write_rows(file: TextIO, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(file, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)


_BLANK = " \t\r\n\ufeff\u00a0"
"""Around names of columns; some programs write the mark of UTF-8 twice."""
_UNNAMED = re.compile(r"|Unnamed: [0-9]+")


def read_csv(path: str | os.PathLike, required: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file as dicts of text; errors as in `read_csv_lines`."""
    return [row for _, row in read_csv_lines(path, required)]


def read_csv_lines(
    path: str | os.PathLike, required: Sequence[str], *, delimiter: str = ","
) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file as (number of the row's last line, dict of text).

    Spaces around column names are removed. Columns without a name, and those of row numbers that
    pandas writes (`Unnamed: 0`), are left out.

    Raises:
      ValueError: not UTF-8, not CSV, no header, a required column is missing, a column occurs
        twice, or a row is too short or too long.
      FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if wrong := no_file(path):
        raise FileNotFoundError(f"{path}: {wrong}; expected columns {','.join(required)}")
    rows: list[tuple[int, dict[str, str]]] = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(_without_nul(file, path), delimiter=delimiter, strict=True)
        try:
            names = [name.strip(_BLANK) for name in reader.fieldnames or []]
            # Names that are left out are made different, so that rows of their values are complete.
            reader.fieldnames = [
                f"\n{place}" if _UNNAMED.fullmatch(name) else name
                for place, name in enumerate(names)
            ]
            _check_columns(path, names, required)
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(_wrong_length(row, f"{path}: line {reader.line_num}"))
                kept = {name: value for name, value in row.items() if not name.startswith("\n")}
                rows.append((reader.line_num, kept))
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not a text table in UTF-8; save it as UTF-8 CSV") from None
        except csv.Error as error:
            begin = rows[-1][0] + 1 if rows else max(1, reader.line_num)
            raise ValueError(
                f"{path}: line {begin} or below: {error}; look for an unclosed quote there"
            ) from None
    return rows


def _without_nul(lines: Iterable[str], path: Path) -> Iterator[str]:
    """Lines of a text table; NUL is in UTF-16 and in damaged files.

    Raises:
      ValueError: there is one.
    """
    for line in lines:
        if "\0" in line:
            raise ValueError(f"{path}: not a text table in UTF-8; save it as UTF-8 CSV")
        yield line


def _wrong_length(row: Mapping[str | None, Any], where: str) -> str:
    """What is wrong with a row of a `csv.DictReader` that is too short or too long."""
    more, missing = row.get(None) or [], sum(value is None for value in row.values())
    names = len([name for name in row if name is not None])
    hint = "put values that contain a separator in quotes" if more else "complete the line"
    return f"{where}: {names + len(more) - missing} values instead of {names}; {hint}"


def _check_columns(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    if not any(names):
        raise ValueError(
            f"{path}: empty, or its first line is blank; expected the names of columns there: "
            f"{','.join(required)}"
        )
    missing = [name for name in required if name not in names]
    if missing:
        raise ValueError(
            f"{path}: column {', '.join(missing)} missing (found: {', '.join(names)}); "
            f"expected {','.join(required)}"
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: column {', '.join(twice)} occurs twice; remove or rename one")


def number(row: Mapping[str, str], column: str, *, where: str, blank: float | None = None) -> float:
    """`row[column]` as a finite float; `where` names file and line in the error.

    Raises:
      ValueError: not a number, not finite, or blank where `blank` is None.
    """
    text = row[column].strip()
    if not text and blank is not None:
        return blank
    try:
        value = float(text.replace("_", "?"))  # Python reads 1_000 as a number
    except ValueError:
        raise ValueError(f"{where}: {column} is {row[column]!r:.80}, not a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{where}: {column} is {row[column]!r:.80}, not a finite number")
    return value + 0.0  # no negative zero


def is_number(text: str) -> bool:
    """Whether a text is a finite number; unlike in Python, `1_000` is none."""
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def is_plain_number(text: str) -> bool:
    """Whether a text is a finite number without leading zeros, which names have: `007`."""
    digits = text.strip().lstrip("+-")
    return is_number(text) and not (digits[:1] == "0" and digits[1:2].isdigit())


def numeric_columns(
    rows: Sequence[Mapping[str, str]], *, known: Collection[str] = ()
) -> tuple[str, ...]:
    """Columns of a table in which every value is a finite number or blank, and some is a number.

    Of a column in `known` a single number is enough, so that its other values are errors. Elsewhere
    a number with leading zeros is a name.
    """
    found = []
    for name in rows[0] if rows else ():
        check = is_number if name in known else is_plain_number
        numbers = [check(row[name]) for row in rows if row[name].strip()]
        if numbers and (any if name in known else all)(numbers):
            found.append(name)
    return tuple(found)


def load_array(path: Path, remedy: str = RESTORE, *, mmap: bool = False) -> np.ndarray:
    """The array of an .npy file; memory-mapped with `mmap`.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
      FileNotFoundError: there is no such file.
    """
    with damage_named(path, remedy):
        array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            array.close()
            raise ValueError("not an .npy file")
        return array


def load_arrays(
    path: Path, names: Sequence[str] | None = None, remedy: str = RESTORE, *, mmap: bool = False
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name: those called `names`, or all.

    With `mmap` they are memory-mapped where they are not compressed; their content is not compared
    with the checksums in the file then.

    Raises:
      ValueError: the file is damaged or lacks an array; names it and ends with `remedy`.
      FileNotFoundError: there is no such file.
    """
    with damage_named(path, remedy):
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            raise ValueError("not an .npz file")
        with data:
            read = functools.partial(_mapped, path, data.zip) if mmap else data.__getitem__
            return {name: read(name) for name in (data.files if names is None else names)}


def _mapped(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """The array `name` of an .npz file, memory-mapped; read if it is compressed or empty."""
    entry = archive.getinfo(f"{name}.npy")
    with path.open("rb") as file:
        # APPNOTE.TXT, 4.3.7: 30 bytes, the last 4 of which are the lengths of two further fields.
        file.seek(entry.header_offset + 26)
        start = file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        stored = entry.compress_type == zipfile.ZIP_STORED
        if stored and np.lib.format.read_magic(file) == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if 0 not in shape and not dtype.hasobject:
                if file.tell() - start + dtype.itemsize * math.prod(shape) != entry.file_size:
                    raise ValueError(f"the size of {name} is not that of its header")
                order: Literal["F", "C"] = "F" if fortran else "C"
                return np.memmap(file, dtype, "r", file.tell(), shape, order)
    with archive.open(entry) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


@contextlib.contextmanager
def damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn what NumPy, zlib and zipfile raise on a damaged file into one error.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
      FileNotFoundError: there is no such file.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; {remedy}") from None
    # RuntimeError: a damaged archive may seem encrypted, or compressed by an unknown method.
    except (
        EOFError,
        KeyError,
        OSError,
        RuntimeError,
        ValueError,
        tokenize.TokenError,  # NumPy, of a header that ends within a bracket
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"{path}: damaged ({error}); {remedy}") from None


@contextlib.contextmanager
def array_file(path: Path, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """Write an .npy file of uint8 atomically; yields the file, to which the data is written.

    With a memory map instead, a full disk would kill the process without an error.
    """
    with atomic_path(path) as part, open(part, "wb") as file:
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, head)
        yield file
