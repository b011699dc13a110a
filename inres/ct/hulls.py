"""Convex hulls of the planes of a mask, all planes at once."""

import numpy as np

from inres.ct import packed

_CLOSE = 1e-6
"""A pixel so far outside a side of the hull, in pixels, still belongs to it."""


def hulls(bits: np.ndarray) -> np.ndarray:
    """The convex hull of each plane: all pixels whose centres lie in it.

    A plane whose pixels all lie on one line is its own hull.

    Args:
      bits: packed mask (`inres.ct.packed`), uint64 [Z, Y, W].

    Returns:
      uint64 [Z, Y, W].
    """
    plane, row = np.nonzero(bits.any(-1))
    if not len(plane):
        return bits.copy()
    first, last = (edge(bits)[plane, row] for edge in (packed.first_column, packed.last_column))
    starts = np.flatnonzero(np.diff(plane, prepend=-1))
    ends = np.append(starts[1:], len(plane)) - 1
    # All rows between the first and the last of each plane.
    heights = row[ends] - row[starts] + 1
    planes = np.repeat(plane[starts], heights)
    rows = np.arange(heights.sum()) + np.repeat(row[starts] - np.cumsum(heights) + heights, heights)
    left = _lower_hull(plane, row, first, planes, rows)
    right = -_lower_hull(plane, row, -last, planes, rows)
    begin = np.ceil(left - _CLOSE).astype(np.int64)
    end = np.floor(right + _CLOSE).astype(np.int64)
    out = bits.copy()
    out[planes, rows] |= packed.spans(begin, end, bits.shape[-1])
    width = np.zeros(len(bits))
    np.maximum.at(width, planes, right - left)
    line = plane[starts[(heights == 1) | (width[plane[starts]] < _CLOSE)]]
    out[line] = bits[line]
    return out


def _lower_hull(
    plane: np.ndarray, row: np.ndarray, column: np.ndarray, planes: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The lower convex hull of points in each plane, at other rows: float64 [M].

    Args:
      plane, row, column: int [N], the points, ordered by plane and row, one in each row.
      planes, rows: int [M], where to evaluate it, between the first and last row of the plane.
    """
    # A point on or above the line between its neighbours is no corner. All such points can be
    # dropped at once, as each lies on or above the hull of those that remain.
    while True:
        before, here, after = slice(None, -2), slice(1, -1), slice(2, None)
        rise = (column[here] - column[before]) * (row[after] - row[before])
        chord = (column[after] - column[before]) * (row[here] - row[before])
        keep = np.ones(len(row), bool)
        keep[here] = (plane[before] != plane[after]) | (rise < chord)
        if keep.all():
            break
        plane, row, column = plane[keep], row[keep], column[keep]
    stride = max(rows.max(), row.max()) + 1
    return np.interp(planes * stride + rows, plane * stride + row, column)
