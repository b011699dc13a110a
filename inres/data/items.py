"""The item store: a table with one row per item, and memory-mapped images.

On disk, a folder:
  items.csv            one row per item, with the fields of `Item` as columns
  slices.npy           uint8 [N, S, S], HU windowed to 8 bits
  neighbours.npy       k slices below and k above each item, from the lowest up: uint8
                       [N, 2 k, S, S] from scans; rows of slices.npy, int32 [N, 2 k], from a folder
                       (absent if no item has any, or none are configured)
  lung_masks.npy       uint8 [N, S, S], 1 inside the lungs (absent if there are no masks)
  audit.csv            one row per nodule: share of its sphere inside each mask (scans only)
  audit_slices.npy     uint8 [2 M, S, S], planes below and above the centre of each nodule
  meta.json            window, spacing, counts and messages of the preparation
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres.system import files
from inres.vocabulary import CLASS_EDGES_MM, CLASS_NAMES

SIDES = ("train", "val", "test")
"""The sides of a split; "earlier" and "later" sides refer to this order."""


def size_class(diameter_mm: np.ndarray | float) -> np.ndarray:
    """The size class of diameters (paper, Table 2): int32 of the same shape.

    0 mm is class 0, no nodule; all others are 1 to 7. Diameters on an edge belong to the upper
    class. Do not round diameters before.

    Raises:
      ValueError: a diameter is negative or not finite.
    """
    diameter = np.asarray(diameter_mm, np.float64)
    if not np.all(np.isfinite(diameter) & (diameter >= 0)):
        raise ValueError("diameter_mm must be finite and 0 or more")
    label = 1 + np.searchsorted(CLASS_EDGES_MM, diameter, side="right")
    return np.where(diameter > 0, label, 0).astype(np.int32)


def class_names(labels: np.ndarray, diameters_mm: np.ndarray) -> tuple[str, ...]:
    """Names of the classes of known labels int [N].

    Labels are Table 2's eight size classes if some diameter is known and each known diameter agrees
    with its label, even if the largest classes are absent. Otherwise, labels 0 and 1 mean "no
    nodule" and "nodule", unless items of class 0 have a diameter; all other labels are numbers.
    """
    known, count = np.isfinite(diameters_mm), int(labels.max()) + 1
    agree = np.array_equal(size_class(diameters_mm[known]), labels[known])
    if known.any() and agree and 2 < count <= len(CLASS_NAMES):
        return CLASS_NAMES
    if count == 2 and not np.any(diameters_mm[labels == 0] > 0):
        return "no nodule", "nodule"
    return tuple(map(str, range(count)))


def table2(items: Iterable["Item"]) -> dict[str, int]:
    """Number of items in each size class by name, as in the paper's Table 2.

    A nodule counts once, whatever its number of training slices.
    """
    labels = [item.label for item in items if not item.offset_mm]
    return {name: labels.count(label) for label, name in enumerate(CLASS_NAMES)}


@dataclasses.dataclass(frozen=True)
class Item:
    """One image and what is known of it. Unknown numbers are NaN, unknown text is empty."""

    image: str
    """Path of the image in a folder; empty for items cut from scans."""
    scan: str
    """The series. Its items stay on one side of a split, with all scans of the patient."""
    nodule: str = ""
    """Name of the annotation, unique over scans; empty for normal slices."""
    label: int = -1
    """The class, -1 where unknown."""
    diameter_mm: float = float("nan")
    malignancy: float = float("nan")
    split: str = ""
    """`train`, `val` or `test` where the data defines it."""
    subset: int = -1
    """Official fold, -1 if there is none."""
    x_mm: float = float("nan")
    y_mm: float = float("nan")
    z_mm: float = float("nan")
    """World position (LPS) of the nodule's centre, or of a point of a normal slice."""
    row: float = float("nan")
    col: float = float("nan")
    """The same point on the canvas in pixels; NaN for an image that is a crop already."""
    offset_mm: float = 0.0
    """Distance along the body axis from the nodule's central slice; 0 for that slice. Slices with
    an offset are for training only, not part of the archive or of the queries."""
    patient: str = ""
    """Name of the patient; if empty, the scan counts as a patient of its own."""


COLUMNS = tuple(field.name for field in dataclasses.fields(Item))


def item_names(items: Sequence[Item]) -> np.ndarray:
    """A name for every item, str [N], that is the same in every run on the same data.

    It is the image file, or else the nodule, or else scan and position; a number is added to a name
    that occurred before.
    """
    seen: dict[str, int] = {}
    names = []
    for item in items:
        place = f"{item.scan}@{item.x_mm:g},{item.y_mm:g},{item.z_mm:g}"
        name = item.image or item.nodule or place
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return np.array(names, str)


def known_patients(items: Sequence[Item]) -> np.ndarray:
    """The patient of each item, str [N]; empty where unknown.

    If one item of a scan names the patient, it is that of all items of the scan.
    """
    named = {item.scan: item.patient for item in items if item.scan and item.patient}
    return np.array([item.patient or named.get(item.scan, "") for item in items], str)


def patients(items: Sequence[Item]) -> np.ndarray:
    """The patient of each item, or else its scan: str [N]; empty if both are unknown."""
    known = known_patients(items)
    return np.where(known != "", known, np.array([item.scan for item in items], str))


def nodule_names(items: Sequence[Item]) -> np.ndarray:
    """The nodule of each item, str [N]; empty for normal slices.

    Where the scan is unknown, the patient precedes the name, since nodules of different patients
    may have the same name.
    """
    return np.array(
        [
            f"{item.patient}/{item.nodule}"
            if item.nodule and item.patient and not item.scan
            else item.nodule
            for item in items
        ],
        str,
    )


def write_table(path: Path, items: Sequence[Item]) -> None:
    """Write `items` as CSV, with blanks for unknown values."""

    def text(name: str, value: object) -> object:
        unknown = value == -1 if name in ("label", "subset") else value != value
        return "" if unknown else value

    rows = [{name: text(name, value) for name, value in vars(item).items()} for item in items]
    files.write_csv(path, COLUMNS, rows)


def read_table(path: Path, *, filled: Sequence[str] = ()) -> list[Item]:
    """Read an item table; absent columns of `Item` are unknown, other columns are ignored.

    Spaces around names and values are removed. If only classes above 0 have diameters, a blank
    diameter of class 0 (no nodule) is 0 mm.

    Args:
      path: a CSV file with at least the columns `image`, `scan` and `label`.
      filled: text columns in which no row may be blank.

    Raises:
      ValueError: a column is missing or misspelt, a value does not fit its column, only some
        labels are known, or rows contradict each other. The message names file, line and column,
        and reports all bad lines together.
    """
    rows = files.read_csv_lines(path, ("image", "scan", "label"))
    if not rows:
        raise ValueError(f"{path}: no items, only a header")
    _refuse_other_spellings(path, rows[0][1])
    items, errors = [], []
    for line, row in rows:
        try:
            items.append(_item(row, f"{path}: line {line}", filled))
        except ValueError as error:
            errors.append(str(error))
    if not errors:
        table = [(line, row["label"], item) for (line, row), item in zip(rows, items, strict=True)]
        errors = [f"{path}: {text}" for f in (_bad_labels, _contradictions) for text in f(table)]
    if errors:
        more = f"\n... and {len(errors) - 10} more" if len(errors) > 10 else ""
        raise ValueError("\n".join(errors[:10]) + more)
    sized = {item.label > 0 for item in items if item.diameter_mm > 0}
    return _with_normals(items) if sized == {True} else items


def unread_columns(path: Path) -> list[str]:
    """Names of the columns of a table that `read_table` ignores."""
    rows = files.read_csv_lines(path, ())
    return sorted(set(rows[0][1]) - {*COLUMNS}) if rows else []


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


def _refuse_other_spellings(path: Path, names: Iterable[str]) -> None:
    """Refuse names that would be ignored for another case, or for spaces, _ and -."""

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter not in " _-")

    known = {plain(name): name for name in COLUMNS}
    other = {name: known[plain(name)] for name in names if plain(name) in known}
    other = {name: meant for name, meant in other.items() if name != meant}
    if other:
        raise ValueError(
            f"{path}: column {', '.join(other)}: rename it to {', '.join(other.values())}, or "
            "remove it"
        )


def _item(row: Mapping[str, str], where: str, filled: Sequence[str]) -> Item:
    """The item of one row; `where` names file and line in the error."""
    values: dict[str, object] = {}
    for field in dataclasses.fields(Item):
        name = field.name
        if name not in row:
            continue
        if field.type is str:
            values[name] = row[name].strip()
            if name in filled and not values[name]:
                raise ValueError(f"{where}: {name} is blank; fill it in, or remove the row")
            continue
        value = files.number(row, name, where=where, blank=-1 if field.type is int else np.nan)
        if field.type is int and value != int(value):
            raise ValueError(f"{where}: {name} is {row[name]}; must be a whole number")
        if field.type is int and value < -1:  # older stores wrote blanks as -1
            raise ValueError(f"{where}: {name} is {row[name]}; must be 0 or more, or blank")
        if name == "diameter_mm" and value < 0:
            raise ValueError(f"{where}: diameter_mm is {row[name]}; must be 0 or more, or blank")
        if name == "malignancy" and (value < 1 or value > 5):
            raise ValueError(
                f"{where}: malignancy is {row[name]}; must be a rating of 1 to 5, or blank"
            )
        values[name] = int(value) if field.type is int else value
    return Item(**values)  # type: ignore[arg-type]


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


@dataclasses.dataclass(frozen=True)
class ItemStore:
    """An item table with its images, opened from the folder `root`."""

    root: Path
    items: tuple[Item, ...]
    slices: np.ndarray
    """uint8 [N, S, S], memory-mapped."""
    lung_masks: np.ndarray | None
    """uint8 [N, S, S], memory-mapped; None if there are no masks."""
    neighbours: np.ndarray | None = None
    """uint8 [N, 2 k, S, S], or rows of `slices`, int32 [N, 2 k]; memory-mapped; None if there are
    no neighbours."""

    def column(self, name: str) -> np.ndarray:
        """Column `name` of the table: an array [N]."""
        return np.array([getattr(item, name) for item in self.items])

    def planes(self, row: int) -> np.ndarray:
        """An item's slice between its neighbours, from the lowest up: uint8 [2 k + 1, S, S]."""
        middle = np.asarray(self.slices[row])[None]
        if self.neighbours is None:
            return middle
        others = np.asarray(self.neighbours[row])
        if others.ndim == 1:
            others = self.slices[others]
        k = len(others) // 2
        return np.concatenate([others[:k], middle, others[k:]])


_ARRAYS = {
    "slices": {("uint8", 3)},
    "lung_masks": {("uint8", 3)},
    "neighbours": {("uint8", 4), ("int32", 2)},
}
"""Types and numbers of axes that the arrays of a store may have."""


def open_store(root: str | Path) -> ItemStore:
    """Open an item store without reading its images.

    Raises:
      ValueError: table and arrays disagree, or a file is damaged.
      FileNotFoundError: there is no store at `root`.
    """
    root = Path(root)
    items = tuple(read_table(root / "items.csv"))
    arrays: dict[str, np.ndarray | None] = {}
    for name, kinds in _ARRAYS.items():
        arrays[name] = None
        path = root / f"{name}.npy"
        if not path.is_file():
            continue
        try:
            array = np.load(path, mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{path}: damaged ({error}); run the prepare stage again") from None
        if (array.dtype.name, array.ndim) not in kinds or len(array) != len(items):
            raise ValueError(
                f"{path}: {array.dtype} {array.shape}, but {root / 'items.csv'} has {len(items)} "
                "rows of uint8 slices; run the prepare stage again"
            )
        arrays[name] = array
    if arrays["slices"] is None:
        raise FileNotFoundError(f"{root / 'slices.npy'}: no such file; run the prepare stage")
    return ItemStore(root, items, arrays["slices"], arrays["lung_masks"], arrays["neighbours"])
