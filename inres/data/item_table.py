"""The item table, items.csv: one row per item, with the fields of `Item` as columns."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres import vocabulary
from inres.data import columns
from inres.data.items import Item
from inres.system import files
from inres.system.messages import listed

COLUMNS = tuple(
    field.name for field in dataclasses.fields(Item) if field.name not in ("properties", "texts")
)
"""Columns of the fields of an item; its properties and texts have columns of their own."""


def write_table(path: Path, items: Sequence[Item]) -> None:
    """Write `items` as CSV, with blanks for unknown values.

    Properties and then texts follow the fields in a fixed order.
    """
    properties, texts = property_names(items), text_names(items)

    def text(name: str, value: object) -> object:
        unknown = value == -1 if name in ("label", "subset") else value != value
        return "" if unknown else value

    rows = [
        {name: text(name, getattr(item, name)) for name in COLUMNS}
        | {name: item.properties.get(name, "") for name in properties}
        | {name: item.texts.get(name, "") for name in texts}
        for item in items
    ]
    files.write_csv(path, (*COLUMNS, *properties, *texts), rows)


def property_names(items: Iterable[Item]) -> tuple[str, ...]:
    """Names of all properties of `items`: those of the vocabulary first, in its order."""
    found = {name for item in items for name in item.properties}
    return tuple(sorted(found, key=vocabulary.property_order))


def record_name(name: str) -> str:
    """The name in records of a column of findings or scans.

    It is `columns.column_name`, with _ at the end if that is one of an item's fields, as in
    `label_`.
    """
    plain = columns.column_name(name)
    return f"{plain}_" if plain in COLUMNS else plain


def text_names(items: Iterable[Item]) -> tuple[str, ...]:
    """Names of all texts of `items` in alphabetical order."""
    return tuple(sorted({name for item in items for name in item.texts}))


def read_table(path: Path, *, filled: Sequence[str] = ()) -> list[Item]:
    """Read an item table; absent columns of `Item` are unknown.

    Other columns are properties if they hold nothing but numbers and blanks, and texts otherwise;
    their names are `columns.column_name` of those in the file. Spaces around names and values are
    removed. If only classes above 0 have diameters, a blank diameter of class 0 (no nodule) is
    0 mm.

    Args:
      path: a CSV file with at least the columns `image`, `scan` and `label`.
      filled: text columns in which no row may be blank.

    Raises:
      ValueError: a column is missing or misspelt, a value does not fit its column, only some
        labels are known, or rows contradict each other. The message names file, line and column,
        and reports all bad lines together.
    """
    table = _read(path, filled)
    if errors := [f"{path}: {text}" for f in (_bad_labels, _contradictions) for text in f(table)]:
        raise ValueError(listed(errors))
    items = [item for _, _, item in table]
    sized = {item.label > 0 for item in items if item.diameter_mm > 0}
    return _with_normals(items) if sized == {True} else items


def read_written(path: Path) -> list[Item]:
    """Read a table of `write_table`, whose rows need not agree as those of a user's table.

    Items that were added to an archive may lack a class that others have, and images of different
    folders may have one name.

    Raises:
      ValueError: a column is missing, or a value does not fit its column.
    """
    return [item for _, _, item in _read(path, ())]


def _read(path: Path, filled: Sequence[str]) -> list[tuple[int, str, Item]]:
    """The (line, label as written, item) of each row; errors as of `read_table` on single rows."""
    read = files.read_csv_lines(path, ("image", "scan", "label"))
    if not read:
        raise ValueError(f"{path}: no items, only a header")
    _refuse_other_spellings(path, read[0][1])
    rows = _renamed(path, read)
    properties = _numeric(rows)
    texts = [name for name in rows[0][1] if name not in (*COLUMNS, *properties, *_UNREAD)]
    items, errors = [], []
    for line, row in rows:
        try:
            item = _item(row, f"{path}: line {line}", filled, properties)
            given = {name: row[name].strip() for name in texts if row[name].strip()}
            items.append(dataclasses.replace(item, texts=given))
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ValueError(listed(errors))
    return [(line, row["label"], item) for (line, row), item in zip(rows, items, strict=True)]


_UNREAD = ("item_",)
"""Columns without a meaning: `item` numbers the rows of a table that this program wrote."""


def _renamed(
    path: Path, rows: Sequence[tuple[int, Mapping[str, str]]]
) -> list[tuple[int, Mapping[str, str]]]:
    """The rows with the names that columns have in records.

    Raises:
      ValueError: two columns become one.
    """
    others = [name for name in rows[0][1] if name not in COLUMNS]
    try:
        names = {**{name: name for name in COLUMNS}, **columns.column_names(others)}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return [(line, {names[name]: value for name, value in row.items()}) for line, row in rows]


def _numeric(rows: Sequence[tuple[int, Mapping[str, str]]]) -> tuple[str, ...]:
    """Columns that hold properties."""
    known = [one.name for one in vocabulary.PROPERTIES]
    found = files.numeric_columns([row for _, row in rows], known=known)
    return tuple(name for name in found if is_property(name))


def is_property(name: str) -> bool:
    """Whether a column of numbers may be a property: it has no other meaning in item tables."""
    return name not in (*COLUMNS, *_UNREAD)


def _with_normals(items: Sequence[Item]) -> list[Item]:
    """Items with the blank diameters of class 0 set to 0 mm.

    As a result for a nodule, they then count as a wrong size, not as an unknown one.
    """
    return [
        dataclasses.replace(item, diameter_mm=0.0)
        if item.label == 0 and np.isnan(item.diameter_mm)
        else item
        for item in items
    ]


def other_spellings(names: Iterable[str]) -> dict[str, str]:
    """Names that differ from a known column's only in case, spaces, _ and -, with that column.

    `label_` is not among them: it is what `record_name` makes of another column of that name.
    """

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter not in " _-")

    known = {plain(name): name for name in (*COLUMNS, *(p.name for p in vocabulary.PROPERTIES))}
    meant = {name: known[plain(name)] for name in names if plain(name) in known}
    return {name: column for name, column in meant.items() if name not in (column, f"{column}_")}


def _refuse_other_spellings(path: Path, names: Iterable[str]) -> None:
    """Refuse names that would be ignored for another spelling, or without their unit."""
    names = list(names)
    other = other_spellings(names)
    if "diameter" in names and "diameter_mm" not in names:
        other["diameter"] = "diameter_mm"
    if other:
        raise ValueError(
            f"{path}: column {', '.join(other)}: rename it to {', '.join(other.values())}, or "
            "remove it"
        )


def _item(
    row: Mapping[str, str], where: str, filled: Sequence[str], properties: Sequence[str]
) -> Item:
    """The item of one row; `where` names file and line in the error."""
    values: dict[str, object] = {}
    for field in dataclasses.fields(Item):
        name = field.name
        if name not in row or name not in COLUMNS:
            continue
        if field.type is str:
            values[name] = row[name].strip()
            if name in filled and not values[name]:
                raise ValueError(f"{where}: {name} is blank; fill it in, or remove the row")
            continue
        value = files.number(row, name, where=where, blank=-1 if field.type is int else np.nan)
        if field.type is int and value != int(value):
            raise ValueError(f"{where}: {name} is {row[name]}; must be a whole number")
        most = vocabulary.LARGEST_NUMBER
        if field.type is int and not -1 <= value <= most:  # older stores wrote blanks as -1
            limit = f"0 to {most}" if value > most else "0 or more"
            raise ValueError(f"{where}: {name} is {row[name]}; must be {limit}, or blank")
        _require_in_range(name, value, where)
        values[name] = int(value) if field.type is int else value
    known = {name: files.number(row, name, where=where, blank=np.nan) for name in properties}
    for name, value in known.items():
        _require_in_range(name, value, where)
    values["properties"] = {name: value for name, value in known.items() if value == value}
    return Item(**values)  # type: ignore[arg-type]


def _require_in_range(name: str, value: float, where: str) -> None:
    """Refuse a value that its property cannot have.

    Raises:
      ValueError: names file, line and column.
    """
    problem = vocabulary.out_of_range(name, value)
    if name == "diameter_mm" and 0 < value < vocabulary.SMALLEST_MM:
        problem = f"{name} is {value:g}, less than CT shows (is it in another unit?); must be mm"
    if problem:
        raise ValueError(f"{where}: {problem}, or blank")


def _bad_labels(table: Sequence[tuple[int, str, Item]]) -> Iterator[str]:
    """Problems of the labels of (line, label as written, item)."""
    known = {item.label: line for line, _, item in reversed(table) if item.label >= 0}
    unknown = [(line, text.strip()) for line, text, item in table if item.label < 0]
    if known and unknown:
        line, text = unknown[0]
        yield (
            f"line {line}: label is {text or 'blank'} ({len(unknown)} such rows), but other rows "
            "have a class; give all rows a class of 0 or more, or remove those without"
        )
    top = max(known, default=0)
    if top > 10 * len(known) + 100:
        yield (
            f"line {known[top]}: label is {top}, but there are only {len(known)} classes; number "
            "them 0, 1, 2, ..."
        )


def _contradictions(table: Sequence[tuple[int, str, Item]]) -> Iterator[str]:
    """Images in two rows, and scans of two patients, among (line, label as written, item)."""
    images: dict[str, int] = {}
    owners: dict[str, tuple[str, int]] = {}
    for line, _, item in table:
        first = images.setdefault(os.path.normpath(item.image), line)
        if item.image and first != line:
            yield f"line {line}: image {item.image} is also in line {first}; keep one of the rows"
        if not (item.scan and item.patient):
            continue
        patient, first = owners.setdefault(item.scan, (item.patient, line))
        if patient != item.patient:
            yield (
                f"line {line}: scan {item.scan} belongs to patient {item.patient}, but in line "
                f"{first} to {patient}; make scan names unique"
            )
