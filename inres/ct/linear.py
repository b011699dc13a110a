"""Linear interpolation of a volume on a grid with the same axes, one axis after the other."""

import functools

import numpy as np

_REACH = 4.0
"""Half width of a Gaussian kernel in standard deviations, as in `scipy.ndimage`."""


def resampled(
    values: np.ndarray,
    *,
    first: np.ndarray,
    step: np.ndarray,
    shape: tuple[int, int, int],
    sigma: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Values at the indices first + i step along each axis, i = 0, 1, ...

    Fractions are dropped, as by SimpleITK. Only a few planes are held as floats at a time.

    Args:
      values: int16 [Z, Y, X].
      first, step: float64 [3], z, y, x; indices beyond the outer voxels count as these.
      shape: of the result.
      sigma: standard deviations, in voxels of `values`, of a Gaussian that smooths them first;
        float64 [3] or one for all axes, 0 for none. Outer voxels are repeated.

    Returns:
      int16 [*shape].
    """
    sigmas = np.broadcast_to(sigma, 3)
    z, y, x = (_taps(*axis) for axis in zip(values.shape, first, step, shape, sigmas, strict=True))

    @functools.lru_cache(maxsize=len(z[0]))
    def plane(index: int) -> np.ndarray:
        return _along(_along(values[index], y, 0), x, 1)

    out = np.empty(shape, np.int16)
    for place, (indices, weights) in enumerate(zip(z[0].T.tolist(), z[1].T, strict=True)):
        out[place] = _sum([plane(index) for index in indices], weights)
    return out


Taps = tuple[np.ndarray, np.ndarray]
"""The K values that each result is made of: indices int [K, count], weights float32 [K, count]."""


def _taps(length: int, first: float, step: float, count: int, sigma: float) -> Taps:
    """The taps along an axis; the first one is next to the result."""
    place = np.clip(first + np.arange(count) * step, 0, length - 1)
    low = np.minimum(place.astype(np.intp), max(length - 2, 0))
    part = place - low
    reach = int(_REACH * sigma + 0.5)
    offsets = np.arange(-reach, reach + 2)
    kernel = np.exp(-0.5 * (offsets[:-1] / sigma) ** 2) if reach else np.ones(1)
    kernel /= kernel.sum()
    weights = np.outer([*kernel, 0.0], 1.0 - part) + np.outer([0.0, *kernel], part)
    nearest_first = np.argsort(np.abs(offsets), kind="stable")
    indices = np.clip(low + offsets[nearest_first, None], 0, length - 1)
    return indices, weights[nearest_first].astype(np.float32)


def _along(plane: np.ndarray, taps: Taps, axis: int) -> np.ndarray:
    """A plane interpolated along one of its axes. float32 [., .]."""
    indices, weights = taps
    rows = [plane.take(index, axis, mode="clip") for index in indices]
    return _sum(rows, weights[..., None] if axis == 0 else weights)


def _sum(values: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Sum of arrays with weights whose sum is 1; exact where all values are equal. float32."""
    base = values[0]
    out = base.astype(np.float32)
    for value, weight in zip(values[1:], weights[1:], strict=True):
        difference = value.astype(np.float32)
        difference -= base
        difference *= weight
        out += difference
    return out
