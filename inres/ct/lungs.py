"""Lung masks: the paper's -400 HU threshold (Fig. 6), and a repair that keeps pleural nodules.

Lengths are in millimetres unless stated otherwise. Volumes have cubic voxels and indices that
increase towards the patient's left, back and head; masks are bool [Z, Y, X].
"""

import bisect

import numpy as np
from scipy import ndimage

from inres.ct import packed
from inres.ct.hulls import hulls
from inres.ct.pieces import Pieces, pieces

THRESHOLD_HU = -400
_THIN_AIR_HU, _MOST_THIN_AIR = -960, 0.3
"""Air around the body is below; greatest share of such voxels in a lung."""
_CUT_LUNG_MM2 = 200.0
"""Least area, in a slice, of a lung that an edge of the image cuts."""
_AIRWAY_HU = range(-950, -699, 25)
"""Thresholds of growing the airways, HU."""


def threshold_mask(
    hu: np.ndarray, spacing_mm: float, *, threshold_hu: float = THRESHOLD_HU
) -> np.ndarray:
    """Both lungs by threshold (paper, Fig. 6). bool [Z, Y, X].

    Voxels below `threshold_hu` are air. Air outside the body is removed, then the trachea and the
    main bronchi; the two lungs, or the one piece they form, are kept, and holes of the size of
    vessels and nodules are filled.

    Args:
      hu: int16 [Z, Y, X].
      spacing_mm: side of a voxel.
      threshold_hu: upper limit of air and lung.

    Returns:
      The mask; empty if nothing of a lung's size is found.
    """
    inner = _body(hu, threshold_hu, spacing_mm)
    inner &= hu < threshold_hu
    box, airway = _airway(hu, inner, spacing_mm)
    inner[box] &= ~airway
    lungs = _two_lungs(inner, spacing_mm)
    _fill_holes(lungs, spacing_mm)
    return lungs


def repair(
    mask: np.ndarray,
    spacing_mm: float,
    *,
    closing_mm: float = 10.0,
    pocket_mm2: float = 1000.0,
    margin_mm: float = 1.0,
) -> np.ndarray:
    """A mask that also contains solid nodules on the pleura, which a threshold drops.

    Each lung is treated separately in each slice:
    1. Dents narrower than twice `closing_mm` are closed.
    2. Dents on the side of the chest wall are filled up to the lung's convex hull if they are
       smaller than `pocket_mm2` and than a tenth of the lung's area. This is skipped where the
       hull adds half of the lung's area or more, so that heart, mediastinum and liver stay
       outside.
    3. The mask is dilated by `margin_mm`, and small holes are filled.

    Args:
      mask: bool [Z, Y, X].
      spacing_mm: side of a voxel.

    Returns:
      bool [Z, Y, X].
    """
    pad = int(np.ceil((closing_mm + margin_mm) / spacing_mm)) + 2
    wide = np.pad(mask, ((0, 0), (pad, pad), (pad, pad)))
    box = bounding_box(wide, pad=pad)
    if box is None:
        return mask.copy()
    wide[box] = _repaired(
        wide[box],
        pad=pad,
        closing=closing_mm / spacing_mm,
        pocket=pocket_mm2 / spacing_mm**2,
        margin=margin_mm / spacing_mm,
    )
    out = np.ascontiguousarray(wide[:, pad:-pad, pad:-pad])
    _fill_holes(out, spacing_mm)
    return out


def coverage(
    mask: np.ndarray, center_zyx: np.ndarray | tuple[float, float, float], radius_vox: float
) -> float:
    """The share of a sphere's voxels inside `mask`; voxels outside the array count as outside.

    A voxel belongs to the sphere if its centre does; the nearest voxel always belongs to it.
    """
    center = np.asarray(center_zyx, np.float64)
    low = np.floor(center - radius_vox).astype(int)
    high = np.ceil(center + radius_vox).astype(int) + 1
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    square = [(axis - c) ** 2 for axis, c in zip(axes, center, strict=True)]
    limit = max(radius_vox**2, sum(axis.min() for axis in square))
    first, last = np.maximum(low, 0), np.minimum(high, mask.shape)
    rows, columns = (slice(a, max(a, b)) for a, b in zip(first[1:], last[1:], strict=True))
    shown = tuple(slice(a - b, c - b) for a, b, c in zip(first[1:], low[1:], last[1:], strict=True))
    voxels = kept = 0
    for z, height in zip(axes[0], square[0], strict=True):  # a plane in memory at a time
        disc = height + square[1][:, None] + square[2] <= limit
        voxels += int(disc.sum())
        if first[0] <= z < last[0]:
            kept += int((mask[z, rows, columns] & disc[shown]).sum())
    return kept / voxels


def lung_labels(labels: np.ndarray) -> np.ndarray:
    """The lungs of a `seg-lungs-LUNA16` volume: labels 3 and 4. bool, same shape."""
    return (labels == 3) | (labels == 4)


def bounding_box(mask: np.ndarray, *, pad: int) -> tuple[slice, ...] | None:
    """The bounding box of a mask, extended by `pad` within the array; None if it is empty."""
    out = []
    for axis in range(mask.ndim):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(line):
            return None
        out.append(
            slice(max(0, int(line[0]) - pad), min(mask.shape[axis], int(line[-1]) + 1 + pad))
        )
    return tuple(out)


def _body(hu: np.ndarray, threshold_hu: float, spacing_mm: float) -> np.ndarray:
    """The body, with the air that it encloses in each slice. bool [Z, Y, X].

    On a grid of 2 mm, everything thinner than 6 mm (table, blanket, tubes) is removed; the largest
    remaining piece is the body. Air that reaches one edge of the slice belongs to it if it is as
    dense as a lung, which that edge then cuts.
    """
    step = max(1, round(2.0 / spacing_mm))
    coarse = hu[::step, ::step, ::step]
    tissue = coarse >= threshold_hu
    width = tissue.shape[2]
    edge = ((0, 0), (2, 2), (2, 2))
    core = packed.open_cross(packed.pack(np.pad(tissue, edge, "edge")))
    core = _largest(packed.unpack(core, width + 4)[:, 2:-2, 2:-2])
    core |= packed.unpack(packed.dilate(packed.pack(core), 1), width) & tissue
    found = pieces(~core, in_plane=True)
    large = found.sizes * (step * spacing_mm) ** 2 >= _CUT_LUNG_MM2
    thin = found.voxels_in(coarse < _THIN_AIR_HU) > _MOST_THIN_AIR * found.sizes
    edges = found.edges()
    core |= found.mask((edges == 0) | (large & ~thin))
    for axis, size in reversed(list(enumerate(hu.shape))):
        core = np.repeat(core, step, axis)[(slice(None),) * axis + (slice(size),)]
    return core


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask."""
    found = pieces(mask)
    return found.mask(found.most(found.sizes))


def _airway(
    hu: np.ndarray, inner: np.ndarray, spacing_mm: float
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Trachea and main bronchi with their walls; empty if no trachea is found.

    From the trachea, a region is grown with an increasing threshold until it would leak into the
    lungs.

    Returns:
      A box in the scan, and bool of the box's shape.
    """
    seed = _trachea(hu, inner, spacing_mm)
    box = bounding_box(seed, pad=round(60 / spacing_mm))
    if box is None:
        return (slice(0), slice(0), slice(0)), seed[:0, :0, :0]
    smooth = ndimage.gaussian_filter(hu[box].astype(np.float32), 1.0 / spacing_mm)
    start, inside = seed[box], inner[box]
    volume = np.count_nonzero(start)
    limit = 2.5 * volume + 10_000 / spacing_mm**3

    def region(threshold: int) -> tuple[Pieces, np.ndarray]:
        """All pieces below a threshold, and the one with most of the trachea, bool [count]."""
        found = pieces((smooth < threshold) & inside)
        return found, found.most(found.voxels_in(start))

    def leaks(threshold: int) -> bool:
        found, chosen = region(threshold)
        return bool(found.sizes[chosen].sum() > limit)

    # Regions grow with the threshold, so the last one that does not leak is found by bisection.
    below = bisect.bisect_right(_AIRWAY_HU, False, key=leaks)
    grown = start
    if below:
        found, chosen = region(_AIRWAY_HU[below - 1])
        grown = start | found.mask(chosen)
    bits = packed.pack(grown)
    wall = max(1, round(2.0 / spacing_mm))
    return box, packed.unpack(packed.dilate_cross(bits, wall), start.shape[2])


def _trachea(hu: np.ndarray, inner: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Voxels of the trachea, from the top of the scan to the carina. bool [Z, Y, X].

    The trachea is the tallest stack of round dark spots near the midline.
    """
    box = bounding_box(inner, pad=0)
    if box is None:
        return np.zeros_like(inner)
    spots = pieces(inner, in_plane=True)
    low, high = spots.boxes
    middle = (box[2].start + box[2].stop) / 2
    sides = (high - low)[:, 1:]
    area = spots.sizes * spacing_mm**2
    chosen = (
        (area >= 50)
        & (area <= 1000)
        & (sides.max(1) <= 2.5 * sides.min(1))
        & (np.abs((low[:, 2] + high[:, 2]) / 2 - middle) * spacing_mm < 40)
    )
    dark = spots.means(hu, chosen) < -850
    stacks = spots.joined(dark)
    low, high = stacks.boxes
    heights = high[:, 0] - low[:, 0]
    if heights.max(initial=0) * spacing_mm < 15:
        return np.zeros_like(inner)
    return stacks.mask(stacks.most(heights))


def _two_lungs(inner: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The largest piece on each side of the midline, or a single piece that fills both sides."""
    found = pieces(inner)
    sizes = found.sizes
    least = min(50_000, 1000 * spacing_mm * len(inner)) / spacing_mm**3  # thin scans hold less
    if sizes.max(initial=0) < least:
        return np.zeros_like(inner)
    keep = sizes == -1
    first = int(sizes.argmax())
    keep[first] = True
    middle = int(np.flatnonzero(inner.any((0, 1)))[[0, -1]].mean())
    right = found.voxels_before(middle)  # the patient's right lung has the lower indices
    share = right[first] / sizes[first]
    if not 0.2 <= share <= 0.8:
        on_other_side = np.where(keep, 0, sizes - right if share > 0.8 else right)
        second = int(on_other_side.argmax())
        keep[second] |= on_other_side[second] >= least
    return found.mask(keep)


def _fill_holes(mask: np.ndarray, spacing_mm: float, *, largest_mm2: float = 2000.0) -> None:
    """Fill holes of up to `largest_mm2` in each slice, in place; the heart is larger."""
    box = bounding_box(mask, pad=1)
    if box is None:
        return
    gaps = pieces(~mask[box], in_plane=True)
    small = gaps.sizes * spacing_mm**2 <= largest_mm2
    mask[box] |= gaps.mask(small & (gaps.edges() == 0))


def _midline(mask: np.ndarray) -> int:
    """The column between the lungs: the one in the middle third with the fewest mask voxels."""
    columns = mask.sum((0, 1))
    third = len(columns) // 3
    return third + int(columns[third : max(third + 1, len(columns) - third)].argmin())


def _repaired(
    mask: np.ndarray, *, pad: int, closing: float, pocket: float, margin: float
) -> np.ndarray:
    """`repair` of a mask with an empty margin of `pad` columns and rows, before filling holes.

    Lengths are in pixels, areas in square pixels.
    """
    width = mask.shape[2]
    bits = packed.pack(mask)
    rim = packed.rim(hulls(bits), 2)
    middle = _midline(mask)
    out = np.zeros_like(bits)
    for first, after in ((0, middle), (middle, width)):
        # The words that the lung can grow into.
        near = slice(max(0, first - pad) // packed.WORD, (after + pad) // packed.WORD + 1)
        side = packed.spans(np.array(first), np.array(after - 1), bits.shape[-1])
        lungs = (bits & side)[..., near]
        found = _repaired_side(lungs, rim[..., near], closing=closing, pocket=pocket)
        out[..., near] |= packed.dilate(found, margin)
    return packed.unpack(out, width)


def _repaired_side(
    lung: np.ndarray, rim: np.ndarray, *, closing: float, pocket: float
) -> np.ndarray:
    """One lung, closed, and filled in each slice up to its hull where that touches the `rim`.

    Packed masks uint64 [Z, Y, W].
    """
    closed = packed.close(lung, closing)
    hull = hulls(closed)
    area = packed.count(closed)
    convex = packed.count(hull) < 1.5 * area
    width = packed.WORD * lung.shape[-1]
    dents = packed.unpack(np.where(convex[:, None, None], hull & ~closed, 0), width)
    found = pieces(dents, in_plane=True)
    costal = found.voxels_in(packed.unpack(rim, width)) > 0
    limit = np.minimum(pocket, 0.1 * area[found.boxes[0][:, 0]])
    return closed | packed.pack(found.mask(costal & (found.sizes <= limit)))
