"""What the stages of a run leave for each other, and how it is loaded.

Networks are loaded by `inres.pipeline.networks`: most programs that open a run use none.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres import sources
from inres.config import Config, ConfigError
from inres.data import item_store, items, properties, splits
from inres.data.properties import PropertyScale
from inres.encoding.binarize import FineScale
from inres.encoding.encoded import Encoded
from inres.encoding.linear_codes import Hyperplanes
from inres.encoding.representation import Known, Representation, Weights
from inres.pipeline import stages
from inres.system import files

# --- prepare and split ----------------------------------------------------------------------------


def open_items(workdir: Path) -> item_store.ItemStore:
    """The item table with its images, which are read one by one."""
    return item_store.open_store(workdir / "prepare")


SPLIT_AGAIN = "run the split stage again"
SPLIT_COLUMNS = ("item", "scan", "patient", "label", "side")


def sides(workdir: Path, items: int) -> np.ndarray:
    """The side of every item, str [N]: `train`, `val`, `test`, or empty for items left out.

    Raises:
      StageError: the split stage is not complete.
      ValueError: the table is damaged, or has another number of rows than `items`.
    """
    stages.done(workdir, "split")
    path = workdir / "split" / "split.csv"
    rows = files.read_csv(path, SPLIT_COLUMNS)
    if len(rows) != items:
        raise ValueError(f"{path}: {len(rows)} rows instead of {items}; {SPLIT_AGAIN}")
    return np.array([row["side"] for row in rows])


def leaks(workdir: Path) -> dict[str, Any]:
    """What stands on two sides of the split, as `inres.data.leaks` reports it."""
    path = workdir / "split" / "leaks.json"
    needed = ("items", "test_items_of_shared", "nodule_share", "left_out")
    return files.read_object(path, needed, remedy=SPLIT_AGAIN)


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Items with known classes, and the split."""

    items: tuple[items.Item, ...]
    labels: np.ndarray
    """int32 [N]"""
    side: np.ndarray
    """str [N], `train`, `val`, `test` or empty."""
    class_names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def on(self, *sides: str) -> np.ndarray:
        """Rows of the items on the given sides, int64 [n], ascending."""
        return np.flatnonzero(np.isin(self.side, sides))

    def archived(self, sides: Sequence[str] = ("train", "val")) -> np.ndarray:
        """Rows of the items in the index, which holds training and validation items.

        Of a nodule that trains with several slices, only the central one is archived.

        Args:
          sides: only items on these sides.
        """
        return np.flatnonzero(np.isin(self.side, sides) & self._central)

    @property
    def _central(self) -> np.ndarray:
        """bool [N]: central slices, and images of their own."""
        return np.array([not item.offset_mm for item in self.items])


def training_rows(config: Config, store: item_store.ItemStore, data: Labelled) -> np.ndarray:
    """Rows of the items that the network is trained on, int64 [n], ascending.

    Of a folder's nodules these are the central slices: the others look smaller than the diameter
    and the class that they are labelled by. Further slices of a scan are within half a radius
    (`items.slices_per_nodule`) and for training, except where the network sees them anyway, next to
    the central one.
    """
    if store.neighbours is None and not sources.get(config.data.kind).ready_made:
        return data.on("train")
    return data.archived(("train",))


def labelled(store: item_store.ItemStore, workdir: Path) -> Labelled:
    """Labels and split of the items.

    Raises:
      ConfigError: items have no labels, there is one class only, or a class is not trained.
    """
    labels = store.column("label").astype(np.int32)
    table = store.root / "items.csv"
    if np.any(labels < 0):
        raise ConfigError(f"{table}: items without a label; only the segment stage can use them")
    side = sides(workdir, len(store.items))
    splits.require_trained(labels, side, table)
    names = store.class_names or items.class_names(labels, store.column("diameter_mm"))
    return Labelled(store.items, labels, side, names)


# --- segment --------------------------------------------------------------------------------------

MASKS = "masks.rows"
"""The U-Net's masks in the stage's directory, where it made any."""
SEGMENT_AGAIN = "run the segment stage again"


def slice_spacing_mm(config: Config) -> float:
    """Pixel side of the stored slices; 0 for images of a folder, where it is unknown."""
    return sources.get(config.data.kind).pixel_mm(config.items)


# --- train ----------------------------------------------------------------------------------------


def network_inputs(train: Path) -> np.ndarray:
    """Network input of every item, memory-mapped from the stage `train`: uint8 [N, S, S, C]."""
    return files.load_array(train / "inputs.npy", "run the train stage again", mmap=True)


PROPERTIES = "properties.json"
SHAPE = "shape.json"
TRAIN_AGAIN = "run the train stage again"


def save_property_scale(folder: Path, scale: PropertyScale) -> None:
    """Write which properties are learned, and their scale."""
    files.write_json(folder / PROPERTIES, scale.as_json())


def load_property_scale(folder: Path, remedy: str = TRAIN_AGAIN) -> PropertyScale:
    """The scale of the properties, from the stage `train` or an exported run.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
    """
    path = folder / PROPERTIES
    try:
        return PropertyScale.from_json(files.read_json(path, remedy=remedy))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error}); {remedy}") from None


def save_reach(folder: Path, reach: int) -> None:
    """Write how many planes on each side of the middle one are visible of an item."""
    files.write_json(folder / SHAPE, {"reach": reach})


def load_reach(folder: Path) -> int:
    """How many planes on each side of the middle one are visible of a query.

    Raises:
      ValueError: the file is missing or damaged; names it.
    """
    path = folder / SHAPE
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {TRAIN_AGAIN}")
    value = files.read_json(path, remedy=TRAIN_AGAIN)
    reach = value.get("reach") if isinstance(value, dict) else None
    if type(reach) is not int or reach < 0:
        raise ValueError(f"{path}: damaged ({value!r:.60}); {TRAIN_AGAIN}")
    return reach


# --- index ----------------------------------------------------------------------------------------


def save_embeddings(path: Path, encoded: Encoded) -> None:
    """Write the layers as `.npz`."""
    with files.atomic_path(path) as part:
        np.savez(part, **vars(encoded))


INDEX_AGAIN = "run the index stage again"


def load_embeddings(index: Path, remedy: str = INDEX_AGAIN) -> Encoded:
    """The layers of every item, in the order of the item table, memory-mapped.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
    """
    path = index / "embeddings.npz"
    layers = tuple(field.name for field in dataclasses.fields(Encoded))
    encoded = Encoded(**files.load_arrays(path, layers, remedy, mmap=True))
    shapes = [array.shape for array in vars(encoded).values()]
    if any(len(shape) != 2 for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"{path}: damaged (arrays of shapes {shapes}); {remedy}")
    return encoded


KIND = "kind.json"


def save_kind(folder: Path, class_names: Sequence[str], item_side_px: int) -> None:
    """Write what the items of an index are: the names of their classes, and the images' side."""
    files.write_json(
        folder / KIND, {"class_names": list(class_names), "item_side_px": item_side_px}
    )


def load_kind(index: Path) -> tuple[tuple[str, ...], int]:
    """The names of the classes, and the side of an image in pixels, from the stage `index`.

    Raises:
      ValueError: the file is missing or damaged; names it.
    """
    path = index / KIND
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {INDEX_AGAIN}")
    value = files.read_json(path, remedy=INDEX_AGAIN)
    try:
        names, side = tuple(value["class_names"]), value["item_side_px"]
        if type(side) is int and all(isinstance(name, str) for name in names):
            return names, side
    except (KeyError, TypeError):
        pass
    raise ValueError(f"{path}: damaged ({value!r:.60}); {INDEX_AGAIN}")


def save_hyperplanes(path: Path, hyperplanes: Hyperplanes) -> None:
    """Write the hyperplanes as `.npz`."""
    with files.atomic_path(path) as part:
        np.savez(part, mean=hyperplanes.mean, planes=hyperplanes.planes)


def load_hyperplanes(config: Config, index: Path, remedy: str = INDEX_AGAIN) -> Hyperplanes | None:
    """The hyperplanes of the code; None where it is H at 0.5.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
    """
    if config.hash.code == "latent":
        return None
    return Hyperplanes(**files.load_arrays(index / "planes.npz", ("mean", "planes"), remedy))


def load_scale(index: Path) -> FineScale:
    """The scales with which the index joins FC1 and FC3.

    Raises:
      ValueError: the file is damaged; names it.
    """
    path = index / "scale.json"
    try:
        return to_scale(files.read_json(path, remedy=INDEX_AGAIN))
    except TypeError as error:
        raise ValueError(f"{path}: damaged ({error}); {INDEX_AGAIN}") from None


def to_scale(value: object) -> FineScale:
    """A scale from JSON.

    Raises:
      TypeError: `value` is not a mapping with the numbers fc1 and fc3.
    """
    names = tuple(field.name for field in dataclasses.fields(FineScale))
    if isinstance(value, dict) and value.keys() == {*names}:
        numbers = {name: value[name] for name in names}
        if all(type(number) in (int, float) for number in numbers.values()):
            return FineScale(**numbers)
    raise TypeError(f"must be the numbers {' and '.join(names)}, is {value!r:.60}")


def representation(
    config: Config,
    scale: FineScale,
    learned: PropertyScale,
    class_names: tuple[str, ...],
    hyperplanes: Hyperplanes | None = None,
) -> Representation:
    """Codes and features as `config` describes them, with what was fitted."""
    weights = Weights.of(
        learned,
        classes=config.search.class_weight,
        fc1=config.search.fc1_weight,
        size=config.search.size_weight,
        given=config.properties.weights(),
    )
    return Representation(
        config.hash.code,
        config.search.features,
        scale,
        weights,
        items.no_nodule_class(class_names),
        hyperplanes,
    )


def known_of(config: Config, given: Sequence[items.Item], scale: PropertyScale) -> Known | None:
    """What the records of archived items say; None where the archive does not use it."""
    if not config.hash.records:
        return None
    labels = np.array([item.label for item in given], np.int32)
    return Known(labels, scale.standardise(properties.table(given, scale.names)))


def least_pool(config: Config, items: int) -> int:
    """Number of items that a pool holds at least in an archive of so many."""
    return math.ceil(config.search.least_pool * items)


def load_codes_alone(index: Path) -> np.ndarray | None:
    """Codes of the test items without their neighbours, bool [T, h]; None without neighbours."""
    path = index / "alone.npy"
    return files.load_array(path, INDEX_AGAIN) if path.is_file() else None
