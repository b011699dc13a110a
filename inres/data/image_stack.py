"""Images that a user gives as one query: a single image, or the slices of one nodule in order."""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.ct import dicom
from inres.ct.header import Header, ScanError, information, require_there
from inres.ct.image import read_image
from inres.ct.scan import read_header
from inres.data import stacks

VOLUMES = (".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz")
"""Formats whose header says how far the slices are apart, and how wide they are."""
PIXEL_SPACING = "0028|0030"
"""Without it, as in a picture of a screen, the pixels of a DICOM file have no size."""
Positions = Sequence[float] | np.ndarray
OBLIQUE = 0.05
"""Largest direction cosine off the axes of a volume whose slices count as axial: 3 degrees."""


@dataclasses.dataclass(frozen=True)
class ImageStack:
    """C images of one nodule, from the lowest up."""

    names: tuple[str, ...]
    """What messages call each image."""
    images: tuple[np.ndarray, ...]
    """[Y, X] each, as stored."""
    z_mm: np.ndarray | None
    """float64 [C], ascending positions along the body axis; None if they are unknown."""
    paths: tuple[Path, ...] = ()
    """The files; empty for arrays."""
    width_mm: float = 0.0
    """Width of the images by the headers of the files; 0 if it is unknown."""
    ordered_by_name: bool = False
    """Whether the order is that of the names in a folder."""

    def __len__(self) -> int:
        return len(self.images)


def read_stack(
    paths: Sequence[Path], *, z_mm: Positions | None = None, slice_mm: float | None = None
) -> ImageStack:
    """Read the images of a query.

    Args:
      paths: one image; several images of one nodule; one folder of them, ordered by the numbers in
        their names; or one file with several slices. Without `z_mm`, images are ordered from the
        lowest to the highest. Slices of a file in one of the formats `VOLUMES` are ordered by its
        header, which also gives their distance.
      z_mm: positions of the images along the body axis, in the order of `paths`.
      slice_mm: the distance between images, instead.

    Raises:
      ScanError: a file cannot be read, or the order or the positions cannot be used; names the file
        or the value.
    """
    if not paths:
        raise ScanError("no image is given; name a file, several files or a folder")
    by_name = len(paths) == 1 and paths[0].is_dir()
    files = _in_folder(paths[0]) if by_name else paths
    _refuse_repeated(files)
    header, width = None, _width_mm(files)
    images = tuple(read_image(path) for path in files)
    names = tuple(map(str, files))
    if len(files) == 1 and images[0].ndim == 3:
        header = _volume_header(files[0])
        images = tuple(images[0] if header is None else _upright(images[0], header))
        names = tuple(f"{files[0]} (slice {number})" for number in range(len(images)))
    for name, image in zip(names, images, strict=True):
        if image.ndim != 2:
            raise ScanError(
                f"{name}: shape {image.shape}; each of several images is one 2-D slice; give one "
                "file of all slices, or one file for each"
            )
    if header is not None and z_mm is None and slice_mm is None:
        slice_mm = header.thickness_mm
    by_name = by_name and len(files) > 1
    stack = ImageStack(names, images, None, tuple(files), width, by_name)
    return _placed(stack, str(paths[0]), z_mm, slice_mm)


def stack_of(
    array: object, *, z_mm: Positions | None = None, slice_mm: float | None = None
) -> ImageStack:
    """An array as the images of a query.

    Args:
      array: [Y, X], or [C, Y, X] from the lowest slice up.
      z_mm, slice_mm: as in `read_stack`.

    Raises:
      ScanError: not an array, another shape, not finite, or positions that cannot be used.
    """
    if not isinstance(array, np.ndarray):
        raise ScanError(
            f"image: {type(array).__name__}; must be the path of a file, several paths, or a numpy "
            "array [Y, X] or [C, Y, X] of uint8, uint16, or HU in a signed or floating type"
        )
    if np.ma.is_masked(array):
        raise ScanError("image: masked pixels; fill them, for example with -1000 HU")
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        raise ScanError(
            f"image: shape {array.shape} looks like one image in colour, [Y, X, channels]; convert "
            "it to grey, or give slices as [C, Y, X]"
        )
    if array.ndim not in (2, 3) or not array.size:
        raise ScanError(
            f"image: shape {array.shape}; an item is one 2-D slice [Y, X], or several [C, Y, X]"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ScanError("image: NaN or infinite pixels; replace them, for example by -1000 HU")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    images = tuple(array) if array.ndim == 3 else (array,)
    names = ("image",) if array.ndim == 2 else tuple(f"image[{i}]" for i in range(len(images)))
    return _placed(ImageStack(names, images, None), "image", z_mm, slice_mm)


def _placed(
    stack: ImageStack, name: str, z_mm: Positions | None, slice_mm: float | None
) -> ImageStack:
    """The images in the order of their positions.

    Raises:
      ScanError: positions that are impossible, or not one for each image.
    """
    if z_mm is not None and slice_mm is not None:
        raise ScanError(f"{name}: give either z_mm or slice_mm, not both")
    if slice_mm is not None:
        if not _is_number(slice_mm) or slice_mm <= 0:
            raise ScanError(
                f"{name}: slice_mm is {slice_mm!r}; must be the distance of the images in mm, "
                "above 0; images are ordered from the lowest to the highest"
            )
        return dataclasses.replace(stack, z_mm=stacks.even_heights(len(stack), slice_mm))
    if z_mm is None:
        return stack
    positions = z_mm.tolist() if isinstance(z_mm, np.ndarray) else z_mm
    listed = isinstance(positions, Sequence) and not isinstance(positions, str | bytes)
    if not listed or not all(map(_is_number, positions)):
        raise ScanError(f"{name}: z_mm is {z_mm!r}; must be one number in mm for each image")
    if len(positions) != len(stack):
        raise ScanError(
            f"{name}: {len(positions)} positions in z_mm, but {len(stack)} images; give one "
            "position for each image"
        )
    heights = np.array(positions, np.float64)
    order = np.argsort(heights, kind="stable")
    same = np.flatnonzero(np.diff(heights[order]) == 0)
    if len(same):
        first, second = order[same[0]], order[same[0] + 1]
        raise ScanError(
            f"{stack.names[second]}: z_mm {heights[second]:g} is that of {stack.names[first]} too; "
            "give different positions, or leave out one of the images"
        )
    return dataclasses.replace(
        stack,
        names=tuple(stack.names[i] for i in order),
        images=tuple(stack.images[i] for i in order),
        z_mm=heights[order],
        ordered_by_name=False,
    )


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _in_folder(folder: Path) -> list[Path]:
    """The images of a folder in the order of the numbers in their names.

    Raises:
      ScanError: it has no files, is a DICOM series, or the order of the names is unclear.
    """
    found = [
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".raw", ".zraw")
    ]
    if not found:
        raise ScanError(f"{folder}: no images in this folder; give the images of one nodule")
    if any(map(dicom.is_dicom, found)):
        raise ScanError(
            f"{folder}: a DICOM series, whose order is not that of its names; search for a place "
            "in it as a scan, or list the images of a nodule from the lowest to the highest"
        )
    texts = {"#".join(re.split(_NUMBER, path.name)) for path in found}
    if len({text.replace("-", "") for text in texts}) < len(texts):
        raise ScanError(
            f"{folder}: a - in some of the names may be a sign, so their order is unclear; list "
            "the images from the lowest to the highest"
        )
    return sorted(found, key=lambda path: (_by_number(path.name), path.name))


_NUMBER = r"(?:(?<![0-9A-Za-z])-|\+)?\d+(?:\.\d+)?"
"""A number in a name. A minus after a letter or digit joins two words, as in LIDC-1; a plus is a
sign."""


def _by_number(name: str) -> tuple[tuple[float, str], ...]:
    """A name as a key by which a2 precedes a10, and a_-1 precedes a_+1."""
    parts = re.split(f"({_NUMBER})", name)
    return tuple((float(part), "") if at % 2 else (0.0, part) for at, part in enumerate(parts))


def _refuse_repeated(files: Sequence[Path]) -> None:
    """Raise a ScanError if a file is missing, or is named twice."""
    seen: set[Path] = set()
    for path in files:
        require_there(path)
        if path.resolve() in seen:
            raise ScanError(f"{path}: named twice; name each image once")
        seen.add(path.resolve())


def _volume_header(path: Path) -> Header | None:
    """The header of a volume; None for a format that says nothing about distances.

    Raises:
      ScanError: its slices are not axial.
    """
    if not path.name.lower().endswith(VOLUMES):
        return None
    header = read_header(path)
    straight = np.diag(np.sign(np.diag(header.direction)))
    if np.abs(header.direction - straight).max() > OBLIQUE:
        raise ScanError(
            f"{path}: its slices are not axial; resample them, or search the scan for a place"
        )
    if not np.isclose(header.spacing_mm[0], header.spacing_mm[1], rtol=1e-3):
        raise ScanError(
            f"{path}: pixels of {header.spacing_mm[0]:g} x {header.spacing_mm[1]:g} mm; "
            "resample them to squares"
        )
    return header


def _width_mm(files: Sequence[Path]) -> float:
    """Width of images by the headers of their files; 0 where no format says anything about it.

    Raises:
      ScanError: it is not the same for all.
    """
    widths = {path: width for path in files if (width := _header_width_mm(path))}
    first, expected = next(iter(widths.items()), ("", 0.0))
    for path, width in widths.items():
        if not np.isclose(width, expected, rtol=1e-3):
            raise ScanError(
                f"{path}: {width:g} mm wide by its header, but {first} is {expected:g} mm wide; "
                "cut the images of a nodule to one width"
            )
    return expected


def _header_width_mm(path: Path) -> float:
    """Width of an image by its header; 0 where that does not say."""
    of_dicom = dicom.is_dicom(path)
    if not (of_dicom or path.name.lower().endswith(VOLUMES)):
        return 0.0
    header = information(path)
    if of_dicom and not header.HasMetaDataKey(PIXEL_SPACING):
        return 0.0
    return float(header.GetSize()[0] * header.GetSpacing()[0])


def _upright(pixels: np.ndarray, header: Header) -> np.ndarray:
    """Voxels [Z, Y, X] with indices that increase towards the patient's left, back and head."""
    signs = np.sign(np.diag(header.direction)).astype(int)
    return pixels[:: signs[2], :: signs[1], :: signs[0]]
