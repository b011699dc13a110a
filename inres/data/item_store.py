"""The item store: a table with one row per item, and images that are read one by one.

On disk, a folder; files .rows (`inres.system.rows`) are compressed item by item:
  items.csv            one row per item, with the fields of `Item` as columns
  slices.rows          uint8 [N, S, S], HU windowed to 8 bits
  neighbours.rows      from scans: k slices below and k above each item, from the lowest up, uint8
                       [N, 2 k, S, S] (absent if none are configured)
  neighbours.npy       from a folder: their rows of `slices`, int32 [N, 2 k], -1 for none (likewise,
                       or if no item has any)
  known.npy            uint8 [N, 2 k], 0 where a neighbour would lie outside the scan (scans only)
  cubes.rows           uint8 [N, D, D, D], axes y, x, z, windowed (only if items are cubes)
  cube_states.rows     uint8 [N, D, D, D]: 0 unknown, 1 outside the lungs, 2 inside (likewise)
  lung_masks.rows      uint8 [N, S, S], 1 inside the lungs (absent if there are no masks)
  scans.csv            one row per scan: where it is, which series was read, its size, and notes
                       on what was decided (scans only)
  audit.csv            one row per nodule: share of its sphere inside each mask (scans only)
  audit_slices.rows    uint8 [2 M, S, S], planes below and above the centre of each nodule
  meta.json            window, spacing, counts and messages of the preparation
"""

import dataclasses
from pathlib import Path

import numpy as np

from inres.data.item_table import read_table
from inres.data.items import Item
from inres.system import files
from inres.system.rows import Images, open_images


@dataclasses.dataclass(frozen=True)
class ItemStore:
    """An item table with its images, opened from the folder `root`."""

    root: Path
    items: tuple[Item, ...]
    slices: Images
    """uint8 [N, S, S]."""
    lung_masks: Images | None
    """uint8 [N, S, S]; None if there are no masks."""
    neighbours: Images | None = None
    """uint8 [N, 2 k, S, S], or rows of `slices`, int32 [N, 2 k], -1 where there is no slice; None
    if there are no neighbours."""
    known: Images | None = None
    """uint8 [N, 2 k], which neighbours lie inside the scan; None where `neighbours` are rows."""
    cubes: Images | None = None
    """uint8 [N, D, D, D]; None if items are slices."""
    cube_states: Images | None = None
    """uint8 [N, D, D, D], as `inres.data.cubes.states`; None if items are slices."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label, as `stored_class_names`."""
        return stored_class_names(self.root)

    def column(self, name: str) -> np.ndarray:
        """A field of all items: an array [N]."""
        return np.array([getattr(item, name) for item in self.items])

    def planes(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """An item's slice between its neighbours, from the lowest up, and which of them exist.

        Returns:
          uint8 [2 k + 1, S, S], 0 where there is no slice, and bool [2 k + 1].
        """
        middle, known = np.asarray(self.slices[row])[None], self.known_planes(row)
        if self.neighbours is None:
            return middle, known
        others = np.asarray(self.neighbours[row])
        k = len(others) // 2
        if others.ndim == 1:
            exist = np.delete(known, k)[:, None, None]
            others = np.where(exist, self.slices[np.maximum(others, 0)], 0)
        return np.concatenate([others[:k], middle, others[k:]]), known

    def known_planes(self, row: int) -> np.ndarray:
        """Which planes of an item exist, from the lowest up: bool [2 k + 1], or [D] of a cube."""
        if self.cube_states is not None:
            middle = self.cube_states.shape[1] // 2
            return np.asarray(self.cube_states[row, middle, middle]) > 0
        if self.neighbours is None:
            return np.ones(1, bool)
        if self.neighbours.ndim == 2:
            others = self.neighbours[row] >= 0
        elif self.known is None:
            others = np.ones(self.neighbours.shape[1], bool)
        else:
            others = self.known[row] > 0
        return np.insert(others, len(others) // 2, True)


def stored_class_names(root: Path) -> tuple[str, ...]:
    """The names of classes that a store has in its meta.json; empty where there are none."""
    path = root / "meta.json"
    meta = files.read_json(path) if path.is_file() else {}
    return tuple(meta.get("class_names", ())) if isinstance(meta, dict) else ()


AGAIN = "run the prepare stage again"
OPTIONAL = ("neighbours.rows", "neighbours.npy", "known.npy", "cubes.rows", "cube_states.rows")
"""Files that a store has or lacks, depending on the config."""

_ARRAYS = {
    "slices": {("uint8", 3)},
    "lung_masks": {("uint8", 3)},
    "neighbours": {("uint8", 4), ("int32", 2)},
    "known": {("uint8", 2)},
    "cubes": {("uint8", 4)},
    "cube_states": {("uint8", 4)},
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
    arrays: dict[str, Images | None] = {}
    for name, kinds in _ARRAYS.items():
        array = open_images(root / name, AGAIN)
        if array is not None and (
            (array.dtype.name, array.ndim) not in kinds or len(array) != len(items)
        ):
            raise ValueError(
                f"{root / name}: {array.dtype} {array.shape}, but {root / 'items.csv'} has "
                f"{len(items)} rows of uint8 slices; {AGAIN}"
            )
        arrays[name] = array
    if arrays["slices"] is None:
        raise FileNotFoundError(f"{root / 'slices.rows'}: no such file; {AGAIN}")
    others = {name: array for name, array in arrays.items() if name != "slices"}
    return ItemStore(root, items, arrays["slices"], **others)
