"""Import of a folder with items.csv, or of plain pairs of images and masks, as an item store."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres import files
from inres.config import Config
from inres.ct.scan import read_image, to_grey8
from inres.data import views
from inres.data.items import Item, read_table, write_table
from inres.progress import progress


def folder_files(root: Path) -> list[Path]:
    """Every file that an import of `root` reads.

    Raises:
      FileNotFoundError: there is neither items.csv nor a pair of folders images/ and masks/.
    """
    items = read_folder(root)
    table = [root / "items.csv"] if (root / "items.csv").is_file() else []
    return table + [root / i.image for i in items] + [p for p in masks_of(root, items) if p]


def read_folder(root: Path) -> list[Item]:
    """The item table of a folder; without items.csv, the pairs of images/ and masks/, unlabelled.

    Raises:
      FileNotFoundError: neither is there, or images that the table names are missing.
      ValueError: the table is damaged, or it is mixed: some labels known, some not.
    """
    if (root / "items.csv").is_file():
        items = read_table(root / "items.csv")
        known = [item.label >= 0 for item in items]
        if any(known) and not all(known):
            line = known.index(False) + 2
            raise ValueError(f"{root / 'items.csv'}: line {line}: label is blank; give a class")
        missing = [item.image for item in items if not (root / item.image).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{root / missing[0]}: no such image ({len(missing)} of {len(items)} that "
                f"{root / 'items.csv'} names are missing); restore them or remove their rows"
            )
        return items
    images = sorted(p for p in (root / "images").glob("*") if p.is_file())
    if not images or not (root / "masks").is_dir():
        raise FileNotFoundError(
            f"{root / 'items.csv'}: no such file (columns image,scan,label and optionally "
            "nodule,diameter_mm,malignancy,split), nor a pair of folders images/ and masks/"
        )
    return [Item(f"images/{p.name}", p.stem, "", -1) for p in images]


def masks_of(root: Path, items: Sequence[Item]) -> list[Path | None]:
    """The lung mask of each item: the file of its image's name under masks/, if there are any.

    Raises:
      FileNotFoundError: some images have a mask and some have none.
    """
    if not (root / "masks").is_dir():
        return [None] * len(items)
    found = {p.stem: p for p in (root / "masks").glob("*")}
    masks = [found.get(Path(item.image).stem) for item in items]
    for item, mask in zip(items, masks, strict=True):
        if mask is None:
            raise FileNotFoundError(
                f"{root / 'masks' / Path(item.image).name}: no mask for {item.image}; "
                "add it, or remove masks/ to go without segmentation"
            )
    return masks


def load_image(path: Path, config: Config) -> np.ndarray:
    """One image of a folder, uint8 [S, S]: 8 bits as they are, signed values windowed as HU.

    Images that are not square are padded with the window's floor.

    Raises:
      ValueError: it cannot be read or is not one slice; names the file.
    """
    image = read_image(path)
    if image.ndim != 2:
        raise ValueError(f"{path}: shape {image.shape}; an item is one 2-D slice")
    window = config.items
    image = to_grey8(image, hu_min=window.hu_min, hu_max=window.hu_max, name=str(path))
    size = max(image.shape)
    center = (image.shape[0] // 2, image.shape[1] // 2)
    return views.canvas(image, center=center, size=size)


def neighbour_rows(items: Sequence[Item], k: int) -> np.ndarray | None:
    """Rows of the `k` slices below and above each item, from the lowest up: int32 [N, 2 k].

    Neighbours are slices of the same nodule, in the order of z_mm where all of it are known, else
    in that of the table; at an end its last slice is repeated. None where nothing has any.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for row, item in enumerate(items):
        groups.setdefault((item.scan, item.nodule or f"\n{row}"), []).append(row)
    if not k or max(map(len, groups.values())) < 2:
        return None
    reach = np.array([j for j in range(-k, k + 1) if j])
    found = np.empty((len(items), 2 * k), np.int32)
    for rows in groups.values():
        if all(np.isfinite(items[row].z_mm) for row in rows):
            rows = sorted(rows, key=lambda row: items[row].z_mm)
        for place, row in enumerate(rows):
            found[row] = np.array(rows)[np.clip(place + reach, 0, len(rows) - 1)]
    return found


def _sizes(config: Config, paths: Sequence[Path]) -> tuple[dict[Path, int], list[str]]:
    """Side of every image that can be read, and what is wrong with the others."""
    sizes, problems = {}, []
    for path in progress(paths, name="check images", unit="image"):
        try:
            sizes[path] = len(load_image(path, config))
        except ValueError as error:
            problems.append(str(error))
    return sizes, problems


def prepare_folder(config: Config, *, root: Path, out: Path) -> None:
    """Write the item store of the folder `root` to `out`; all bad files are found first.

    One image at a time is held in memory.

    Raises:
      ValueError, FileNotFoundError: named in `read_folder`, `masks_of` and `load_image`; also
        where an image's or mask's size is not that of the others.
    """
    items = read_folder(root)
    images = [root / item.image for item in items]
    masks = [mask for mask in masks_of(root, items) if mask]
    sizes, problems = _sizes(config, images + masks)
    usual = Counter(sizes.values()).most_common(1)[0][0] if sizes else 0
    problems += [
        f"{path}: {size} pixels a side, but most images here have {usual}; all images and masks "
        "of a folder must be of one size"
        for path, size in sizes.items()
        if size != usual
    ]
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError("\n".join(problems[:10]) + more)
    shape = (len(items), usual, usual)
    with files.array_file(out / "slices.npy", shape) as file:
        for path in progress(images, name="write images", unit="image"):
            file.write(load_image(path, config).tobytes())
    (out / "neighbours.npy").unlink(missing_ok=True)
    beside = neighbour_rows(items, config.items.neighbours)
    if beside is not None:
        with files.atomic_path(out / "neighbours.npy") as part:
            np.save(part, beside)
    if masks:
        with files.array_file(out / "lung_masks.npy", shape) as file:
            for path in progress(masks, name="write masks", unit="mask"):
                file.write((load_image(path, config) > 0).astype(np.uint8).tobytes())
    counts = Counter(item.label for item in items)
    files.write_json(
        out / "meta.json",
        {
            "source": "folder",
            "window_hu": [config.items.hu_min, config.items.hu_max],
            "classes": {str(k): v for k, v in sorted(counts.items())},
            "messages": [],
        },
    )
    # The table makes the store; it comes last. A crop has no point of its own: row, col unknown.
    nan = float("nan")
    write_table(out / "items.csv", [dataclasses.replace(item, row=nan, col=nan) for item in items])
