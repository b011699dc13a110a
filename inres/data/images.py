"""The images of a folder: read, checked together, and turned into 8-bit squares.

The type of an image says what its values mean, and a set of images is checked against that: 8-bit
grey, 16 bits over the full range, or HU in a signed or floating type.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres.config import Items
from inres.ct.hu import image_problem, measured
from inres.ct.image import read_image, to_grey8, twelve_bits
from inres.data.views import canvas
from inres.system.messages import listed
from inres.system.progress import progress

MASK_VALUES = 8
"""Most different values of a mask, which may label more than lungs; lossy files have dozens."""


@dataclasses.dataclass(frozen=True)
class Look:
    """Shape, type and range of an image."""

    shape: tuple[int, ...]
    dtype: np.dtype
    low: float
    high: float
    """The 99 % quantile, so that pixels of metal or burnt-in text do not count."""


def load_images(paths: Sequence[Path], config: Items) -> Iterator[np.ndarray]:
    """The images of one set, each as `grey_square` returns it, read once.

    Raises:
      ValueError: after the last image; names every file with a problem, and any of the whole set.
    """
    looks, problems = {}, []
    for path in progress(paths, name="read images", unit="image"):
        try:
            looks[path], grey = _look(path, config)
        except ValueError as error:
            problems.append(str(error))
            continue
        yield _square(grey)
    refuse(problems + _scale_problems(looks))


def grey_square(image: np.ndarray, config: Items, *, name: str) -> np.ndarray:
    """An image [Y, X] as 8-bit grey, padded to a square: uint8 [S, S].

    Values in HU are windowed by `config`; the padding is 0, the window's floor.

    Raises:
      ScanError: a type of unknown scale (see `to_grey8`); names the image by `name`.
    """
    return _square(to_grey8(image, hu_min=config.hu_min, hu_max=config.hu_max, name=name))


def load_image(path: Path, config: Items) -> np.ndarray:
    """One image of a set that was checked, as `grey_square` returns it."""
    return grey_square(_read_slice(path), config, name=str(path))


def load_mask(path: Path) -> np.ndarray:
    """A mask of any type as uint8 [S, S]: 1 where it is not 0, padded to a square.

    Raises:
      ValueError: it cannot be read, is not one slice, or has too many values; names the file.
    """
    return _square(_lung(_read_slice(path), path))


def check_images(paths: Sequence[Path], config: Items) -> tuple[dict[Path, Look], int, list[str]]:
    """Read every image and check the set.

    Returns:
      The looks of the images that can be read, the side of most of them in pixels, and all
      problems: files that cannot be read, other sizes, values that do not fit their type.
    """
    looks, problems = {}, []
    for path in progress(paths, name="check images", unit="image"):
        try:
            looks[path], _ = _look(path, config)
        except ValueError as error:
            problems.append(str(error))
    sides = {path: max(look.shape) for path, look in looks.items()}
    usual = Counter(sides.values()).most_common(1)[0][0] if sides else 0
    problems += [
        f"{path}: {side} pixels a side, but most images here have {usual}; all images of a folder "
        "must have the same size"
        for path, side in sides.items()
        if side != usual
    ]
    return looks, usual, problems + _scale_problems(looks)


def check_masks(
    images: Sequence[Path], masks: Sequence[Path], looks: Mapping[Path, Look]
) -> list[str]:
    """Problems of the masks of images: unreadable, or of another shape than the image."""
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
                f"{_by(looks[image].shape)}; save the mask on the grid of its image"
            )
    return problems


def refuse(problems: Sequence[str]) -> None:
    """Raise a ValueError that lists the first problems; do nothing if there are none."""
    if problems:
        raise ValueError(listed(problems))


def _look(path: Path, config: Items) -> tuple[Look, np.ndarray]:
    """Look of an image, and the image in 8-bit grey, not yet square."""
    image = _read_slice(path)
    grey = to_grey8(image, hu_min=config.hu_min, hu_max=config.hu_max, name=str(path))
    known = measured(image)
    if not len(known):
        raise ValueError(
            f"{path}: not one finite pixel, other than padding; replace the image or remove its row"
        )
    low, high = float(known.min()), float(np.quantile(known, 0.99))
    return Look(image.shape, image.dtype, low, high), grey


def _scale_problems(looks: Mapping[Path, Look]) -> list[str]:
    """Problems of a set whose values do not fit what their type stands for."""
    grey = {path: look for path, look in looks.items() if look.dtype == np.uint8}
    wide = {path: look for path, look in looks.items() if look.dtype == np.uint16}
    hu = {path: look for path, look in looks.items() if path not in grey and path not in wide}
    kinds = [kind for kind in (grey, wide, hu) if kind]
    if len(kinds) > 1:
        names = [f"{path} ({look.dtype})" for path, look in (next(iter(k.items())) for k in kinds)]
        return [f"{', '.join(names)}: two scales of grey in one folder; save all in one type"]
    problems = []
    problems += [
        f"{path}: {look.dtype} pixels are taken for HU, but all are from {look.low:g} to "
        f"{look.high:g}, a scale from 0 to 1; save HU, or 8 bits"
        for path, look in hu.items()
        if 0 < look.high - look.low <= 1
    ]
    if hu and not problems:
        path = min(hu, key=lambda path: hu[path].low)
        high = max(look.high for look in hu.values())
        if wrong := image_problem(hu[path].low, high):
            problems.append(
                f"{path}: {hu[path].dtype} pixels are taken for HU, but of all {len(hu)} images "
                f"{wrong}; save HU, or 8 bits"
            )
    if wide:
        low = min(look.low for look in wide.values())
        high = max(look.high for look in wide.values())
        if wrong := twelve_bits(low, high):
            problems.append(f"{next(iter(wide))}: {wrong} (range of all {len(wide)} images)")
    return problems


def _read_slice(path: Path) -> np.ndarray:
    image = read_image(path)
    if image.ndim != 2:
        raise ValueError(f"{path}: shape {image.shape}; an item is one 2-D slice")
    return image


def _lung(mask: np.ndarray, path: Path) -> np.ndarray:
    """A mask as uint8, 0 or 1."""
    values = len(np.unique(mask))
    if values > MASK_VALUES:
        raise ValueError(
            f"{path}: {values} different values, but a mask has 0 and a label; save it in a "
            "lossless format such as PNG"
        )
    return (mask > 0).astype(np.uint8)


def _square(image: np.ndarray) -> np.ndarray:
    center = (image.shape[0] // 2, image.shape[1] // 2)
    return canvas(image, center=center, size=max(image.shape))


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape[::-1]))
