"""A scan on the grid of the items, with its lungs: what archive and queries are cut from."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.config import Items
from inres.ct import lungs
from inres.ct.header import Header, ScanError
from inres.ct.hu import AIR_HU, LOWEST_HU, scan_problem
from inres.ct.image import to_uint8
from inres.ct.scan import (
    Volume,
    canonical,
    read_scan,
    read_voxels,
    resample,
    resample_labels,
    volume_of,
)
from inres.data import cubes, identity, location
from inres.data.views import canvas
from inres.system import memory
from inres.system.progress import Step, untold


@dataclasses.dataclass(frozen=True)
class Upright:
    """A scan in the resolution in which it is stored, with indices that increase towards the
    patient's left, back and head."""

    header: Header
    """The scan as stored, with what was decided when it was read."""
    volume: Volume
    range_hu: tuple[int, int]
    """Lowest and highest value as stored."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """A scan on the grid of the items, ready to be cut into slices."""

    header: Header
    """The scan as stored, with what was decided when it was read."""
    volume: Volume
    threshold: np.ndarray
    """bool [Z, Y, X], the -400 HU mask."""
    luna16: np.ndarray | None
    """bool [Z, Y, X], labels 3 and 4 of `seg-lungs-LUNA16`, where these were requested."""
    mask: np.ndarray
    """bool [Z, Y, X], the repaired mask, which items carry."""
    center: tuple[int, int]
    """Row and column of the centre of all canvases: the middle of the lungs' bounding box."""
    messages: tuple[str, ...]
    """What the user should know of the lungs."""
    config: Items
    """Window, spacing, canvas and neighbours."""
    lung_count: int = 2
    """Number of lungs that were found, at most 2."""
    digest: str = ""
    """Of the scan's voxels (`identity.digest_of`); empty where it is not needed."""

    def plane(self, z: int) -> np.ndarray:
        """The canvas at plane `z`, windowed. uint8 [S, S]."""
        window = {"hu_min": self.config.hu_min, "hu_max": self.config.hu_max}
        grey = to_uint8(self.volume.hu[z], **window)
        return canvas(grey, center=self.center, size=self.config.canvas_px)

    def neighbours(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """The canvases below and above plane `z`, from the lowest up.

        Returns:
          uint8 [2 k, S, S], 0 beyond the ends of the scan, and bool [2 k], whether it is inside.
        """
        k, step = self.config.neighbours, self.config.neighbour_mm / self.config.spacing_mm
        planes = [round(z + j * step) for j in range(-k, k + 1) if j]
        known = np.array([0 <= plane < len(self.mask) for plane in planes], bool)
        nothing = np.zeros((self.config.canvas_px, self.config.canvas_px), np.uint8)
        shown = [
            self.plane(p) if inside else nothing for p, inside in zip(planes, known, strict=True)
        ]
        return stacked(shown, self.config.canvas_px), known

    def cube(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cube around the index z, y, x of the volume, which need not be whole numbers.

        Beside the scan, where its field of view ends, a cube is known to be outside the lungs, like
        a crop; above and below, it is unknown. So what is known says nothing about the distance to
        the sides, to which nodules on the pleura can be closer than normal places.

        A place in the outermost part of the scan as stored, which resampling can round off, has the
        cube of the nearest place along z that is left: the central plane of a cube is known.

        Returns:
          Windowed values and states (`cubes.states`), uint8 [D, D, D] both, axes y, x, z.
        """
        c = self.config
        z = np.clip(index[0], -0.5, len(self.mask) - 0.5)
        make = functools.partial(
            cubes.cube_from_volume,
            index=np.array([z, *index[1:]]),
            spacing_mm=(c.spacing_mm,) * 3,
            side_mm=c.cube_mm,
            side_px=c.cube_px,
        )
        hu, known = make(self.volume.hu)
        lungs, _ = make(self.mask)
        values = np.where(known, to_uint8(hu, hu_min=c.hu_min, hu_max=c.hu_max), np.uint8(0))
        known_z = np.any(known, axis=(0, 1))
        return values, cubes.states(known_z, lungs >= 0.5)

    def mask_plane(self, z: int) -> np.ndarray:
        """The lungs at plane `z`. uint8 [S, S]."""
        image = self.mask[z].astype(np.uint8)
        return canvas(image, center=self.center, size=self.config.canvas_px)

    def in_canvas(self, index: np.ndarray) -> tuple[float, float]:
        """Row and column in the canvas of an index z, y, x of the volume."""
        half = self.config.canvas_px // 2
        return (
            float(index[1]) - self.center[0] + half,
            float(index[2]) - self.center[1] + half,
        )

    def shows(self, point: tuple[float, float]) -> bool:
        """Whether a row and column of the canvas lie inside it."""
        return all(-0.5 <= value < self.config.canvas_px - 0.5 for value in point)

    def nearest_plane(self, z: float) -> int:
        """The plane nearest to the index `z`, within the scan."""
        return int(np.clip(round(z), 0, len(self.mask) - 1))


def cut_scan(
    path: Path,
    config: Items,
    *,
    lung_mask: Path | None = None,
    series_uid: str = "",
    kernel: str = "",
) -> Cut:
    """Read a scan, resample it and find its lungs.

    Args:
      path: the scan.
      config: spacing, window and canvas of the items.
      lung_mask: its `seg-lungs-LUNA16` file, used instead of the threshold.
      series_uid, kernel: which DICOM series, as in `read_scan`.

    Raises:
      ScanError: the scan or the mask cannot be read, the scan's values are not HU, or it does not
        fit in memory.
    """
    upright = read_upright(path, config, series_uid=series_uid, kernel=kernel)
    header, range_hu = upright.header, upright.range_hu
    digest = identity.digest_of(upright.volume.hu)
    volume = resample(upright.volume, config.spacing_mm)
    del upright
    cut = cut_volume(header, volume, range_hu, config, lung_mask=lung_mask)
    return dataclasses.replace(cut, digest=digest)


def read_upright(
    path: Path, config: Items, *, series_uid: str = "", kernel: str = "", step: Step = untold
) -> Upright:
    """Read a scan, check its values and turn it upright.

    Args:
      path, config, series_uid, kernel: as in `cut_scan`.

    Raises:
      ScanError: the scan cannot be read, its values are not HU, or it does not fit in memory, also
        on the grid of the items.
    """
    header, hu = read_voxels(path, series_uid=series_uid, kernel=kernel, step=step)
    _require_memory(header, config.spacing_mm)
    low, high = int(hu.min()), int(hu.max())
    if wrong := scan_problem(hu):
        raise ScanError(
            f"{path}: values {low} to {high} are not HU, since {wrong}; correct their offset "
            "(usually 1024 is to be subtracted), scale, sign or byte order, and save the scan in a "
            "signed type"
        )
    if low < LOWEST_HU:
        np.copyto(hu, AIR_HU, where=hu < LOWEST_HU)
    return Upright(header, canonical(volume_of(header, hu)), (low, high))


def cut_volume(
    header: Header,
    volume: Volume,
    range_hu: tuple[int, int],
    config: Items,
    *,
    lung_mask: Path | None = None,
    step: Step = untold,
) -> Cut:
    """Find the lungs of a scan on the grid of the items.

    Args:
      header, range_hu: those of `Upright`.
      volume: the upright scan on voxels of side `config.spacing_mm`.
      config, lung_mask: as in `cut_scan`.

    Raises:
      ScanError: the lung mask cannot be read.
    """
    step("finding the lungs", None)
    threshold = lungs.threshold_mask(volume.hu, config.spacing_mm)
    labelled = None
    if lung_mask is not None:
        labelled = lungs.lung_labels(resample_labels(read_scan(lung_mask), volume))
    step("finding the lungs", 0.5)
    mask = lungs.repair(threshold if labelled is None else labelled, config.spacing_mm)
    count, message = 2, ""
    if not mask.any():
        low, high = range_hu
        count = 0
        message = (
            f"no lungs found (values {low} to {high}; air is near -1000 HU); its slices stay "
            "unsegmented"
        )
        mask = np.ones_like(mask)
    elif not location.has_both_lungs(mask, config.spacing_mm):
        count = 1
        message = (
            "only one lung found; if there are two, an edge of the image may cut the other, and "
            "its slices are black where items.segmented"
        )
    messages = tuple(f"{header.path}: {text}" for text in (message, _narrow(header)) if text)
    return Cut(header, volume, threshold, labelled, mask, _middle(mask), messages, config, count)


_NARROWEST_MM = 100.0
"""Width of a scan that can contain lungs."""


def _narrow(header: Header) -> str:
    """A message on a scan that is too narrow for a chest; empty for others."""
    lengths = np.abs(header.direction) @ (np.array(header.shape[::-1]) * header.spacing_mm)
    wide, deep, _ = lengths
    if max(wide, deep) >= _NARROWEST_MM:
        return ""
    return (
        f"only {wide:.3g} x {deep:.3g} mm wide, less than a chest; if its lengths are in cm or "
        "another unit, correct its header"
    )


_BYTES = 8
"""Of each resampled voxel while the lungs are found: HU, masks and their pieces."""


def _require_memory(header: Header, spacing_mm: float) -> None:
    """Check that a scan fits in memory on voxels of side `spacing_mm`.

    Raises:
      ScanError: it does not.
    """
    extent = np.array(header.shape[::-1]) * header.spacing_mm
    voxels = math.prod(math.ceil(length / spacing_mm) for length in extent)
    if wrong := memory.lacking(_BYTES * voxels):
        by = " x ".join(f"{length:.0f}" for length in extent)
        raise ScanError(
            f"{header.path}: {by} mm on voxels of {spacing_mm:g} mm: {wrong}; correct the header, "
            "raise config.items.spacing_mm, or use fewer workers or a machine with more memory"
        )


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """Row and column of the middle of a mask's bounding box."""
    rows, cols = (np.flatnonzero(mask.any(axes)) for axes in ((0, 2), (0, 1)))
    return (int(rows[0]) + int(rows[-1]) + 1) // 2, (int(cols[0]) + int(cols[-1]) + 1) // 2


def stacked(planes: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Planes uint8 [side, side] as one array [N, side, side]; N may be 0."""
    return np.stack(planes) if planes else np.zeros((0, side, side), np.uint8)
