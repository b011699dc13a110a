"""Linear interpolation of a volume on a grid with the same axes, one axis after the other."""

import functools

import numpy as np


def resampled(
    values: np.ndarray, *, first: np.ndarray, step: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """Values at the indices first + i step along each axis, i = 0, 1, ...

    Fractions are dropped, as by SimpleITK. Only two planes are held as floats at a time.

    Args:
      values: int16 [Z, Y, X].
      first, step: float64 [3], z, y, x; indices beyond the outer voxels count as these.
      shape: of the result.

    Returns:
      int16 [*shape].
    """
    z, y, x = (_neighbours(*axis) for axis in zip(values.shape, first, step, shape, strict=True))

    @functools.lru_cache(maxsize=2)
    def plane(index: int) -> np.ndarray:
        return _along(_along(values[index], y, 0), x, 1)

    out = np.empty(shape, np.int16)
    for place, (low, high, weight) in enumerate(zip(*z, strict=True)):
        out[place] = _between(plane(low), plane(high), weight=weight)
    return out


def _neighbours(
    length: int, first: float, step: float, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper neighbours, int [count], and weights of the upper ones, float32 [count]."""
    place = np.clip(first + np.arange(count) * step, 0, length - 1)
    low = np.minimum(place.astype(np.intp), max(length - 2, 0))
    return low, np.minimum(low + 1, length - 1), (place - low).astype(np.float32)


def _along(
    plane: np.ndarray, neighbours: tuple[np.ndarray, np.ndarray, np.ndarray], axis: int
) -> np.ndarray:
    """A plane interpolated along one of its axes. float32 [., .]."""
    low, high, weight = neighbours
    ends = (plane.take(n, axis, mode="clip") for n in (low, high))
    return _between(*ends, weight=weight[:, None] if axis == 0 else weight)


def _between(low: np.ndarray, high: np.ndarray, *, weight: np.ndarray | float) -> np.ndarray:
    """(1 - weight) low + weight high, exact where both are equal. float32."""
    out = high.astype(np.float32)
    out -= low
    out *= weight
    out += low
    return out
