"""Lung masks: the paper's -400 HU threshold (Fig. 6), and a repair that keeps pleural nodules.

Lengths are in millimetres unless stated otherwise. Volumes have cubic voxels and indices that
increase towards the patient's left, back and head; masks are bool [Z, Y, X].
"""

import numpy as np
from scipy import ndimage, spatial

THRESHOLD_HU = -400


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
    air = hu < threshold_hu
    inner = air & _body(air, spacing_mm)
    inner &= ~_airway(hu, inner, spacing_mm)
    return _filled(_two_lungs(inner, spacing_mm), spacing_mm)


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
    edge = ((0, 0), (pad, pad), (pad, pad))
    wide = np.pad(mask, edge)
    out = np.zeros_like(wide)
    box = bounding_box(wide, pad=pad)
    if box is None:
        return mask.copy()
    middle = _midline(wide[box])
    for z in range(box[0].start, box[0].stop):
        out[z][box[1:]] = _repaired_slice(
            wide[z][box[1:]],
            middle,
            pad=pad,
            closing=closing_mm / spacing_mm,
            pocket=pocket_mm2 / spacing_mm**2,
            margin=margin_mm / spacing_mm,
        )
    return _filled(out[:, pad:-pad, pad:-pad], spacing_mm)


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
    distance = square[0][:, None, None] + square[1][None, :, None] + square[2][None, None, :]
    sphere = np.argwhere(distance <= max(radius_vox**2, distance.min())) + low
    within = np.all((sphere >= 0) & (sphere < mask.shape), axis=1)
    return float(mask[tuple(sphere[within].T)].sum() / len(sphere))


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


def _body(air: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The body, with the air that it encloses in each slice. bool [Z, Y, X].

    On a grid of 2 mm, everything thinner than 6 mm (table, blanket, tubes) is removed; the largest
    remaining piece is the body.
    """
    step = max(1, round(2.0 / spacing_mm))
    tissue = ~air[::step, ::step, ::step]
    in_plane = ndimage.generate_binary_structure(3, 1)
    in_plane[[0, 2]] = False
    core = ndimage.binary_opening(np.pad(tissue, ((0, 0), (2, 2), (2, 2)), "edge"), in_plane)
    core = _largest(core[:, 2:-2, 2:-2])
    core = ndimage.binary_dilation(core, in_plane, mask=tissue)
    for z in range(len(core)):
        core[z] = ndimage.binary_fill_holes(core[z])
    for axis in range(3):
        core = np.repeat(core, step, axis)
    return core[tuple(slice(0, n) for n in air.shape)]


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _airway(hu: np.ndarray, inner: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Trachea and main bronchi with their walls. bool [Z, Y, X]; empty if no trachea is found.

    From the trachea, a region is grown with an increasing threshold until it would leak into the
    lungs.
    """
    out = np.zeros_like(inner)
    seed = _trachea(hu, inner, spacing_mm)
    box = bounding_box(seed, pad=round(60 / spacing_mm))
    if box is None:
        return out
    smooth = ndimage.gaussian_filter(hu[box].astype(np.float32), 1.0 / spacing_mm)
    start = seed[box]
    volume = start.sum()
    limit = 2.5 * volume + 10_000 / spacing_mm**3
    grown = start
    for threshold in range(-950, -699, 25):
        labels, _ = ndimage.label((smooth < threshold) & inner[box])
        touched = np.bincount(labels[start], minlength=2)
        touched[0] = 0
        region = labels == touched.argmax() if touched.any() else start
        if region.sum() > limit:
            break
        grown = region
    wall = max(1, round(2.0 / spacing_mm))
    out[box] = ndimage.binary_dilation(grown | start, iterations=wall)
    return out


def _trachea(hu: np.ndarray, inner: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Voxels of the trachea, from the top of the scan to the carina. bool [Z, Y, X].

    The trachea is the tallest stack of round dark spots near the midline.
    """
    seed = np.zeros_like(inner)
    box = bounding_box(inner, pad=0)
    if box is None:
        return seed
    middle = (box[2].start + box[2].stop) / 2
    for z in range(box[0].start, box[0].stop):
        labels, count = ndimage.label(inner[z])
        sizes = np.bincount(labels.ravel(), minlength=count + 1) * spacing_mm**2
        spots = [
            n + 1
            for n, part in enumerate(ndimage.find_objects(labels))
            if 50 <= sizes[n + 1] <= 1000
            and max(_sides(part)) <= 2.5 * min(_sides(part))
            and abs((part[1].start + part[1].stop) / 2 - middle) * spacing_mm < 40
            and hu[z][part][labels[part] == n + 1].mean() < -850
        ]
        seed[z] = np.isin(labels, spots)
    labels, count = ndimage.label(seed)
    heights = [part[0].stop - part[0].start for part in ndimage.find_objects(labels)]
    if not heights or max(heights) * spacing_mm < 15:
        return np.zeros_like(seed)
    return labels == 1 + int(np.argmax(heights))


def _sides(part: tuple[slice, ...]) -> list[int]:
    """Side lengths of a box."""
    return [axis.stop - axis.start for axis in part]


def _two_lungs(inner: np.ndarray, spacing_mm: float) -> np.ndarray:
    """The largest piece on each side of the midline, or a single piece that fills both sides."""
    labels, _ = ndimage.label(inner)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    least = min(50_000, 1000 * spacing_mm * len(inner)) / spacing_mm**3  # thin scans hold less
    if sizes.max(initial=0) < least:
        return np.zeros_like(inner)
    first = int(sizes.argmax())
    keep = labels == first
    across = inner.any((0, 1))
    middle = int(np.flatnonzero(across)[[0, -1]].mean())
    left_share = keep[..., :middle].sum() / sizes[first]
    if 0.2 <= left_share <= 0.8:
        return keep
    other = slice(middle, None) if left_share > 0.8 else slice(0, middle)
    on_side = np.bincount(labels[..., other].ravel(), minlength=len(sizes))
    on_side[[0, first]] = 0
    second = int(on_side.argmax())
    if on_side[second] >= least:
        keep |= labels == second
    return keep


def _filled(mask: np.ndarray, spacing_mm: float, *, largest_mm2: float = 2000.0) -> np.ndarray:
    """`mask` with holes of up to `largest_mm2` filled in each slice; the heart is larger."""
    out = mask.copy()
    box = bounding_box(mask, pad=1)
    if box is None:
        return out
    for plane in out[box]:
        labels, _ = ndimage.label(~plane)
        sizes = np.bincount(labels.ravel()) * spacing_mm**2
        sizes[0] = np.inf
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            sizes[edge] = np.inf
        plane |= sizes[labels] <= largest_mm2
    return out


def _midline(mask: np.ndarray) -> int:
    """The column between the lungs: the one in the middle third with the fewest mask voxels."""
    columns = mask.sum((0, 1))
    third = len(columns) // 3
    return third + int(columns[third : max(third + 1, len(columns) - third)].argmin())


def _repaired_slice(
    mask: np.ndarray, middle: int, *, pad: int, closing: float, pocket: float, margin: float
) -> np.ndarray:
    """One slice of `repair`; lengths are in pixels, areas in square pixels."""
    out = np.zeros_like(mask)
    if not mask.any():
        return out
    chest = _hull(mask)
    shifts = ((2, 0), (-2, 0), (2, 1), (-2, 1))  # within the padding, so nothing wraps around
    rim = chest & ~np.logical_and.reduce([np.roll(chest, n, axis) for n, axis in shifts])
    for side in (slice(0, middle), slice(middle, None)):
        lung = np.zeros_like(mask)
        lung[:, side] = mask[:, side]
        box = bounding_box(lung, pad=pad)
        if box is not None:
            repaired = _repaired_lung(lung[box], rim[box], closing=closing, pocket=pocket)
            out[box] |= ndimage.distance_transform_edt(~repaired) <= margin
    return out


def _repaired_lung(
    lung: np.ndarray, rim: np.ndarray, *, closing: float, pocket: float
) -> np.ndarray:
    """One lung in one slice, closed, and filled up to its hull where that touches the `rim`."""
    closed = lung | _closed(lung, closing)
    hull = _hull(closed)
    if hull.sum() >= 1.5 * closed.sum():
        return closed
    labels, count = ndimage.label(hull & ~closed)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    costal = np.bincount(labels[rim], minlength=count + 1) > 0
    keep = costal & (sizes <= min(pocket, 0.1 * closed.sum()))
    keep[0] = False
    return closed | keep[labels]


def _closed(mask: np.ndarray, radius: float) -> np.ndarray:
    """Morphological closing by a disc of any radius."""
    grown = ndimage.distance_transform_edt(~mask) <= radius
    return ndimage.distance_transform_edt(grown) > radius


def _hull(mask: np.ndarray) -> np.ndarray:
    """The convex hull of a mask [Y, X]; the mask itself if it is a line."""
    rows = np.flatnonzero(mask.any(1))
    left = mask[rows].argmax(1)
    right = mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    points = np.concatenate([np.stack([rows, left], 1), np.stack([rows, right], 1)])
    try:
        corners = points[spatial.ConvexHull(points).vertices].astype(np.float64)
    except (spatial.QhullError, ValueError):
        return mask.copy()
    ends = np.roll(corners, -1, 0)
    here = np.arange(rows[0], rows[-1] + 1)[:, None]
    low, high = np.minimum(corners[:, 0], ends[:, 0]), np.maximum(corners[:, 0], ends[:, 0])
    rise = np.where(ends[:, 0] == corners[:, 0], 1.0, ends[:, 0] - corners[:, 0])
    crossing = corners[:, 1] + (here - corners[:, 0]) * (ends[:, 1] - corners[:, 1]) / rise
    crossed = (here >= low) & (here <= high)
    first = np.where(crossed, crossing, np.inf).min(1)
    last = np.where(crossed, crossing, -np.inf).max(1)
    columns = np.arange(mask.shape[1])
    out = np.zeros_like(mask)
    out[rows[0] : rows[-1] + 1] = (columns >= first[:, None] - 1e-6) & (
        columns <= last[:, None] + 1e-6
    )
    return out | mask
