"""Normal slices: planes of a scan that show no finding, and how many to take from each scan."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage, spatial
from scipy.cluster import vq

from inres.config import Items
from inres.data.cut import Cut
from inres.sources import Finding

UNKNOWN_RADIUS_MM = 3.0
"""Assumed for excluded findings without a diameter: LUNA16 gives none below 3 mm."""
MIN_GAP_MM = 3.0
"""Least distance between normal slices of one scan."""
MIN_LUNG_SHARE = 0.2
"""A normal slice has at least this share of the scan's largest lung area."""
POINT_DEPTH_MM = 5.0
"""A normal slice's point lies this deep inside the lung, where the lung is wide enough."""
SPREAD_SAMPLE = 20_000
"""Lung voxels, chosen at random, that are clustered to spread places through the lungs."""


def most_per_scan(normals: int, scans: int) -> int:
    """How many normal slices each scan offers, so that scans without any can be made up for."""
    return min(normals, max(8, 4 * -(-normals // scans)))


def normal_places(
    cut: Cut, findings: Sequence[Finding], *, most: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Places z, y, x (float64 [3]) in up to `most` planes clear of all findings, in random order.

    A place is a random point of the lungs in its plane, if possible one whose cube is clear too.
    """
    for z in clear_planes(cut, findings, most=most, rng=rng):
        yield np.array([z, *lung_point(cut, z, findings, rng)], np.float64)


def spread_places(cut: Cut, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """`count` places spread evenly through the lungs of a scan, for scans without findings.

    They are the means of clusters of lung voxels (k-means), each moved to the nearest voxel that
    lies `POINT_DEPTH_MM` inside the lungs, where these are thick enough, and inside the canvas.

    Returns:
      float64 [n, 3], z, y, x, in ascending order; n is smaller where the lungs are.
    """
    half = cut.config.canvas_px // 2
    rows, cols = (slice(max(0, c - half), c - half + 2 * half) for c in cut.center)
    inside = np.zeros_like(cut.mask)
    inside[:, rows, cols] = cut.mask[:, rows, cols]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    deep = min(POINT_DEPTH_MM / cut.config.spacing_mm, depth.max() / 2)
    voxels = np.argwhere(inside & (depth >= deep))
    chosen = voxels[np.sort(rng.permutation(len(voxels))[:SPREAD_SAMPLE])].astype(np.float64)
    if len(chosen) <= count:
        return chosen
    means, _ = vq.kmeans2(chosen, count, minit="++", rng=rng)
    nearest = np.unique(spatial.cKDTree(chosen).query(means)[1])
    return chosen[nearest]


def clear_planes(
    cut: Cut, findings: Sequence[Finding], *, most: int, rng: np.random.Generator
) -> list[int]:
    """Up to `most` planes clear of all findings and apart from each other, in random order.

    Planes whose neighbours, or whose cube, lie inside the scan come first, as do those at least
    `normal_inside_mm` from its ends. Nodules are rarely so close to the ends of a scan that theirs
    do not, and normal places should not differ in that.
    """
    config: Items = cut.config
    area = cut.mask.sum((1, 2))
    clear = area >= max(1, MIN_LUNG_SHARE * area.max())
    heights = np.arange(len(clear))
    for finding in findings:
        z = cut.volume.world_to_index(np.array(finding.world_mm))[0]
        distance = np.abs(heights - z) * config.spacing_mm
        clear &= distance >= _radius_mm(finding) + config.normal_clearance_mm
    reach = inner_planes(config)
    inner = (heights >= reach) & (heights < len(heights) - reach)
    chosen: list[int] = []
    for z in (z for part in (inner, ~inner) for z in rng.permutation(np.flatnonzero(clear & part))):
        if len(chosen) == most:
            break
        if all(abs(z - other) * config.spacing_mm >= MIN_GAP_MM for other in chosen):
            chosen.append(int(z))
    return chosen


def inner_planes(config: Items) -> int:
    """Planes at each end of a scan that are only used if no others are left.

    An item shows so many on each side of its own at most, or `normal_inside_mm` asks for more.
    """
    return math.ceil(reach_mm(config) / config.spacing_mm)


def lung_point(
    cut: Cut, z: int, findings: Sequence[Finding], rng: np.random.Generator
) -> tuple[int, int]:
    """Row and column of a random point of the lungs in plane `z`, away from their border.

    A point around which an item would show a finding is only taken if there is no other.
    """
    inside = np.zeros_like(cut.mask[z])
    half = cut.config.canvas_px // 2
    rows, cols = (slice(max(0, c - half), c - half + 2 * half) for c in cut.center)
    inside[rows, cols] = cut.mask[z][rows, cols]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    deep = min(POINT_DEPTH_MM / cut.config.spacing_mm, depth.max() / 2)
    points = np.argwhere(inside & (depth >= deep))
    away = points[~near_findings(cut, z, findings)[tuple(points.T)]]
    points = away if len(away) else points
    row, col = points[rng.choice(len(points))]
    return int(row), int(col)


def near_findings(cut: Cut, z: int, findings: Sequence[Finding]) -> np.ndarray:
    """Where in plane `z` a cube around a point would contain a part of a finding: bool [Y, X].

    The cube reaches as far as an item along the body axis, or `normal_inside_mm` if that is more.
    """
    near = np.zeros(cut.mask.shape[1:], bool)
    for finding in findings:
        index = cut.volume.world_to_index(np.array(finding.world_mm))
        reach = (reach_mm(cut.config) + _radius_mm(finding)) / cut.config.spacing_mm
        if abs(index[0] - z) < reach:
            low = np.maximum(np.floor(index[1:] - reach).astype(int) + 1, 0)
            high = np.maximum(np.ceil(index[1:] + reach).astype(int), 0)
            near[low[0] : high[0], low[1] : high[1]] = True
    return near


def reach_mm(config: Items) -> float:
    """How far from a normal place an item may show its scan, on each side."""
    return max(config.shown_mm, config.normal_inside_mm)


def _radius_mm(finding: Finding) -> float:
    return UNKNOWN_RADIUS_MM if np.isnan(finding.diameter_mm) else finding.diameter_mm / 2


def even_shares(offered: Sequence[int], total: int, rng: np.random.Generator) -> list[int]:
    """How many to take of each offer: `total` in all, or every offer, as evenly as possible."""
    take = np.zeros(len(offered), int)
    left = min(total, sum(offered))
    while left:
        open_ = np.flatnonzero(take < np.array(offered))
        if left < len(open_):
            take[rng.permutation(open_)[:left]] += 1
            break
        step = min(left // len(open_), int((np.array(offered) - take)[open_].min()))
        take[open_] += step
        left -= step * len(open_)
    return take.tolist()
