"""Queries prepared exactly as the archive's items: a place in a scan, an image file, an array.

A scan is read, resampled and searched for its lungs once, by `open_query_scan`; any number of
places are then cut from it in milliseconds each.
"""

import dataclasses
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from inres import sources
from inres.config import Config
from inres.ct.header import Header, ScanError, Vector
from inres.ct.image import read_image, refuse_twelve_bits, to_grey8
from inres.ct.scan import read_header
from inres.data import cubes
from inres.data.cut import Cut, cut_scan
from inres.data.images import grey_square, hu_problem

NOWHERE = (float("nan"), float("nan"))
"""The point of an image that is a crop already."""
ONE = np.ones(1, bool)
"""A single slice, which exists."""


@dataclasses.dataclass(frozen=True)
class QueryInput:
    """What `inres.data.views.stack` needs to make a network input of a query."""

    planes: np.ndarray
    """uint8 [C, S, S]: the slice between its neighbours, from the lowest up; C is 1 for images."""
    known: np.ndarray
    """bool [C]: which of these slices exist."""
    mask: np.ndarray | None
    """uint8 [S, S], 1 inside the lungs; None where nothing was segmented."""
    point: tuple[float, float]
    """Row and column of the place in `planes`; NaN for an image that is a crop already."""
    segmentable: bool
    """Whether a U-Net trained on the archive's slices applies: not to a crop of unknown scale."""
    notes: tuple[str, ...]
    """Messages for the user."""
    cube: tuple[np.ndarray, np.ndarray] | None = None
    """Values and states (`inres.data.cubes.states`) of the cube around the place, uint8 [D, D, D]
    both, where the archive's items are cubes; None for an image, of which one plane is known."""


@dataclasses.dataclass(frozen=True)
class QueryScan:
    """A scan that was read and segmented, from which queries are cut."""

    header: Header
    """The scan as stored."""
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
        config, z = self.cut.config, self.cut.nearest_plane(index[0])
        cube = self.cut.cube(index) if config.view == "cube" else None
        others, known = self.cut.neighbours(z)
        (below, above), (lower, upper) = np.split(others, 2), np.split(known, 2)
        half = float(config.canvas_px // 2)
        point = (half, half) if world_mm is None else self.cut.in_canvas(index)
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
    path: str | Path, *, config: Config, root: str | Path | None, series_uid: str = ""
) -> QueryScan:
    """Read a scan and find its lungs, in seconds, for queries that take milliseconds.

    Args:
      path: a scan in any format of `read_scan`.
      config: the archive's.
      root: the archive's data, or None where it is not on this machine. With
        `config.data.lung_masks` of `luna16`, a scan of this tree has its lungs from there. Those
        of any other scan are found by threshold, which a message says.
      series_uid: which DICOM series, where a folder holds several.

    Raises:
      ScanError: the scan cannot be read.
    """
    path = Path(path)
    header = read_header(path, series_uid=series_uid)
    wants_labels = config.data.lung_masks == "luna16"
    mask_of = sources.get(config.data.kind).lung_mask
    lung_mask = None
    if wants_labels and root is not None and mask_of is not None:
        lung_mask = mask_of(path, Path(root))
    cut = cut_scan(path, config.items, lung_mask=lung_mask, series_uid=series_uid)
    messages = list(cut.messages)
    if wants_labels and lung_mask is None:
        where = "the archive's data" if root is None else root
        messages.append(
            f"{path}: no scan of {where} with a mask in seg-lungs-LUNA16; its canvas, and without "
            "a trained U-Net its lungs, are found by threshold, unlike the archive's"
        )
    return QueryScan(header, cut, tuple(messages))


def read_query_image(
    path: str | Path, *, config: Config, root: str | Path | None, in_archive: bool = False
) -> QueryInput:
    """A single image file as a query.

    Where the archive is a folder of images, the file is read as these were. Where it was cut from
    scans, a CT slice in HU is prepared as a scan of one slice, without neighbours; any other image
    is taken for a crop.

    Args:
      path: an image in any format of `read_image`.
      config, root: as in `open_query_scan`.
      in_archive: the file is one of the archive's own images, whose scale is known to be right.

    Raises:
      ScanError: not an image, damaged, with more than one slice, of 12 bits in 16, or in a signed
        or floating type without HU; names the file.
    """
    path = Path(path)
    image = read_image(path)
    ready_made = sources.get(config.data.kind).ready_made
    if not ready_made and image.ndim != 2:
        raise ScanError(
            f"{path}: {len(image)} slices, a scan; name a world coordinate or a slice number"
        )
    in_hu = not np.issubdtype(image.dtype, np.unsignedinteger)
    if not ready_made and in_hu and len(_size(path)) == 3:
        scan = open_query_scan(path, config=config, root=root)
        whole = scan.at(slice_index=0)
        middle = whole.planes[len(whole.planes) // 2][None]
        return dataclasses.replace(whole, planes=middle, known=ONE, cube=_plane_only(whole.cube))
    return _as_query(image, config=config, name=str(path), in_archive=in_archive)


def _plane_only(cube: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """A cube of which only the central plane is known, as of any single slice."""
    if cube is None:
        return None
    values, states = cube
    central = np.arange(states.shape[-1]) == states.shape[-1] // 2
    return values, np.where(central, states, cubes.UNKNOWN)


def query_image(image: np.ndarray, *, config: Config) -> QueryInput:
    """An image array [Y, X] in the archive's item format as a query: neither resampled nor cut.

    Args:
      image: finite values: uint8, or uint16 over its full range, or HU in a signed or floating
        type.
      config: the archive's.

    Raises:
      ScanError: not such an array.
    """
    if not isinstance(image, np.ndarray):
        raise ScanError(
            f"image: {type(image).__name__}; must be the path of a file, or a numpy array [Y, X] "
            "of uint8, uint16, or HU in a signed or floating type"
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ScanError("image: NaN or infinite pixels; replace them, for example by -1000 HU")
    return _as_query(image, config=config, name="image")


def _as_query(
    image: np.ndarray, *, config: Config, name: str, in_archive: bool = False
) -> QueryInput:
    """As `query_image`; NaN counts as air. `in_archive` as in `read_query_image`."""
    if image.ndim != 2 or not image.size:
        raise ScanError(f"{name}: shape {image.shape}; an item is one 2-D slice")
    if image.dtype.kind not in "uif":
        raise ScanError(
            f"{name}: {image.dtype} pixels; must be uint8, uint16, or HU in a signed or floating "
            "type"
        )
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if not in_archive:
        refuse_twelve_bits(image, name)
        _refuse_other_scales(image, name)
    if sources.get(config.data.kind).ready_made:
        grey = grey_square(image, config.items, name=name)
        return QueryInput(grey[None], ONE, None, NOWHERE, segmentable=True, notes=())
    items = config.items
    grey = to_grey8(image, hu_min=items.hu_min, hu_max=items.hu_max, name=name)
    note = f"{name}: its pixel size is unknown, so it is neither resampled nor segmented"
    return QueryInput(grey[None], ONE, None, NOWHERE, segmentable=False, notes=(note,))


def _refuse_other_scales(image: np.ndarray, name: str) -> None:
    """Refuse a signed or floating image whose values are no HU, by the rule for folders.

    Raises:
      ScanError: no pixel is finite, or none is as low as air.
    """
    if image.dtype.kind == "u":
        return
    known = image[np.isfinite(image)]
    if not known.size:
        raise ScanError(f"{name}: not one finite pixel; replace the image")
    if wrong := hu_problem(float(known.min())):
        raise ScanError(
            f"{name}: {image.dtype} pixels are taken for HU, but the lowest value, {wrong}"
        )


def _checked_place(header: Header, world_mm: Vector) -> np.ndarray:
    try:
        given = np.array(world_mm)
    except ValueError:  # ragged
        given = np.zeros(0)
    numbers = given.shape == (3,) and given.dtype.kind in "iuf"
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
    path, last = header.path, header.shape[0] - 1
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
    return header.index_to_world(np.array([number, middle[1], middle[2]]))


def _size(path: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetSize()
