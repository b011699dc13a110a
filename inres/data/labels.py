"""What items are labelled by: their size, or any column (`config.items.label`)."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from inres import vocabulary
from inres.data import columns
from inres.data.item_table import record_name
from inres.data.items import Item, class_names, size_class
from inres.sources import Finding, Scan, Scans, SourceError
from inres.system.checks import ConfigError

AUTO = "auto"
"""Size classes for items cut from scans, the column `label` for ready-made images."""
SIZE = "size"
NONE = "none"
"""No labels, for items that are added to an archive, which has its own classes (`like`)."""
FIELDS = ("malignancy", "patient", "scan")
"""Fields of items that may label them."""
NO_NODULE = "no nodule"
MOST = 100
"""Classes that a column may have."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Items with their classes."""

    items: tuple[Item, ...]
    names: tuple[str, ...]
    """Names of the classes by label; empty if no item has one."""
    kept: np.ndarray
    """bool [N], which of the given items have a class; the others are left out of `items`."""
    messages: tuple[str, ...] = ()


def label_items(given: Sequence[Item], by: str, *, normal: Callable[[Item], bool]) -> Labelled:
    """Items with the class that a setting gives them.

    Class 0 is that of items without a nodule. Values of a column count from 1 in ascending order:
    texts in alphabetical order, numbers rounded to whole ones (half up), so that mean ratings fall
    into the classes of single ones. An item whose value is unknown is left out.

    Args:
      given: the items.
      by: `auto` (labels stay as they are), `size` (paper, Table 2), a column, or `none`.
      normal: whether an item shows no nodule, by which it is of class 0.

    Raises:
      ConfigError: there is no such column, or it has more than `MOST` values.
    """
    every = np.ones(len(given), bool)
    if by == AUTO:
        return Labelled(tuple(given), _names_of(given), every)
    if by == NONE:
        unlabelled = (dataclasses.replace(item, label=-1) for item in given)
        return Labelled(tuple(unlabelled), (), every)
    if by == SIZE:
        values: list[int | str | None] = [_size(item) for item in given]
        labels = [-1 if value is None else int(value) for value in values]
        names = vocabulary.CLASS_NAMES
    else:
        column = by if by in FIELDS else record_name(by)
        values = [_value(item, column) for item in given]
        classes = _classes(given, values, by)
        names = (NO_NODULE, *(_name(by, value) for value in classes))
        number = {value: label for label, value in enumerate(classes, 1)}
        labels = [
            0 if normal(item) else -1 if value is None else number[value]
            for item, value in zip(given, values, strict=True)
        ]
    kept = np.array(labels, np.int64).reshape(-1) >= 0
    labelled = tuple(
        dataclasses.replace(item, label=label)
        for item, label in zip(given, labels, strict=True)
        if label >= 0
    )
    lost, of = int((~kept).sum()), "diameter_mm" if by == SIZE else by
    text = f"{lost} of {len(given)} items left out: {of}, by which they are labelled, is unknown"
    return Labelled(labelled, names, kept, (text,) if lost else ())


def like(
    given: Sequence[Item], by: str, names: Sequence[str], *, normal: Callable[[Item], bool]
) -> tuple[Item, ...]:
    """Items with the classes of an archive, -1 where theirs is unknown or not among these.

    Args:
      given: the items.
      by: as in `label_items`; with `auto` labels stay where there is such a class.
      names: of the archive's classes.
      normal: as in `label_items`.
    """

    def label(item: Item) -> int:
        if by == AUTO:
            return item.label if item.label < len(names) else -1
        if by == SIZE:
            found = _size(item)
            return -1 if found is None else found
        if normal(item):
            return 0
        value = _value(item, by if by in FIELDS else record_name(by))
        name = None if value is None else _name(by, value)
        return names.index(name) if name in names else -1

    return tuple(dataclasses.replace(item, label=label(item)) for item in given)


def _names_of(given: Sequence[Item]) -> tuple[str, ...]:
    """Names of the classes that the items have; none if they have no labels."""
    labels = np.array([item.label for item in given], np.int64)
    if not len(labels) or labels.min() < 0:
        return ()
    return class_names(labels, np.array([item.diameter_mm for item in given]))


def _size(item: Item) -> int | None:
    return int(size_class(item.diameter_mm)) if math.isfinite(item.diameter_mm) else None


def _value(item: Item, column: str) -> int | str | None:
    """The class of an item by a column: a text, a whole number, or None where unknown."""
    text = item.text(column)
    if text:
        return text
    number = item.value(column)
    return math.floor(number + 0.5) if math.isfinite(number) else None


def _classes(
    given: Sequence[Item], values: Sequence[int | str | None], column: str
) -> list[int | str]:
    """The different values, ascending.

    Raises:
      ConfigError: there are none, or too many.
    """
    found = {value for value in values if value is not None}
    if not found:
        names = {*(name for item in given for name in (*item.properties, *item.texts))}
        known = ", ".join(sorted(names, key=vocabulary.property_order)) or "none"
        raise ConfigError(
            f"config.items.label: no item has a value of {column!r}; columns are {known}, and "
            f"{SIZE!r} labels by the diameter"
        )
    if len(found) > MOST:
        raise ConfigError(
            f"config.items.label: {column!r} has {len(found)} different values; must have at most "
            f"{MOST}, such as a rating or a kind of nodule"
        )
    return sorted(found, key=lambda value: (isinstance(value, str), value))


def _name(column: str, value: int | str) -> str:
    title = vocabulary.find_property(column).title
    return value if isinstance(value, str) else f"{title} {value}"


def with_labels(described: Scans, by: str) -> Scans:
    """Scans in which everything that becomes an item can be labelled.

    A nodule whose label is unknown becomes an excluded finding, which normal slices still avoid,
    and a scan without findings whose label is unknown is left out; messages say how many.

    Raises:
      SourceError: nothing can be labelled; names the setting.
    """
    if by == NONE:
        return described
    column = "diameter_mm" if by in (AUTO, SIZE) else by
    scans, without = [], 0
    for scan in described.scans:
        if scan.spread and not _has(scan, None, column):
            continue
        known = tuple(one for one in scan.nodules if _has(scan, one, column))
        unknown = tuple(one for one in scan.nodules if not _has(scan, one, column))
        without += len(unknown)
        scans.append(
            dataclasses.replace(scan, nodules=known, excluded=(*scan.excluded, *unknown))
            if unknown
            else scan
        )
    left = len(described.scans) - len(scans)
    if (left or without) and not any(scan.nodules or scan.spread for scan in scans):
        names = {
            *(name for scan in described.scans for name in scan.columns),
            *(name for scan in described.scans for one in scan.nodules for name in one.columns),
        }
        raise SourceError(
            f"config.items.label = {by!r}: {column} is unknown of every finding and scan; label by "
            f"another column: {', '.join(sorted(names)) or 'there is none'}"
        )
    counts = (
        (without, f"{without} findings left out of the items"),
        (left, f"{left} of {len(described.scans)} scans left out"),
    )
    notes = tuple(f"{text}: their {column} is unknown" for count, text in counts if count)
    return dataclasses.replace(
        described, scans=tuple(scans), messages=(*described.messages, *notes)
    )


def _has(scan: Scan, finding: Finding | None, column: str) -> bool:
    """Whether a finding, or a scan without findings, has a value of a column."""
    if column == "diameter_mm":
        return finding is not None and math.isfinite(finding.diameter_mm)
    if column in ("patient", "scan"):
        return bool(scan.patient) or column == "scan"
    given = {**scan.columns, **({} if finding is None else finding.columns)}
    numbers, texts = columns.split({record_name(name): value for name, value in given.items()})
    return record_name(column) in {*numbers, *texts}
