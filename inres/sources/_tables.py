"""Tables as people keep them: CSV with any usual separator, also as spreadsheets save it."""

import csv
import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from inres.sources import SourceError
from inres.sources._problems import Problems
from inres.system import files

_SEPARATORS = ",;\t"
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table."""

    path: Path
    """The table."""
    line: int
    """The row's last line in the file, from 1."""
    values: Mapping[str, str]
    """Text by column, as written."""

    @property
    def where(self) -> str:
        """File and line, as errors begin."""
        return f"{self.path}: line {self.line}"

    def text(self, column: str) -> str:
        """A value without spaces around it; empty where it is blank or the column is missing."""
        return self.values.get(column, "").strip()

    def number(self, column: str, *, blank: float | None = None) -> float:
        """A value that is a finite number.

        Args:
          column: its name; a missing column is blank.
          blank: what a blank stands for; None: a blank is an error.

        Raises:
          ValueError: not such a number; names file, line and column.
        """
        values = {column: self.text(column)}
        return files.number(values, column, where=self.where, blank=blank)

    def date(self, column: str) -> str:
        """A value that is a date, as YYYYMMDD; empty where it is blank.

        Raises:
          ValueError: written in another way than YYYYMMDD or YYYY-MM-DD, or no such day.
        """
        text = self.text(column)
        match = re.fullmatch(r"([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})", text)
        try:
            if match:
                datetime.date(int(match[1]), int(match[3]), int(match[4]))
        except ValueError:
            match = None
        if text and not match:
            raise ValueError(
                f"{self.where}: {column} is {text!r}; must be a day as YYYYMMDD or YYYY-MM-DD"
            )
        return text.replace("-", "")


def read_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV file that are not blank.

    Values are separated by commas, semicolons or tabs, whichever separates most names in the first
    line. Where it is not a comma, columns of numbers may have decimal commas.

    Args:
      required: columns that must be there.
      optional: columns with a meaning that may be missing, but not have another spelling.

    Raises:
      SourceError: no such file, no text table, or a required column is missing.
    """
    try:
        separator = _separator(path)
        lines = files.read_csv_lines(path, required, delimiter=separator)
    except (ValueError, FileNotFoundError) as error:
        raise SourceError(str(error)) from None
    if lines:
        _require_spelling(path, lines[0][1], (*required, *optional))
    kept = [(line, row) for line, row in lines if any(value.strip() for value in row.values())]
    commas = _with_decimal_commas([row for _, row in kept]) if separator != "," else set()
    return [
        Row(
            path,
            line,
            {k: v.replace(",", ".") if k in commas else v for k, v in row.items()},
        )
        for line, row in kept
    ]


def column_names(path: Path) -> list[str]:
    """The names in the first line of a table; none if it is no text table."""
    if files.no_file(path):
        return []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            line = next(csv.reader(file, delimiter=_separator(path)), [])
    except (csv.Error, UnicodeDecodeError):
        return []
    return [name.strip() for name in line]


def plain(name: str) -> str:
    """A name of a column without case, spaces and signs, by which other spellings are known."""
    return re.sub(r"[\W_]", "", name.lower())


def _require_spelling(path: Path, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse columns that are spelt otherwise than known ones, for which they are missing.

    Raises:
      SourceError: names both.
    """
    names = list(names)
    meant = {plain(name): name for name in known if name not in names}
    for name in names:
        if plain(name) in meant:
            raise SourceError(f"{path}: column {name}: rename it to {meant[plain(name)]}")


def _separator(path: Path) -> str:
    """What separates the names in the first line of a file."""
    if not path.is_file():
        return ","
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(1 << 16)
    return max(_SEPARATORS, key=first.count)


def _with_decimal_commas(rows: Sequence[Mapping[str, str]]) -> set[str]:
    """Columns of nothing but numbers and blanks, some of which have a decimal comma."""
    found = set()
    for name in rows[0] if rows else ():
        texts = [row[name] for row in rows if row[name].strip()]
        commas = [bool(_DECIMAL_COMMA.fullmatch(text)) for text in texts]
        if any(commas) and all(
            comma or _NUMBER.fullmatch(text) for comma, text in zip(commas, texts, strict=True)
        ):
            found.add(name)
    return found


def typed(
    rows: Sequence[Row], names: Iterable[str], problems: Problems, *, known: Iterable[str] = ()
) -> list[dict[str, float | str]]:
    """Columns by their content: a column of nothing but numbers and blanks is one of numbers.

    Args:
      rows: the N rows of a table.
      names: the columns.
      problems: gets values of a column in `known` that are no numbers.
      known: columns that are of numbers as soon as one of their values is.

    Returns:
      The values of each row by column, N dicts; blanks are absent.
    """
    table = [{name: row.text(name) for name in names} for row in rows]
    numeric = set(files.numeric_columns(table, known=tuple(known)))
    out: list[dict[str, float | str]] = []
    for row, values in zip(rows, table, strict=True):
        given: dict[str, float | str] = {}
        for name, text in values.items():
            if not text:
                continue
            try:
                given[name] = row.number(name) if name in numeric else text
            except ValueError as error:
                problems["lines that cannot be read; correct them"].append(str(error))
        out.append(given)
    return out
