"""The slices next to an item, as they are stored with it, for display."""

import dataclasses
import math

import numpy as np

from inres import sources
from inres.config import Config
from inres.data.item_store import ItemStore


@dataclasses.dataclass(frozen=True)
class ItemSlices:
    """Slices of an item and what their pixels mean."""

    planes: np.ndarray
    """uint8 [C, S, S], from the lowest up; only slices that exist."""
    own: int
    """Which of them is the item's own slice."""
    z_mm: tuple[float, ...] | None
    """Positions of the slices along the body axis; None where one is unknown."""
    point: tuple[float, float]
    """Row and column of the item's place; NaN where all of the image is what the network sees."""
    seen_px: float
    """Side of the square around `point` that the network sees, in pixels."""
    pixel_mm: float
    """Side of a pixel; NaN where unknown."""
    window_hu: tuple[float, float] | None = None
    """The HU that are 0 and 255; None where the images hold something else."""


def slices_of(store: ItemStore, row: int, config: Config) -> ItemSlices:
    """The slices of an item of the store, between its neighbours as far as they are stored.

    Where items are cubes, they are the planes of the cube.

    Args:
      store: the item store.
      row: number of the item.
      config: the one that the store was made with.
    """
    item, options = store.items[row], config.items
    if store.cubes is not None:
        planes = np.moveaxis(np.asarray(store.cubes[row]), -1, 0)
        count = len(planes)
        step, pixel_mm = options.cube_mm / count, options.cube_mm / count
        z_mm = item.z_mm + step * (np.arange(count) - (count - 1) / 2)
        point, seen_px = (math.nan, math.nan), float(count)
        known = store.known_planes(row)
    else:
        planes, known = store.planes(row)
        k = len(planes) // 2
        z_mm = _heights(store, row, k, options.neighbour_mm)
        pixel_mm = sources.get(config.data.kind).pixel_mm(options) or math.nan
        whole = options.view != "crop" or not np.isfinite(item.row)
        point = (math.nan, math.nan) if whole else (item.row, item.col)
        seen_px = planes.shape[-1] if whole else round(options.crop_mm / options.spacing_mm)
    own = int(known[: len(planes) // 2].sum())
    z_mm = z_mm[known]
    return ItemSlices(
        planes[known],
        own,
        tuple(z_mm.tolist()) if np.isfinite(z_mm).all() else None,
        point,
        float(seen_px),
        pixel_mm,
        None if sources.get(config.data.kind).ready_made else (options.hu_min, options.hu_max),
    )


def image_only(image: np.ndarray) -> ItemSlices:
    """An item of which nothing but its image is known, uint8 [S, S]."""
    nowhere = (math.nan, math.nan)
    return ItemSlices(image[None], 0, None, nowhere, float(len(image)), math.nan)


def _heights(store: ItemStore, row: int, k: int, neighbour_mm: float) -> np.ndarray:
    """Positions of a slice and its k neighbours on each side, NaN where unknown."""
    item = store.items[row]
    own = item.z_mm + item.offset_mm
    if store.neighbours is None:
        return np.array([own])
    if store.neighbours.ndim == 2:  # rows of other images
        beside = [
            store.items[other].z_mm if other >= 0 else math.nan
            for other in np.asarray(store.neighbours[row]).tolist()
        ]
        return np.insert(np.array(beside, np.float64), k, item.z_mm)
    return own + neighbour_mm * (np.arange(2 * k + 1) - k)
