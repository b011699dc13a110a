"""Queries prepared exactly as the archive's items, and places in a scan as queries.

A scan is read, resampled and searched for its lungs once, by `open_query_scan`; any number of
places are then cut from it in milliseconds each. `query_images` prepares images.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inres import sources
from inres.config import Config, Items
from inres.ct.header import Header, ScanError, Vector
from inres.ct.scan import Volume, resample
from inres.data import views
from inres.data.cut import Cut, cut_volume, read_upright
from inres.system.progress import Step, untold

NOWHERE = (float("nan"), float("nan"))
"""The point of an image that is a crop already."""


@dataclasses.dataclass(frozen=True)
class QueryInput:
    """What a network input of a query is made of."""

    planes: np.ndarray
    """uint8 [C, S, S]: the query's own slice in the middle of the others, from the lowest up."""
    known: np.ndarray
    """bool [C]: which of these slices exist; the middle one does."""
    mask: np.ndarray | None
    """uint8 [S, S], 1 inside the lungs; None where nothing was segmented."""
    point: tuple[float, float]
    """Row and column of the place in `planes`; NaN for an image that is a crop already."""
    segmentable: bool
    """Whether a U-Net trained on the archive's slices applies: not to a crop of unknown scale."""
    notes: tuple[str, ...]
    """Messages for the user."""
    cube: tuple[np.ndarray, np.ndarray] | None = None
    """Values and states (`inres.data.cubes.states`) of the cube around a place in a scan, uint8
    [D, D, D] both, where the archive's items are cubes; None for images."""
    z_mm: np.ndarray | None = None
    """float64 [C], where cubes are made of these planes: their positions along the body axis, NaN
    for those that do not exist."""
    width_mm: float = np.nan
    """Width of these planes."""


@dataclasses.dataclass(frozen=True)
class QueryScan:
    """A scan that was read and segmented, from which queries are cut."""

    header: Header
    """The scan as stored."""
    volume: Volume
    """The scan in its own resolution, upright: HU int16 [Z, Y, X] from the feet up, from front to
    back, and from the patient's right to the left."""
    cut: Cut
    """The scan on the grid of the archive's items."""
    messages: tuple[str, ...]
    """What applies to every query on this scan."""

    def at(self, *, world_mm: Vector | None = None, slice_index: int | None = None) -> QueryInput:
        """One slice of the scan as a query, cut exactly as the archive's items.

        Args:
          world_mm: x, y, z (LPS) of the place; or else
          slice_index: the number of a slice, from 0, in the order in which the scan is stored.

        Returns:
          The slice between its neighbours (`config.items.neighbours`), its lungs, and the point:
          that of `world_mm`, or the middle of the canvas for a slice number.

        Raises:
          ScanError: the place or slice is outside the scan, or not a number.
          ValueError: not exactly one of `world_mm` and `slice_index` is given.
        """
        if (world_mm is None) == (slice_index is None):
            raise ValueError("a query on a scan needs either world_mm or slice_index")
        if world_mm is not None:
            world = _checked_place(self.header, world_mm)
        else:
            world = _middle_of_slice(self.header, slice_index)
        index = self.cut.volume.world_to_index(world)
        if world_mm is None:
            index = np.array([index[0], *self.cut.center])  # as in a crop, the middle of the canvas
        config, z = self.cut.config, self.cut.nearest_plane(index[0])
        cube = self.cut.cube(index) if config.view == "cube" else None
        others, known = self.cut.neighbours(z)
        (below, above), (lower, upper) = np.split(others, 2), np.split(known, 2)
        point = self.cut.in_canvas(index)
        return QueryInput(
            planes=np.concatenate([below, self.cut.plane(z)[None], above]),
            known=np.concatenate([lower, [True], upper]),
            mask=self.cut.mask_plane(z),
            point=point,
            segmentable=True,
            notes=self.messages + self._notes(point, named_by_number=world_mm is None),
            cube=cube,
        )

    def _notes(self, point: tuple[float, float], *, named_by_number: bool) -> tuple[str, ...]:
        path = self.header.path
        if not named_by_number and not self.cut.shows(point):
            return (f"{path}: the place is outside the canvas around the lungs",)
        if named_by_number and self.cut.config.view != "slice":
            return (
                f"{path}: the archive holds {self.cut.config.view}s around nodules, but a slice "
                f"number gives no point: the {self.cut.config.view} is from the middle of the "
                "lungs, and results say little about the slice; give a world coordinate",
            )
        return ()


def open_query_scan(
    path: str | Path,
    *,
    config: Config,
    root: str | Path | None,
    series_uid: str = "",
    step: Step = untold,
) -> QueryScan:
    """Read a scan and find its lungs, in seconds, for queries that take milliseconds.

    Args:
      path: a scan in any format of `read_scan`.
      config: the archive's.
      root: the archive's data, or None where it is not on this machine. With
        `config.data.lung_masks` of `luna16`, a scan of this tree has its lungs from there. Those
        of any other scan are found by threshold, which a message says.
      series_uid: which DICOM series, where a folder holds several; empty: by `config.data.kernel`
        and the rules of `inres.ct.dicom`.
      step: is told what is being done.

    Raises:
      ScanError: the scan cannot be read.
    """
    path = Path(path)
    wants_labels = config.data.lung_masks == "luna16"
    mask_of = sources.get(config.data.kind).lung_mask
    lung_mask = None
    if wants_labels and root is not None and mask_of is not None:
        lung_mask = mask_of(path, Path(root))
    upright = read_upright(
        path, config.items, series_uid=series_uid, kernel=config.data.kernel, step=step
    )
    step("resampling", None)
    volume = resample(upright.volume, config.items.spacing_mm)
    cut = cut_volume(
        upright.header, volume, upright.range_hu, config.items, lung_mask=lung_mask, step=step
    )
    messages = [*(f"{path}: {note}" for note in cut.header.notes), *cut.messages]
    if wants_labels and lung_mask is None:
        where = "the archive's data" if root is None else root
        unless = "" if config.items.view == "cube" else "without a trained U-Net "
        messages.append(
            f"{path}: no scan of {where} with a mask in seg-lungs-LUNA16; its canvas, and {unless}"
            "its lungs, are found by threshold, unlike the archive's"
        )
    return QueryScan(cut.header, upright.volume, cut, tuple(messages))


def network_input(
    query: QueryInput, config: Items, segment: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """The network input of a query, as those of the archive's items: uint8 [S, S, C].

    Args:
      query: a place in a scan, or images.
      config: the archive's.
      segment: finds the lungs in slices, uint8 [N, S, S] both; its masks take precedence over the
        query's. A cube from a scan has the lungs of the scan.
    """
    middle = len(query.planes) // 2
    if config.view != "cube":
        mask = query.mask if segment is None else segment(query.planes[middle][None])[0]
        return views.stack(query.planes, query.known, mask, query.point, config)
    if query.cube is not None:
        return views.cube(*query.cube, config)
    assert query.z_mm is not None
    planes, z_mm = query.planes[query.known], query.z_mm[query.known]
    masks = None if segment is None else segment(planes)
    made = views.stack_cube(
        planes, masks, z_mm, query.z_mm[middle], config, width_mm=query.width_mm
    )
    return views.cube(*made, config)


def _checked_place(header: Header, world_mm: Vector) -> np.ndarray:
    try:
        given = np.array(world_mm)
    except ValueError:  # ragged
        given = np.zeros(0)
    numbers = given.shape == (3,) and given.dtype.kind in "iuf" and not np.ma.is_masked(world_mm)
    if not numbers or any(isinstance(value, bool | np.bool_) for value in world_mm):
        raise ScanError(f"{header.path}: world_mm is {world_mm!r}; must be x, y, z in mm")
    world = given.astype(np.float64)
    if np.all(np.isfinite(world)) and header.contains(world):
        return world
    corners = header.index_to_world(np.array([(0, 0, 0), np.array(header.shape) - 1]))
    raise ScanError(
        f"{header.path}: {tuple(map(float, world))} mm is outside the scan, which reaches "
        f"from {corners.min(0).round(1).tolist()} to {corners.max(0).round(1).tolist()}"
    )


def _middle_of_slice(header: Header, number: int | None) -> np.ndarray:
    path, last = header.path, header.slices - 1
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise ScanError(
            f"{path}: slice_index is {number!r}; must be a whole number from 0 to {last}"
        )
    if abs(header.direction[2, 2]) < np.sqrt(0.5):
        raise ScanError(
            f"{path}: its slices are not axial, so a slice number gives no axial slice; "
            "give a world coordinate"
        )
    if not 0 <= number <= last:
        raise ScanError(f"{path}: no slice {number}; it has 0 to {last}")
    middle = (np.array(header.shape) - 1) / 2
    return header.index_to_world(np.array([header.plane_of(number), middle[1], middle[2]]))
