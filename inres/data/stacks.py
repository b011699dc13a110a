"""Stacks of slices: the central slice, the slices next to it, and planes between them."""

import numpy as np

_CLOSE_MM = 1e-6
"""Tolerance of a comparison of positions."""


def central_place(heights: np.ndarray) -> int:
    """The central slice of a stack: one at 0 between others, else the one nearest to the middle.

    Positions are often given relative to the slice that the size was measured in, or to the first
    one, which is not central. Of two slices that are as near to the middle, it is the lower one.

    Args:
      heights: float [C], positions along the body axis in ascending order.
    """
    zero = np.flatnonzero(np.abs(heights[1:-1]) <= _CLOSE_MM)
    if len(zero):
        return 1 + int(zero[0])
    return int(np.abs(heights - (heights[0] + heights[-1]) / 2).argmin())


def even_heights(count: int, step_mm: float = 1.0) -> np.ndarray:
    """Positions of slices at one distance, float64 [count], 0 at the central one."""
    return step_mm * (np.arange(count, dtype=np.float64) - (count - 1) // 2)


def neighbour_places(count: int, k: int) -> np.ndarray:
    """The `k` slices below and above each slice of a stack, from the lowest up.

    Returns:
      int64 [count, 2 k], -1 beyond the ends.
    """
    offsets = np.array([j for j in range(-k, k + 1) if j], np.int64)
    places = np.arange(count)[:, None] + offsets
    return np.where((places >= 0) & (places < count), places, -1)


def planes_at(
    planes: np.ndarray, heights: np.ndarray, wanted: np.ndarray, *, thickness_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Planes at the positions `wanted`, interpolated linearly between the slices of a stack.

    A stack knows the positions between its first and last slice, and half of the distance to the
    neighbour beyond these, but at least half of `thickness_mm`. Nothing is repeated beyond that.

    Args:
      planes: float [C, S, S].
      heights: float [C], their positions along the body axis, all different, in ascending order.
      wanted: float [D].
      thickness_mm: of the wanted planes.

    Returns:
      float32 [D, S, S], and bool [D], which of them are known.
    """
    gaps = np.diff(heights)
    ends = gaps[[0, -1]] if len(gaps) else (0.0, 0.0)
    below, above = (max(gap, thickness_mm) / 2 for gap in ends)
    known = (wanted >= heights[0] - below - _CLOSE_MM) & (wanted <= heights[-1] + above + _CLOSE_MM)
    place = np.interp(wanted, heights, np.arange(len(heights)))
    low = np.minimum(place.astype(int), max(len(heights) - 2, 0))
    high = np.minimum(low + 1, len(heights) - 1)
    part = (place - low).astype(np.float32)[:, None, None]
    return planes[low] * (1 - part) + planes[high] * part, known
