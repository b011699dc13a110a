"""A scan on the grid of the items, with its lungs: what archive and queries are cut from."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.config import Config
from inres.ct import lungs
from inres.ct.header import ScanError
from inres.ct.image import to_uint8
from inres.ct.scan import Volume, canonical, read_scan, resample, resample_labels
from inres.data.views import canvas


@dataclasses.dataclass(frozen=True)
class Cut:
    """A scan on the grid of the items, ready to be cut into slices."""

    volume: Volume
    threshold: np.ndarray
    """bool [Z, Y, X], the -400 HU mask."""
    luna16: np.ndarray | None
    """bool [Z, Y, X], labels 3 and 4 of `seg-lungs-LUNA16`, where these were asked for."""
    mask: np.ndarray
    """bool [Z, Y, X], repaired: what items carry."""
    center: tuple[int, int]
    """Row and column round which every canvas of the scan lies: the middle of the lungs' box."""
    messages: tuple[str, ...]

    def plane(self, z: int, config: Config) -> np.ndarray:
        """The canvas at plane `z`, windowed. uint8 [S, S]."""
        items = config.items
        hu = to_uint8(self.volume.hu[z], hu_min=items.hu_min, hu_max=items.hu_max)
        return canvas(hu, center=self.center, size=items.canvas_px)

    def neighbours(self, z: int, config: Config) -> np.ndarray:
        """The canvases below and above plane `z`, from the lowest up. uint8 [2 k, S, S].

        Beyond the ends of the scan its last plane is repeated.
        """
        k = config.items.neighbours
        step = config.items.neighbour_mm / config.items.spacing_mm
        beside = [self.nearest_plane(z + j * step) for j in range(-k, k + 1) if j]
        return canvases([self.plane(plane, config) for plane in beside], config)

    def mask_plane(self, z: int, config: Config) -> np.ndarray:
        """The lungs at plane `z`. uint8 [S, S]."""
        image = self.mask[z].astype(np.uint8)
        return canvas(image, center=self.center, size=config.items.canvas_px)

    def in_canvas(self, index: np.ndarray, config: Config) -> tuple[float, float]:
        """Row and column in the canvas of an index z, y, x of the volume."""
        half = config.items.canvas_px // 2
        return (
            float(index[1]) - self.center[0] + half,
            float(index[2]) - self.center[1] + half,
        )

    def nearest_plane(self, z: float) -> int:
        """The plane nearest to the index `z`, within the scan."""
        return int(np.clip(round(z), 0, len(self.mask) - 1))


def cut_scan(
    path: Path, config: Config, *, lung_mask: Path | None = None, series_uid: str = ""
) -> Cut:
    """Read a scan and find its lungs: the first half of the road of gallery and query.

    Args:
      path: the scan.
      config: spacing.
      lung_mask: its `seg-lungs-LUNA16` file, to be used instead of the threshold.
      series_uid: which DICOM series, where a folder holds several.

    Raises:
      ScanError: the scan or the mask cannot be read, or the scan has no value below 0 HU.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        stored = read_scan(path, series_uid=series_uid)
        messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    low, high = int(stored.hu.min()), int(stored.hu.max())
    if low >= 0:
        raise ScanError(
            f"{path}: values {low} to {high} are not HU, as no voxel is air (near -1000 HU); "
            "subtract the offset, mostly 1024, and save it signed"
        )
    upright = canonical(stored)
    del stored
    spacing = config.items.spacing_mm
    volume = resample(upright, spacing)
    del upright
    threshold = lungs.threshold_mask(volume.hu, spacing)
    labelled = None
    if lung_mask is not None:
        labelled = lungs.lung_labels(resample_labels(read_scan(lung_mask), volume))
    found = threshold if labelled is None else labelled
    mask = lungs.repair(found, spacing)
    if not mask.any():
        messages.append(
            f"{path}: no lungs found (values {low} to {high}; air is near -1000 HU); "
            "its slices stay unsegmented"
        )
        mask = np.ones_like(mask)
    rows, cols = (np.flatnonzero(mask.any(axes)) for axes in ((0, 2), (0, 1)))
    center = ((int(rows[0]) + int(rows[-1]) + 1) // 2, (int(cols[0]) + int(cols[-1]) + 1) // 2)
    return Cut(volume, threshold, labelled, mask, center, tuple(messages))


def canvases(planes: Sequence[np.ndarray], config: Config) -> np.ndarray:
    """Canvases as one array, also where there are none. uint8 [N, S, S]."""
    side = config.items.canvas_px
    return np.stack(planes) if planes else np.zeros((0, side, side), np.uint8)


def inside_canvas(point: tuple[float, float], config: Config) -> bool:
    """Whether a row and column of the canvas lie in it."""
    return all(-0.5 <= value < config.items.canvas_px - 0.5 for value in point)
