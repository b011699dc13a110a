"""The item table and its images: one row and one canvas slice an item, memory-mapped.

On disk, a directory:
  items.csv            one row an item, the columns of `Item` in order
  slices.npy           uint8 [N, S, S], HU windowed to 8 bits
  neighbours.npy       k slices below each item's and k above, in that order: of scans uint8
                       [N, 2 k, S, S], of a folder, whose slices are items, their rows, int32
                       [N, 2 k] (absent where no item has any, or none are wanted)
  lung_masks.npy       uint8 [N, S, S], 1 inside the lungs (absent where there are no masks)
  audit.csv            one row a nodule: share of its sphere inside each mask (absent for folders)
  audit_slices.npy     uint8 [2 M, S, S], the planes above and below each nodule's centre
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
    """Table 2's class of a diameter: 0 for 0 mm (no nodule), else 1..7. int32, same shape.

    Diameters on an edge go to the upper class. Diameters must not be rounded before.

    Raises:
      ValueError: a diameter is negative or not finite.
    """
    diameter = np.asarray(diameter_mm, np.float64)
    if not np.all(np.isfinite(diameter) & (diameter >= 0)):
        raise ValueError("diameter_mm must be finite and 0 or more")
    label = 1 + np.searchsorted(CLASS_EDGES_MM, diameter, side="right")
    return np.where(diameter > 0, label, 0).astype(np.int32)


def class_names(labels: np.ndarray, diameters_mm: np.ndarray) -> tuple[str, ...]:
    """Names of the classes that known labels [N] are of: Table 2's eight where they are sizes.

    They are where some diameter is known and each known one is of its label, so that a size class
    keeps its name also where the largest are absent. Labels of 0 and 1 alone are nodule or not,
    but where some of 0 have a diameter; all others are known by their numbers.
    """
    known, count = np.isfinite(diameters_mm), int(labels.max()) + 1
    agree = np.array_equal(size_class(diameters_mm[known]), labels[known])
    if known.any() and agree and 2 < count <= len(CLASS_NAMES):
        return CLASS_NAMES
    if count == 2 and not np.any(diameters_mm[labels == 0] > 0):
        return "no nodule", "nodule"
    return tuple(map(str, range(count)))


def table2(items: Iterable["Item"]) -> dict[str, int]:
    """The paper's Table 2: how many items each class has, by the names of its classes.

    A nodule counts once, however many of its slices train.
    """
    labels = [item.label for item in items if not item.offset_mm]
    return {name: labels.count(label) for label, name in enumerate(CLASS_NAMES)}


@dataclasses.dataclass(frozen=True)
class Item:
    """One image of the archive. Unknown numbers are NaN, unknown text is empty."""

    image: str
    """The image file in a folder; empty for items cut from scans."""
    scan: str
    """The series; what must not be split, with all other scans of its patient."""
    nodule: str = ""
    """The annotation, unique over scans; empty for normal items."""
    label: int = -1
    """The class, -1 where unknown."""
    diameter_mm: float = float("nan")
    malignancy: float = float("nan")
    split: str = ""
    """`train`, `val` or `test` where the data says so."""
    subset: int = -1
    """LUNA16's fold, -1 where there is none."""
    x_mm: float = float("nan")
    y_mm: float = float("nan")
    z_mm: float = float("nan")
    """World position of the nodule's centre, or of the normal's point."""
    row: float = float("nan")
    col: float = float("nan")
    """The same point in the canvas, in pixels; NaN: the image is a crop already."""
    offset_mm: float = 0.0
    """How far this slice lies from its nodule's central one, along the body axis. Slices beside it
    train, but are neither archived nor searched for."""
    patient: str = ""
    """Whose scan it is; empty where unknown, and then each scan counts as a patient."""


COLUMNS = tuple(field.name for field in dataclasses.fields(Item))


def item_names(items: Sequence[Item]) -> np.ndarray:
    """A name for every item, str [N], by which it is known in every run on the same data.

    The image file, else the nodule, else scan and position of a normal; a name that was there
    before gets a number.
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
    """The patient of each item, str [N]; one that an item of a scan names is that of all its items.

    Empty where unknown.
    """
    named = {item.scan: item.patient for item in items if item.scan and item.patient}
    return np.array([item.patient or named.get(item.scan, "") for item in items], str)


def patients(items: Sequence[Item]) -> np.ndarray:
    """Whose each item is, str [N]: the patient, where unknown the scan; empty if that is too."""
    known = known_patients(items)
    return np.where(known != "", known, np.array([item.scan for item in items], str))


def nodule_names(items: Sequence[Item]) -> np.ndarray:
    """Which nodule each item shows, str [N], told apart by scan and name; empty where none is.

    Of an unknown scan the patient stands before the name: another's nodule may be called alike.
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
    """Write `items` as CSV; what is unknown as blanks."""

    def text(name: str, value: object) -> object:
        unknown = value == -1 if name in ("label", "subset") else value != value
        return "" if unknown else value

    rows = [{name: text(name, value) for name, value in vars(item).items()} for item in items]
    files.write_csv(path, COLUMNS, rows)


def read_table(path: Path, *, filled: Sequence[str] = ()) -> list[Item]:
    """Read an item table; columns of `Item` that the file lacks are unknown, others are ignored.

    Spaces around names and values are no part of them. Where diameters are known, and of nodules
    alone, a blank one of class 0, no nodule, is 0 mm.

    Args:
      path: a CSV file with at least the columns `image`, `scan` and `label`.
      filled: columns of text in which no row may be blank.

    Raises:
      ValueError: a column is missing or misspelt, a value is not what its column holds, some
        labels are known and some not, or rows contradict each other; the message names file, line
        and column. All bad lines are reported together.
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
    """Names of columns of a table that `read_table` takes no notice of."""
    rows = files.read_csv_lines(path, ())
    return sorted(set(rows[0][1]) - {*COLUMNS}) if rows else []


def _with_normals(items: Sequence[Item]) -> list[Item]:
    """Class 0 with a blank diameter as 0 mm: for a nodule it is a wrong size, not an unknown."""
    return [
        dataclasses.replace(item, diameter_mm=0.0)
        if item.label == 0 and np.isnan(item.diameter_mm)
        else item
        for item in items
    ]


def _refuse_other_spellings(path: Path, names: Iterable[str]) -> None:
    """Names that are a column's but for case, spaces, _ and - would be ignored without a word."""

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter not in " _-")

    known = {plain(name): name for name in COLUMNS}
    other = {name: known[plain(name)] for name in names if plain(name) in known}
    other = {name: meant for name, meant in other.items() if name != meant}
    if other:
        raise ValueError(
            f"{path}: column {', '.join(other)}: spell it {', '.join(other.values())}, or remove it"
        )


def _item(row: Mapping[str, str], where: str, filled: Sequence[str]) -> Item:
    """One row; `where` names file and line in the error."""
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
            raise ValueError(f"{where}: {name} is {value}, not a whole number")
        if field.type is int and value < -1:  # older stores wrote blanks as -1
            raise ValueError(f"{where}: {name} is {row[name]}; must be 0 or more, or blank")
        if name == "diameter_mm" and value < 0:
            raise ValueError(f"{where}: diameter_mm is {row[name]}, below 0")
        if name == "malignancy" and (value < 1 or value > 5):
            raise ValueError(
                f"{where}: malignancy is {row[name]}; must be a rating of 1 to 5, or blank"
            )
        values[name] = int(value) if field.type is int else value
    return Item(**values)  # type: ignore[arg-type]


def _bad_labels(table: Sequence[tuple[int, str, Item]]) -> Iterator[str]:
    """What is wrong with the labels of (line, label as written, item)."""
    known = {item.label: line for line, _, item in reversed(table) if item.label >= 0}
    unknown = [(line, text.strip()) for line, text, item in table if item.label < 0]
    if known and unknown:
        line, text = unknown[0]
        yield (
            f"line {line}: label is {text or 'blank'} ({len(unknown)} such rows), but others have "
            "one; give all rows a class, 0 or more, or leave out those without"
        )
    top = max(known, default=0)
    if top > 10 * len(known) + 100:
        yield (
            f"line {known[top]}: label is {top}, but there are only {len(known)} classes; number "
            "them 0, 1, 2, ..."
        )


def _contradictions(table: Sequence[tuple[int, str, Item]]) -> Iterator[str]:
    """Images in two rows and scans of two patients among (line, label as written, item)."""
    images: dict[str, int] = {}
    owners: dict[str, tuple[str, int]] = {}
    for line, _, item in table:
        first = images.setdefault(os.path.normpath(item.image), line)
        if item.image and first != line:
            yield f"line {line}: image {item.image} is in line {first}, too; keep one of its rows"
        if not (item.scan and item.patient):
            continue
        patient, first = owners.setdefault(item.scan, (item.patient, line))
        if patient != item.patient:
            yield (
                f"line {line}: scan {item.scan} is of patient {item.patient}, but of {patient} in "
                f"line {first}; make scan names unique"
            )


@dataclasses.dataclass(frozen=True)
class ItemStore:
    """The item table with its images, opened from `root`."""

    root: Path
    items: tuple[Item, ...]
    slices: np.ndarray
    """uint8 [N, S, S], memory-mapped."""
    lung_masks: np.ndarray | None
    """uint8 [N, S, S], memory-mapped, or None."""
    neighbours: np.ndarray | None = None
    """uint8 [N, 2 k, S, S] or rows of `slices`, int32 [N, 2 k]; memory-mapped, or None."""

    def column(self, name: str) -> np.ndarray:
        """Column `name` of the table as an array [N]."""
        return np.array([getattr(item, name) for item in self.items])

    def planes(self, row: int) -> np.ndarray:
        """An item's slice with its neighbours, from the lowest up: uint8 [2 k + 1, S, S]."""
        middle = np.asarray(self.slices[row])[None]
        if self.neighbours is None:
            return middle
        beside = np.asarray(self.neighbours[row])
        if beside.ndim == 1:
            beside = self.slices[beside]
        k = len(beside) // 2
        return np.concatenate([beside[:k], middle, beside[k:]])


_ARRAYS = {
    "slices": {("uint8", 3)},
    "lung_masks": {("uint8", 3)},
    "neighbours": {("uint8", 4), ("int32", 2)},
}
"""Types and axes that an array of a store may have."""


def open_store(root: str | Path) -> ItemStore:
    """Open an item store without reading its images.

    Raises:
      ValueError: table and arrays disagree, or an array file is damaged.
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
