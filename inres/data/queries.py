"""A place in a scan, or an image file, as a query: by the very road of the archive's items."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from inres.config import Config
from inres.ct.header import Header, ScanError, Vector
from inres.ct.image import read_image, refuse_twelve_bits, to_grey8
from inres.ct.scan import read_header
from inres.data.cut import cut_scan, inside_canvas
from inres.data.folder import load_image
from inres.sources.luna16 import lung_mask_of


def prepare_point(
    path: str | Path,
    *,
    config: Config,
    root: str | Path,
    world_mm: Vector | None = None,
    slice_index: int | None = None,
    series_uid: str = "",
) -> tuple[np.ndarray, np.ndarray, tuple[float, float], tuple[str, ...]]:
    """One slice of a scan as a query, cut exactly as the gallery's.

    Args:
      path: a scan in any format of `read_scan`.
      config: the gallery's.
      root: the gallery's tree. With `config.data.lung_masks` of `luna16` a scan of it has its
        lungs from there; those of any other are found by threshold, which a message says.
      world_mm: x, y, z (LPS) of the place; or else
      slice_index: the number of a slice, from 0, in the order in which the scan is stored.
      series_uid: which DICOM series, where a folder holds several.

    Returns:
      planes uint8 [C, S, S], the place's own in the middle of its neighbours
      (`config.items.neighbours`), lungs uint8 [S, S], (row, col) of the place in both (the
      canvas's middle for a slice number), and messages.

    Raises:
      ScanError: the scan cannot be read, or the place or slice lies outside of it.
      ValueError: not exactly one of `world_mm` and `slice_index` is given.
    """
    path, root = Path(path), Path(root)
    if (world_mm is None) == (slice_index is None):
        raise ValueError("give either world_mm or slice_index")
    header = read_header(path, series_uid=series_uid)
    if world_mm is None:
        world = _middle_of_slice(header, int(slice_index or 0))
    else:
        world = np.array(world_mm, np.float64)
        if not np.all(np.isfinite(world)) or not header.contains(world):
            corners = header.index_to_world(np.array([(0, 0, 0), np.array(header.shape) - 1]))
            raise ScanError(
                f"{path}: {tuple(map(float, world))} mm lies outside of the scan, which reaches "
                f"from {corners.min(0).round(1).tolist()} to {corners.max(0).round(1).tolist()}"
            )
    wants_labels = config.data.lung_masks == "luna16"
    lung_mask = lung_mask_of(path, root) if wants_labels else None
    cut = cut_scan(path, config, lung_mask=lung_mask, series_uid=series_uid)
    index = cut.volume.world_to_index(world)
    z = cut.nearest_plane(index[0])
    messages = list(cut.messages)
    if wants_labels and lung_mask is None:
        messages.append(
            f"{path}: no scan of {root} with a mask in seg-lungs-LUNA16, so its canvas, and where "
            "no U-Net was trained its lungs, are found by threshold, other than the archive's"
        )
    half = float(config.items.canvas_px // 2)
    point = (half, half)
    if world_mm is not None:
        point = cut.in_canvas(index, config)
        if not inside_canvas(point, config):
            messages.append(f"{path}: the place lies outside of the canvas round the lungs")
    elif config.items.view == "crop":
        messages.append(
            f"{path}: a slice number names no place, so the crop lies in the middle of the lungs; "
            "give a world coordinate"
        )
    beside, k = cut.neighbours(z, config), config.items.neighbours
    planes = np.concatenate([beside[:k], cut.plane(z, config)[None], beside[k:]])
    return planes, cut.mask_plane(z, config), point, tuple(messages)


def prepare_image(
    path: str | Path, *, config: Config, root: str | Path, lone: bool = True
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float], tuple[str, ...]]:
    """A single image file as a query.

    Where the gallery came from a folder it is read as that was. Where it came from scans, a CT
    slice in HU takes their road, as a scan of one slice; any other image is taken as it is: 8
    bits, no mask, and a point of NaN.

    Args: as `prepare_point`; `lone` as `folder.load_image` has it.

    Returns:
      As `prepare_point`, without neighbours: planes uint8 [1, S, S]; the mask is None where
      nothing was segmented.

    Raises:
      ValueError: not an image, damaged, with more than one slice, or of 12 bits in 16; names the
        file.
    """
    path = Path(path)
    nowhere = (float("nan"), float("nan"))
    if config.data.kind == "folder":
        return load_image(path, config, lone=lone)[None], None, nowhere, ()
    image = read_image(path)
    if image.ndim != 2:
        raise ScanError(
            f"{path}: {len(image)} slices, a scan; name a world coordinate or a slice number"
        )
    items = config.items
    if not np.issubdtype(image.dtype, np.unsignedinteger) and len(_size(path)) == 3:
        planes, *rest = prepare_point(path, config=config, root=root, slice_index=0)
        return planes[len(planes) // 2][None], *rest
    refuse_twelve_bits(image, str(path))
    grey = to_grey8(image, hu_min=items.hu_min, hu_max=items.hu_max, name=str(path))
    note = f"{path}: its pixel size and HU are unknown, so it is neither resampled nor segmented"
    return grey[None], None, nowhere, (note,)


def _size(path: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetSize()


def _middle_of_slice(header: Header, number: int) -> np.ndarray:
    path = header.path
    if abs(header.direction[2, 2]) < np.sqrt(0.5):
        raise ScanError(
            f"{path}: its slices are not axial, so a slice number names no axial slice; "
            "give a world coordinate"
        )
    if not 0 <= number < header.shape[0]:
        raise ScanError(f"{path}: no slice {number}; it has 0 to {header.shape[0] - 1}")
    middle = (np.array(header.shape) - 1) / 2
    return header.index_to_world(np.array([number, middle[1], middle[2]]))
