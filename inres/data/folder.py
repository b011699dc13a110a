"""A folder with items.csv, or with pairs of images and masks, as an item store."""

import dataclasses
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from inres.config import Config, Items
from inres.data import images, item_store, labels, stacks, views
from inres.data.item_table import COLUMNS, read_table, text_names, write_table
from inres.data.items import Item, nodule_names
from inres.system import files
from inres.system.checks import require
from inres.system.progress import progress
from inres.system.rows import rows_file

_WIDTH_TOLERANCE = 0.01
"""Relative difference of a width from `crop_mm` that is a matter of rounding."""


_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
"""Encodings of letters with accents."""


@dataclasses.dataclass(frozen=True)
class Stack:
    """The slices of one nodule, or the slice of an item without a name."""

    central: int
    """Row of the central slice."""
    rows: tuple[int, ...]
    """Rows of all slices, from the lowest up."""
    z_mm: np.ndarray
    """float64 [C], their positions along the body axis."""


def prepare_folder(config: Config, *, root: Path, out: Path) -> None:
    """Write the item store of the folder `root` to `out`; all bad files are found first.

    One image at a time is held in memory, and of cubes one nodule. Where items are cubes, only the
    central slice of a nodule is an item; the others are part of its cube.

    Raises:
      ConfigError: cubes are to be wider than the images.
      ValueError, FileNotFoundError: as `read_folder`, `masks_of`, `neighbour_rows` and
        `nodule_stacks`; or an image or mask cannot be read, has another size than the others or
        than its image, or values that do not fit its type.
    """
    cubes = config.items.view == "cube"
    require(
        not cubes or config.items.cube_mm <= config.items.crop_mm,
        "items.cube_mm",
        config.items.cube_mm,
        f"at most items.crop_mm = {config.items.crop_mm:g}, the width of the images",
    )
    by = labels.AUTO if config.items.label == "label" else config.items.label
    labelled = labels.label_items(read_folder(root), by, normal=shows_none)
    table = with_central_slices(labelled.items, "nodule" if cubes else config.items.unit)
    paths = [root / item.image for item in table]
    masks = [mask for mask in masks_of(root, table) if mask]
    neighbours = neighbour_rows(table, config.items.neighbours)
    nodules = nodule_stacks(table, config.items.slice_mm) if cubes else []
    looks, side, problems = images.check_images(paths, config.items)
    if masks:
        problems += images.check_masks(paths, masks, looks)
    problems += [*_higher_than_wide(looks), *_other_widths(table, side, config.items)] * cubes
    images.refuse(problems)
    for name in item_store.OPTIONAL:
        (out / name).unlink(missing_ok=True)
    items = table
    if cubes:
        _write_cubes(nodules, paths, masks, config.items, out)
        central = [stack.central for stack in nodules]
        items = [table[row] for row in central]
        paths, masks = ([each[row] for row in central] if each else [] for each in (paths, masks))
    shape = (len(items), side, side)
    with rows_file(out / "slices.rows", shape) as file:
        for path in progress(paths, name="write images", unit="image"):
            file.add(images.load_image(path, config.items)[None])
    if neighbours is not None:
        with files.atomic_path(out / "neighbours.npy") as part:
            np.save(part, neighbours)
    if masks:
        with rows_file(out / "lung_masks.rows", shape) as file:
            for path in progress(masks, name="write masks", unit="mask"):
                file.add(images.load_mask(path)[None])
    counts = Counter(item.label for item in items)
    meta = {
        "source": "folder",
        "window_hu": [config.items.hu_min, config.items.hu_max],
        "classes": {str(label): count for label, count in sorted(counts.items())},
        "class_names": labelled.names,
        "messages": [
            *_doubtful(items),
            *labelled.messages,
            *_kept_as_text(items, root / "items.csv"),
        ],
    }
    files.write_json(out / "meta.json", meta)
    # The table comes last, since it completes the store. A crop has no point of its own.
    nan = float("nan")
    write_table(out / "items.csv", [dataclasses.replace(item, row=nan, col=nan) for item in items])


def fields(config: Items) -> tuple[str, ...]:
    """The fields of `config` on which the store of a folder depends."""
    common = ("hu_min", "hu_max", "unit", "neighbours", "label")
    return (
        *common,
        *(("cube_mm", "cube_px", "crop_mm", "slice_mm") if config.view == "cube" else ()),
    )


def _higher_than_wide(looks: Mapping[Path, images.Look]) -> list[str]:
    """Problems of images whose width is not that of the square that they are padded to."""
    return [
        f"{path}: {look.shape[1]} x {look.shape[0]} pixels, higher than wide, so that cubes of it "
        "would have another scale than its width says; cut or pad it to a square"
        for path, look in looks.items()
        if look.shape[0] > look.shape[1]
    ]


def _other_widths(items: Sequence[Item], side: int, config: Items) -> list[str]:
    """Problems of images that are not `crop_mm` wide by the column width_mm or pixel_mm.

    Args:
      side: of the images, in pixels.
    """
    problems = []
    for item in items:
        widths = {"width_mm": item.value("width_mm"), "pixel_mm": side * item.value("pixel_mm")}
        for name, width in widths.items():
            if name in item.texts:
                problems.append(f"{item.image}: {name} is {item.texts[name]!r}, not a number")
            elif abs(width - config.crop_mm) > _WIDTH_TOLERANCE * config.crop_mm:
                problems.append(
                    f"{item.image}: {width:g} mm wide by its {name}, but config.items.crop_mm, the "
                    f"width of all images that cubes are made of, is {config.crop_mm:g}; correct "
                    "that, or resample the images to one width"
                )
    return problems


def _write_cubes(
    nodules: Sequence[Stack],
    paths: Sequence[Path],
    masks: Sequence[Path],
    config: Items,
    out: Path,
) -> None:
    """Write the cube of each stack, one after the other.

    Args:
      paths, masks: of all rows of the table; no masks: none of them has one.
    """
    shape = (len(nodules), *(config.cube_px,) * 3)
    with (
        rows_file(out / "cubes.rows", shape) as cubes,
        rows_file(out / "cube_states.rows", shape) as states,
    ):
        for stack in progress(nodules, name="write cubes", unit="nodule"):
            planes = np.stack([images.load_image(paths[row], config) for row in stack.rows])
            lungs = (
                np.stack([images.load_mask(masks[row]) for row in stack.rows]) if masks else None
            )
            centre = stack.z_mm[stack.rows.index(stack.central)]
            made = views.stack_cube(
                planes, lungs, stack.z_mm, centre, config, width_mm=config.crop_mm
            )
            for file, array in zip((cubes, states), made, strict=True):
                file.add(array[None])


def folder_files(root: Path) -> list[Path]:
    """Every file that an import of `root` reads.

    Raises:
      ValueError, FileNotFoundError: as `read_folder` and `masks_of`.
    """
    items = read_folder(root)
    table = [root / "items.csv"] if (root / "items.csv").is_file() else []
    return table + [root / i.image for i in items] + [p for p in masks_of(root, items) if p]


def read_folder(root: Path) -> list[Item]:
    """The item table of a folder; without items.csv, the files of images/, unlabelled.

    Raises:
      FileNotFoundError: there is neither items.csv nor a pair of folders images/ and masks/, or
        images that the table names are missing.
      ValueError: the table is damaged; see `read_table`.
    """
    table = root / "items.csv"
    if os.path.lexists(table):
        items = [_found(root, item) for item in read_table(table, filled=("image",))]
        checked = ((item.image, files.no_file(root / item.image)) for item in items)
        missing = [(image, wrong) for image, wrong in checked if wrong]
        if missing:
            image, wrong = missing[0]
            raise FileNotFoundError(
                f"{root / image}: {wrong} ({len(missing)} of {len(items)} images that {table} "
                "names are missing); restore them or remove their rows"
            )
        return items
    paths = sorted(p for p in (root / "images").glob("*") if not p.is_dir())
    if not paths or not (root / "masks").is_dir():
        raise FileNotFoundError(
            f"{root / 'items.csv'}: no such file (columns image,scan,label and optionally "
            "patient,nodule,z_mm,diameter_mm,malignancy,subset,split), nor a pair of folders "
            "images/ and masks/"
        )
    return [Item(f"images/{path.name}", path.stem, "", -1) for path in paths]


def _found(root: Path, item: Item) -> Item:
    """An item with the name of its image as the disk has it.

    The same letters may be encoded in two ways, and systems change them when they copy files.
    """
    for name in (item.image, *(unicodedata.normalize(form, item.image) for form in _FORMS)):
        if not files.no_file(root / name):
            return dataclasses.replace(item, image=name)
    return item


def masks_of(root: Path, items: Sequence[Item]) -> list[Path | None]:
    """The lung mask of each item, at the place of its image but under masks/; None without masks/.

    The mask of images/p0/a.png is masks/p0/a.png, of any file type; masks/a.png is accepted if no
    other image has that name.

    Raises:
      FileNotFoundError: some images have a mask and some have none.
      ValueError: two images have the same mask.
    """
    if not (root / "masks").is_dir():
        return [None] * len(items)
    present = (path for path in (root / "masks").rglob("*") if not path.is_dir())
    found = {_without_suffix(path.relative_to(root / "masks")): path for path in present}
    owners: dict[Path, str] = {}
    for item in items:
        path = Path(item.image)
        below = Path(*path.parts[1:]) if path.parts[0] == "images" else path
        mask = found.get(_without_suffix(below)) or found.get(_without_suffix(Path(path.name)))
        if mask is None:
            raise FileNotFoundError(
                f"{root / 'masks' / below}: no mask for {item.image}; "
                "add it, or remove masks/ to use no segmentation"
            )
        if mask in owners:
            raise ValueError(
                f"{mask}: the mask of {owners[mask]} and of {item.image}; arrange the files under "
                "masks/ as those under images/"
            )
        owners[mask] = item.image
    return list(owners)


def _without_suffix(path: Path) -> str:
    return str(path.with_name(path.name.removesuffix(".gz")).with_suffix(""))


def neighbour_rows(items: Sequence[Item], k: int) -> np.ndarray | None:
    """Rows of the `k` slices below and above each item, from the lowest up: int32 [N, 2 k].

    Neighbours are slices of the same nodule, ordered by z_mm, or where that is unknown as in the
    table; -1 beyond the ends. None where no item has a neighbour.

    Raises:
      ValueError: z_mm is known for some slices of a nodule but not for all.
    """
    groups = _nodules(items)
    if not k or max(map(len, groups.values())) < 2:
        return None
    found = np.empty((len(items), 2 * k), np.int32)
    for rows in groups.values():
        ordered = np.array(_by_height(items, rows))
        places = stacks.neighbour_places(len(rows), k)
        found[ordered] = np.where(places >= 0, ordered[places], -1)
    return found


def with_central_slices(items: Sequence[Item], unit: str) -> list[Item]:
    """Items with the distance of each slice from the central one of its nodule, as `offset_mm`.

    Slices with such a distance are for training only, so that a nodule is one item of the archive
    and one query. The central slice is that of `stacks.central_place`.

    Args:
      items: of a folder.
      unit: `nodule`, `slice` (nothing changes), or `auto`: `nodule` if z_mm is known for every
        slice of a nodule with several.

    Raises:
      ValueError: z_mm is known for some slices of a nodule but not for all.
    """
    groups = [rows for rows in _nodules(items).values() if len(rows) > 1]
    stacked = all(np.isfinite(items[row].z_mm) for rows in groups for row in rows)
    if unit == "slice" or (unit == "auto" and not stacked):
        return list(items)
    found = list(items)
    for rows in groups:
        ordered = _by_height(items, rows)
        heights = np.array([items[row].z_mm for row in ordered])
        if not np.isfinite(heights).all():
            heights = stacks.even_heights(len(ordered))
        central = stacks.central_place(heights)
        for place, row in enumerate(ordered):
            # Two slices at one height are two images: only one of them is the central one.
            offset = float(heights[place] - heights[central]) or float(place != central)
            found[row] = dataclasses.replace(items[row], offset_mm=offset)
    return found


def nodule_stacks(items: Sequence[Item], slice_mm: float) -> list[Stack]:
    """The stack of each nodule, in the order of their central slices in the table.

    Args:
      items: from `with_central_slices`.
      slice_mm: distance of slices where z_mm is unknown; 0: unknown.

    Raises:
      ValueError: the positions of a nodule's slices are unknown, or one occurs twice; names the
        image and the nodule.
    """
    found = []
    for rows in _nodules(items).values():
        ordered = _by_height(items, rows)
        first = items[ordered[0]]
        heights = np.array([items[row].z_mm for row in ordered])
        if not np.isfinite(heights).all():
            if len(rows) > 1 and not slice_mm:
                raise ValueError(
                    f"{first.image}: z_mm of nodule {first.nodule!r} of scan {first.scan!r} is "
                    "blank, but a cube needs it; fill it in, or set config.items.slice_mm to the "
                    "distance of the slices in mm"
                )
            heights = slice_mm * np.arange(len(ordered), dtype=np.float64)
        if np.any(np.diff(heights) <= 0):
            twice = int(np.flatnonzero(np.diff(heights) <= 0)[0])
            raise ValueError(
                f"{items[ordered[twice + 1]].image}: z_mm {heights[twice]:g} is that of "
                f"{items[ordered[twice]].image} too, but a cube needs different positions for the "
                f"slices of nodule {first.nodule!r}; correct one, or remove its row"
            )
        central = next(row for row in ordered if not items[row].offset_mm)
        found.append(Stack(central, tuple(ordered), heights))
    return sorted(found, key=lambda stack: stack.central)


def _nodules(items: Sequence[Item]) -> dict[tuple[str, str], list[int]]:
    """Rows of each nodule by scan and name; an item without a nodule is a group by itself."""
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (item, nodule) in enumerate(zip(items, nodule_names(items), strict=True)):
        groups.setdefault((item.scan, nodule or f"\n{row}"), []).append(row)
    return groups


def _by_height(items: Sequence[Item], rows: list[int]) -> list[int]:
    """The rows of one nodule from the lowest slice up."""
    known = [bool(np.isfinite(items[row].z_mm)) for row in rows]
    if any(known) and not all(known):
        item = items[rows[known.index(False)]]
        raise ValueError(
            f"{item.image}: z_mm is blank, but known for other slices of nodule "
            f"{item.nodule!r} of scan {item.scan!r}; fill in all of them or none"
        )
    return sorted(rows, key=lambda row: items[row].z_mm) if all(known) else rows


def _doubtful(items: Sequence[Item]) -> list[str]:
    """Messages about values that are possible but probably wrong."""
    sized = sum(item.label == 0 and item.diameter_mm > 0 for item in items)
    sizeless = sum(item.label > 0 and item.diameter_mm == 0 for item in items)
    messages = (
        (
            sized,
            f"{sized} items of class 0 have a diameter, but class 0 means no nodule: nDCG and "
            "ordinal codes treat it as equally far from all other classes; number classes of "
            "nodules from 1",
        ),
        (
            sizeless,
            f"{sizeless} items of classes above 0 have a diameter of 0 mm, which means no nodule; "
            "leave it blank where it is unknown",
        ),
    )
    return [text for count, text in messages if count]


def shows_none(item: Item) -> bool:
    """Whether an item shows no nodule."""
    return item.diameter_mm == 0 or (item.label == 0 and not item.diameter_mm > 0)


def _kept_as_text(items: Sequence[Item], table: Path) -> list[str]:
    """A message that names the columns of text, which are often misspelt ones."""
    names = ", ".join(text_names(items))
    known = ", ".join(name for name in COLUMNS if name not in ("row", "col", "offset_mm"))
    text = f"{table}: columns kept as text in the records: {names}; those with a meaning: {known}"
    return [text] if names else []
