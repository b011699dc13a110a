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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres import files

CLASS_EDGES_MM = (5.0, 6.0, 8.0, 13.0, 18.0, 23.0)
"""Inner edges of the nodule size classes 1..7 (paper, Table 2); class 0 is no nodule."""
CLASS_NAMES = ("=0", "0~5", "5~6", "6~8", "8~13", "13~18", "18~23", ">23")
CLASSES = len(CLASS_NAMES)


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


def class_count(labels: np.ndarray, diameters_mm: np.ndarray) -> int:
    """How many classes known labels [N] are of: Table 2's eight where they are sizes.

    So a size class keeps its name everywhere, also where the largest classes are absent.
    """
    sized = np.isfinite(diameters_mm).any() and 1 < labels.max() < CLASSES
    return CLASSES if sized else int(labels.max()) + 1


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


def patients(items: Sequence[Item]) -> np.ndarray:
    """Whose each item is, str [N]: the patient, where unknown the scan; empty if that is too.

    A patient that one item of a scan names is that of all its items.
    """
    known = {item.scan: item.patient for item in items if item.scan and item.patient}
    return np.array([item.patient or known.get(item.scan, item.scan) for item in items], str)


def write_table(path: Path, items: Sequence[Item]) -> None:
    """Write `items` as CSV; NaN and empty text as blanks."""
    rows = [
        {k: "" if isinstance(v, float) and np.isnan(v) else v for k, v in vars(item).items()}
        for item in items
    ]
    files.write_csv(path, COLUMNS, rows)


def read_table(path: Path, required: Sequence[str] = ("image", "scan", "label")) -> list[Item]:
    """Read an item table; columns of `Item` that the file lacks are unknown.

    Raises:
      ValueError: a column of `required` is missing or a value is not a number; the message
        names file, line and column. All bad lines are reported together.
    """
    items, errors = [], []
    for line, row in enumerate(files.read_csv(path, required), start=2):
        where = f"{path}: line {line}"
        values: dict[str, object] = {}
        try:
            for field in dataclasses.fields(Item):
                if field.name not in row:
                    continue
                if field.type is str:
                    values[field.name] = row[field.name]
                elif field.type is float:
                    nan = float("nan")
                    values[field.name] = files.number(row, field.name, where=where, blank=nan)
                else:
                    value = files.number(row, field.name, where=where, blank=-1)
                    if value != int(value):
                        raise ValueError(f"{where}: {field.name} is {value}, not a whole number")
                    values[field.name] = int(value)
            if values.get("diameter_mm", 0.0) < 0:  # type: ignore[operator]
                raise ValueError(f"{where}: diameter_mm is {row['diameter_mm']}, below 0")
            items.append(Item(**values))  # type: ignore[arg-type]
        except ValueError as error:
            errors.append(str(error))
    if errors:
        more = f"\n... and {len(errors) - 10} more" if len(errors) > 10 else ""
        raise ValueError("\n".join(errors[:10]) + more)
    if not items:
        raise ValueError(f"{path}: no items, only a header")
    return items


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
