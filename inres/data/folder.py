"""Import of a folder with items.csv, or of plain pairs of images and masks, as an item store."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres.config import Config, Items
from inres.ct.image import read_image, to_grey8, twelve_bits
from inres.data import views
from inres.data.items import COLUMNS, Item, nodule_names, read_table, unread_columns, write_table
from inres.system import files
from inres.system.progress import progress

MASK_VALUES = 8
"""A mask may tell the lungs and more apart; one saved with loss has dozens of values."""
DENSEST_LOW_HU = -200.0
"""Among many slices or crops of lungs some pixel is air, far below this."""


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
      ValueError: the table is damaged; see `read_table`.
    """
    if (root / "items.csv").is_file():
        items = read_table(root / "items.csv", filled=("image",))
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
            "patient,nodule,z_mm,diameter_mm,malignancy,subset,split), nor a pair of folders "
            "images/ and masks/"
        )
    return [Item(f"images/{p.name}", p.stem, "", -1) for p in images]


def masks_of(root: Path, items: Sequence[Item]) -> list[Path | None]:
    """The lung mask of each item, if there are any: where its image lies, under masks/.

    That of images/p0/a.png is masks/p0/a.png, of any kind of file; masks/a.png will do where no
    other image has that name.

    Raises:
      FileNotFoundError: some images have a mask and some have none.
      ValueError: two images have the same one.
    """
    if not (root / "masks").is_dir():
        return [None] * len(items)
    files_there = (p for p in (root / "masks").rglob("*") if p.is_file())
    found = {_bare(p.relative_to(root / "masks")): p for p in files_there}
    owners: dict[Path, str] = {}
    for item in items:
        path = Path(item.image)
        below = Path(*path.parts[1:]) if path.parts[0] == "images" else path
        mask = found.get(_bare(below)) or found.get(_bare(Path(path.name)))
        if mask is None:
            raise FileNotFoundError(
                f"{root / 'masks' / below}: no mask for {item.image}; "
                "add it, or remove masks/ to go without segmentation"
            )
        if mask in owners:
            raise ValueError(
                f"{mask}: the mask of {owners[mask]} and of {item.image}; put the masks under "
                "masks/ as the images lie under images/"
            )
        owners[mask] = item.image
    return list(owners)


def _bare(path: Path) -> str:
    """A file's place without what its kind adds to the name."""
    return str(path.with_name(path.name.removesuffix(".gz")).with_suffix(""))


def load_images(config: Config, paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """The images of one set, each as `grey_square` gives it, read once.

    Raises:
      ValueError: at the end; names the files, and what is wrong with each or with all together.
    """
    looks, problems = {}, []
    for path in progress(paths, name="read images", unit="image"):
        try:
            looks[path], grey = _looked(path, config)
        except ValueError as error:
            problems.append(str(error))
            continue
        yield _square(grey)
    _refuse(problems + _scale_problems(looks))


def grey_square(image: np.ndarray, config: Items, *, name: str) -> np.ndarray:
    """An image [Y, X] of a folder as its item shows it: uint8 [S, S], 8-bit grey, padded.

    Raises:
      ScanError: a type without a known scale; see `to_grey8`. `name` is named.
    """
    return _square(to_grey8(image, hu_min=config.hu_min, hu_max=config.hu_max, name=name))


def load_mask(path: Path) -> np.ndarray:
    """One mask of a folder, uint8 [S, S], 0 or 1: any type, all but 0 is lung.

    Raises:
      ValueError: it cannot be read, is not one slice, or has many values; names the file.
    """
    return _square(_lung(_read_slice(path), path))


def _grey(image: np.ndarray, path: Path, config: Config) -> np.ndarray:
    window = config.items
    return to_grey8(image, hu_min=window.hu_min, hu_max=window.hu_max, name=str(path))


def _lung(mask: np.ndarray, path: Path) -> np.ndarray:
    values = len(np.unique(mask))
    if values > MASK_VALUES:
        raise ValueError(
            f"{path}: {values} different values; a mask has 0 and a label, so save it without "
            "loss, as PNG"
        )
    return (mask > 0).astype(np.uint8)


def _read_slice(path: Path) -> np.ndarray:
    image = read_image(path)
    if image.ndim != 2:
        raise ValueError(f"{path}: shape {image.shape}; an item is one 2-D slice")
    return image


def _square(image: np.ndarray) -> np.ndarray:
    center = (image.shape[0] // 2, image.shape[1] // 2)
    return views.canvas(image, center=center, size=max(image.shape))


def neighbour_rows(items: Sequence[Item], k: int) -> np.ndarray | None:
    """Rows of the `k` slices below and above each item, from the lowest up: int32 [N, 2 k].

    Neighbours are slices of the same nodule, in the order of z_mm where it is known, else in that
    of the table; at an end its last slice is repeated. None where nothing has any.

    Raises:
      ValueError: z_mm is known of some slices of a nodule and not of others.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (item, nodule) in enumerate(zip(items, nodule_names(items), strict=True)):
        groups.setdefault((item.scan, nodule or f"\n{row}"), []).append(row)
    if not k or max(map(len, groups.values())) < 2:
        return None
    reach = np.array([j for j in range(-k, k + 1) if j])
    found = np.empty((len(items), 2 * k), np.int32)
    for rows in groups.values():
        known = [bool(np.isfinite(items[row].z_mm)) for row in rows]
        if any(known) and not all(known):
            item = items[rows[known.index(False)]]
            raise ValueError(
                f"{item.image}: z_mm is blank, but known of other slices of nodule "
                f"{item.nodule!r} of scan {item.scan!r}; give all of them or none"
            )
        if all(known):
            rows = sorted(rows, key=lambda row: items[row].z_mm)
        ordered, places = np.array(rows), np.arange(len(rows))[:, None]
        found[ordered] = ordered[np.clip(places + reach, 0, len(rows) - 1)]
    return found


@dataclasses.dataclass(frozen=True)
class _Look:
    """What is to be known of an image before any is taken."""

    shape: tuple[int, ...]
    dtype: np.dtype
    low: float
    high: float
    """99 % of the pixels are no higher: one of metal or burnt in says nothing of the others."""


def _looks(config: Config, paths: Sequence[Path]) -> tuple[dict[Path, _Look], list[str]]:
    """Of every image that can be read, and what is wrong with the others."""
    looks, problems = {}, []
    for path in progress(paths, name="check images", unit="image"):
        try:
            looks[path], _ = _looked(path, config)
        except ValueError as error:
            problems.append(str(error))
    return looks, problems


def _looked(path: Path, config: Config) -> tuple[_Look, np.ndarray]:
    """An image with what is to be known of it: 8-bit grey, not yet square."""
    image = _read_slice(path)
    grey = _grey(image, path, config)
    known = image[np.isfinite(image)]
    if not len(known):
        raise ValueError(f"{path}: not one finite pixel")
    low, high = float(known.min()), float(np.quantile(known, 0.99))
    return _Look(image.shape, image.dtype, low, high), grey


def _scale_problems(looks: Mapping[Path, _Look]) -> list[str]:
    """Where the values of all images together are not what their type is taken for."""
    grey = {path: look for path, look in looks.items() if look.dtype == np.uint8}
    wide = {path: look for path, look in looks.items() if look.dtype == np.uint16}
    hu = {path: look for path, look in looks.items() if path not in grey and path not in wide}
    kinds = [kind for kind in (grey, wide, hu) if kind]
    if len(kinds) > 1:
        names = [f"{path} ({look.dtype})" for path, look in (next(iter(k.items())) for k in kinds)]
        return [f"{', '.join(names)}: two scales of grey in one folder; save all in one type"]
    problems = []
    if hu:
        path = min(hu, key=lambda path: hu[path].low)
        if hu[path].low > DENSEST_LOW_HU:
            problems.append(
                f"{path}: {hu[path].dtype} pixels are taken as HU, but the lowest of all "
                f"{len(hu)} images, {hu[path].low:g}, is no lung's; save HU, or 8 bits"
            )
    if wide:
        low, high = (
            f(getattr(w, n) for w in wide.values()) for f, n in ((min, "low"), (max, "high"))
        )
        if wrong := twelve_bits(low, high):
            problems.append(f"{next(iter(wide))}: {wrong} (of all {len(wide)} images)")
    return problems


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError("\n".join(problems[:10]) + more)


def _mask_problems(
    images: Sequence[Path], masks: Sequence[Path], looks: Mapping[Path, _Look]
) -> list[str]:
    problems = []
    pairs = zip(images, masks, strict=True)
    for image, mask in progress(pairs, name="check masks", total=len(masks), unit="mask"):
        try:
            shape = _lung(_read_slice(mask), mask).shape
        except ValueError as error:
            problems.append(str(error))
            continue
        if image in looks and shape != looks[image].shape:
            problems.append(
                f"{mask}: {_by(shape)} pixels, but its image {image.name} has "
                f"{_by(looks[image].shape)}"
            )
    return problems


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape[::-1]))


def _notes(items: Sequence[Item]) -> list[str]:
    """What can be meant, but hardly is."""
    sized = sum(item.label == 0 and item.diameter_mm > 0 for item in items)
    sizeless = sum(item.label > 0 and item.diameter_mm == 0 for item in items)
    notes = (
        (
            sized,
            f"{sized} items of class 0 have a diameter, but 0 stands for no nodule: nDCG and "
            "ordinal codes hold it as far from class 1 as from all others; number classes of "
            "nodules from 1",
        ),
        (
            sizeless,
            f"{sizeless} items of classes above 0 have a diameter of 0 mm, which stands for no "
            "nodule; leave it blank where it is unknown",
        ),
    )
    return [text for count, text in notes if count]


def _unread(table: Path) -> list[str]:
    """A misnamed column would else be missed by nobody."""
    names = unread_columns(table) if table.is_file() else []
    known = ", ".join(name for name in COLUMNS if name not in ("row", "col", "offset_mm"))
    told = f"{table}: columns not read: {', '.join(names)}; those that are: {known}"
    return [told] if names else []


def prepare_folder(config: Config, *, root: Path, out: Path) -> None:
    """Write the item store of the folder `root` to `out`; all bad files are found first.

    One image at a time is held in memory.

    Raises:
      ValueError, FileNotFoundError: named in `read_folder`, `masks_of`, `neighbour_rows`,
        `grey_square` and `load_mask`; also where an image's size is not that of the others, a
        mask's not its image's, or the values of the images are not what their type stands for.
    """
    items = read_folder(root)
    images = [root / item.image for item in items]
    masks = [mask for mask in masks_of(root, items) if mask]
    beside = neighbour_rows(items, config.items.neighbours)
    looks, problems = _looks(config, images)
    sizes = {path: max(look.shape) for path, look in looks.items()}
    usual = Counter(sizes.values()).most_common(1)[0][0] if sizes else 0
    problems += [
        f"{path}: {size} pixels a side, but most images here have {usual}; all images of a "
        "folder must be of one size"
        for path, size in sizes.items()
        if size != usual
    ]
    problems += _scale_problems(looks)
    if masks:
        problems += _mask_problems(images, masks, looks)
    _refuse(problems)
    shape = (len(items), usual, usual)
    with files.array_file(out / "slices.npy", shape) as file:
        for path in progress(images, name="write images", unit="image"):
            file.write(_square(_grey(_read_slice(path), path, config)).tobytes())
    (out / "neighbours.npy").unlink(missing_ok=True)
    if beside is not None:
        with files.atomic_path(out / "neighbours.npy") as part:
            np.save(part, beside)
    if masks:
        with files.array_file(out / "lung_masks.npy", shape) as file:
            for path in progress(masks, name="write masks", unit="mask"):
                file.write(load_mask(path).tobytes())
    counts = Counter(item.label for item in items)
    files.write_json(
        out / "meta.json",
        {
            "source": "folder",
            "window_hu": [config.items.hu_min, config.items.hu_max],
            "classes": {str(k): v for k, v in sorted(counts.items())},
            "messages": [*_notes(items), *_unread(root / "items.csv")],
        },
    )
    # The table makes the store; it comes last. A crop has no point of its own: row, col unknown.
    nan = float("nan")
    write_table(out / "items.csv", [dataclasses.replace(item, row=nan, col=nan) for item in items])
