"""Images as queries: prepared as the archive's items, of one slice or of several."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres import sources
from inres.config import Config
from inres.ct.header import ScanError, information
from inres.ct.hu import image_problem, measured
from inres.ct.image import refuse_twelve_bits
from inres.data import cubes, stacks
from inres.data.image_stack import ImageStack
from inres.data.images import grey_square
from inres.data.queries import NOWHERE, QueryInput, open_query_scan


def read_query_images(
    stack: ImageStack,
    *,
    config: Config,
    root: str | Path | None,
    planes: int,
    in_archive: bool = False,
) -> QueryInput:
    """Image files as a query.

    Where the archive is a folder of images, the files are read as these were. Where it was cut from
    scans, a single CT slice in HU is prepared as a scan of one slice, without neighbours; any other
    image is taken for a crop, as wide as the archive's.

    Args:
      stack: the images, from files.
      config, root: as in `open_query_scan`.
      planes: number of planes in the archive's network inputs.
      in_archive: the files are the archive's own images, whose scale is known to be right.

    Raises:
      ScanError: as `query_images`, or a scan that is no crop; names the file.
    """
    if sources.get(config.data.kind).ready_made or in_archive:
        return query_images(stack, config=config, planes=planes, in_archive=in_archive)
    in_hu = not np.issubdtype(stack.images[0].dtype, np.unsignedinteger)
    if len(stack) > 1:
        unfit = not _fits(stack, config) if stack.width_mm else stack.z_mm is None
        if len(stack.paths) == 1 and in_hu and unfit:
            number = " or a slice number" if config.items.view == "slice" else ""
            raise ScanError(
                f"{stack.paths[0]}: {len(stack)} slices, a scan; name a world coordinate{number} "
                f"(images of a nodule are {_width_mm(config):g} mm wide here)"
            )
    elif in_hu and information(stack.paths[0]).GetDimension() == 3:
        whole = open_query_scan(stack.paths[0], config=config, root=root).at(slice_index=0)
        middle = np.arange(len(whole.planes)) == len(whole.planes) // 2
        return dataclasses.replace(whole, known=middle, cube=_plane_only(whole.cube))
    return query_images(stack, config=config, planes=planes)


def query_images(
    stack: ImageStack, *, config: Config, planes: int, in_archive: bool = False
) -> QueryInput:
    """Images in the archive's item format as a query: neither resampled in the plane nor cut.

    The central image is that of `stacks.central_place`, as in an archive of a folder. Without
    positions, the images count as equally far apart.

    - Cubes are made of all images, whose positions must be known.
    - In an archive of a folder, neighbours are the next images, whatever their distance.
    - In an archive of scans, neighbours are planes at multiples of `config.items.neighbour_mm` from
      the central image, interpolated between the images, whose positions must be known.

    Args:
      stack: 8-bit grey, 16 bits over the full range, or HU in a signed or floating type.
      config: the archive's.
      planes: number of planes in the archive's network inputs.
      in_archive: as in `read_query_images`.

    Raises:
      ScanError: images of different sizes or types, or of another scale; several images, although
        the archive's items are single slices; or no positions where they are needed.
    """
    name = stack.names[0]
    _refuse_unlike(stack)
    if len(stack) > 1 and planes == 1:
        raise ScanError(
            f"{name}: {len(stack)} images, but the archive's items are single slices; give the "
            "central one alone"
        )
    if not in_archive:
        values = np.concatenate([image.ravel() for image in stack.images])
        refuse_twelve_bits(values, name)
        _refuse_other_scales(values, name)
    ready_made, items = sources.get(config.data.kind).ready_made, config.items
    of_known_width = not in_archive and (items.view == "cube" or not ready_made)
    if of_known_width and stack.width_mm and not _fits(stack, config):
        scan = "" if ready_made else "search the scan for a place, "
        raise ScanError(
            f"{name}: {_square_mm(stack):g} mm wide by the header of the file, but the archive's "
            f"images are {_width_mm(config):g} mm wide; {scan}cut it as they were cut, or correct "
            "the header"
        )
    notes = _notes(stack)
    if not ready_made and stack.width_mm:
        notes += (f"{name}: its lungs are unknown, so it is not segmented",)
    elif not ready_made:
        notes += (f"{name}: its pixel size is unknown, so it is neither resampled nor segmented",)
    grey = [
        grey_square(image, items, name=name)
        for name, image in zip(stack.names, stack.images, strict=True)
    ]
    _refuse_other_sizes(grey, stack.names)
    shown, known, z_mm = _arranged(np.stack(grey), stack, config, planes)
    return QueryInput(
        shown,
        known,
        None,
        NOWHERE,
        segmentable=ready_made,
        notes=notes,
        z_mm=z_mm,
        width_mm=_width_mm(config),
    )


def _arranged(
    grey: np.ndarray, stack: ImageStack, config: Config, planes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The planes of a query around its central one, which are known, and their positions."""
    count, items = len(stack), config.items
    by_position = items.view == "cube" or not sources.get(config.data.kind).ready_made
    heights = stack.z_mm
    if heights is None:
        step = items.slice_mm if items.view == "cube" else 0.0
        if count > 1 and by_position and not step:
            raise ScanError(
                f"{stack.names[0]}: the positions of the {count} images are unknown; give z_mm, "
                "one number for each image, or slice_mm, their distance"
            )
        heights = stacks.even_heights(count, step or 1.0)
    central = stacks.central_place(heights)
    if items.view == "cube":
        half = max(central, count - 1 - central)
    elif by_position:
        wanted = heights[central] + items.neighbour_mm * (np.arange(planes) - planes // 2)
        made, known = stacks.planes_at(
            grey.astype(np.float32), heights, wanted, thickness_mm=items.spacing_mm
        )
        return np.rint(made).astype(np.uint8), known, None
    else:
        half = planes // 2
    places = np.insert(stacks.neighbour_places(count, half)[central], half, central)
    known = places >= 0
    shown = np.where(known[:, None, None], grey[places], np.uint8(0))
    return shown, known, np.where(known, heights[places], np.nan)


def _notes(stack: ImageStack) -> tuple[str, ...]:
    """Which image of a stack is the central one, and where the order is from."""
    if len(stack) == 1:
        return ()
    heights = stacks.even_heights(len(stack)) if stack.z_mm is None else stack.z_mm
    central = stack.names[stacks.central_place(heights)]
    order = " (ordered by the numbers in their names)" if stack.ordered_by_name else ""
    return (
        f"{len(stack)} images from {stack.names[0]} (lowest) to {stack.names[-1]} (highest){order};"
        f" the central one is {central}",
    )


def _width_mm(config: Config) -> float:
    """Width of the archive's images, where they are cut from scans or made into cubes.

    Of a folder, they are what its cubes are made of; of scans, the central planes of its cubes.
    """
    items = config.items
    if items.view == "cube" and not sources.get(config.data.kind).ready_made:
        return items.cube_mm
    return items.canvas_mm if items.view == "slice" else items.crop_mm


def _fits(stack: ImageStack, config: Config) -> bool:
    """Whether a known width is that of the archive's images, to a pixel."""
    pixel = stack.width_mm / stack.images[0].shape[1]
    return abs(_square_mm(stack) - _width_mm(config)) <= pixel


def _square_mm(stack: ImageStack) -> float:
    """Side of the square to which images of known width are padded."""
    height, width = stack.images[0].shape
    return stack.width_mm * max(height, width) / width


def _refuse_unlike(stack: ImageStack) -> None:
    """Raise a ScanError if images are no grey images, or their pixels mean different things."""
    first = stack.images[0].dtype
    for name, image in zip(stack.names, stack.images, strict=True):
        if image.ndim != 2 or not image.size:
            raise ScanError(f"{name}: shape {image.shape}; an item is one 2-D slice")
        if image.dtype.kind not in "uif":
            raise ScanError(
                f"{name}: {image.dtype} pixels; must be uint8, uint16, or HU in a signed or "
                "floating type"
            )
        if "u" in (image.dtype.kind, first.kind) and image.dtype != first:
            raise ScanError(
                f"{name}: {image.dtype} pixels, but {stack.names[0]} has {first}; save the images "
                "of a nodule in one type"
            )
        if not np.isfinite(image).any():
            raise ScanError(f"{name}: not one finite pixel; replace the image")


def _refuse_other_sizes(squares: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Raise a ScanError if images are not all of one size."""
    for name, square in zip(names, squares, strict=True):
        if len(square) != len(squares[0]):
            raise ScanError(
                f"{name}: {len(square)} pixels a side, but {names[0]} has {len(squares[0])}; cut "
                "the images of a nodule to one size"
            )


def _refuse_other_scales(values: np.ndarray, name: str) -> None:
    """Refuse signed or floating pixels that are no HU, by the rule for folders.

    Raises:
      ScanError: they are too high or too low, or all are padding.
    """
    if values.dtype.kind == "u":
        return
    known = measured(values)
    if not known.size:
        raise ScanError(f"{name}: not one finite pixel, other than padding; replace it")
    if wrong := image_problem(float(known.min()), float(known.max())):
        raise ScanError(
            f"{name}: {values.dtype} pixels are taken for HU, but {wrong}; save HU, or 8 bits"
        )


def _plane_only(cube: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """A cube of which only the central plane is known, as of any single slice."""
    if cube is None:
        return None
    values, states = cube
    central = np.arange(states.shape[-1]) == states.shape[-1] // 2
    return values, np.where(central, states, cubes.UNKNOWN)
