"""Hounsfield units: what lies outside a scan, and which values are no measurement or no HU."""

import numpy as np

AIR_HU = -1024
"""Value of voxels outside a scan."""
LOWEST_HU = -1500
"""Lower values are padding: air is -1000 HU, and sharp kernels undershoot by some hundred HU."""
HIGHEST_HU = 31000
"""Higher values are padding: extended scales of CT, for metal, end at 30,710 HU."""
SOFT_TISSUE_HU = (-200, 200)
"""Blood, muscle and fat, of which every CT of a body has plenty."""
DENSE_HU = 4000
"""Higher values are metal."""
WINDOWS_HU = {"lung": (-1350.0, 150.0), "narrow": (-160.0, 240.0)}
"""Windows in which slices are shown, by name: HU of black and of white."""
_SAMPLE = 1_000_000
"""About as many voxels of a scan are looked at."""
_LUNG_HU, _TISSUE_HU, _DENSE_HU = -500, -300, 500
"""Air and lung are below the first, fat and all soft tissue between the others, bone above."""
_LEAST_SHARE = 0.005
"""Least share of air or lung, and of soft tissue, in a scan of the chest."""
_MOST_DENSE = 0.1
"""Greatest share of voxels as dense as bone."""
_MOST_VARIED = 0.03
"""Greatest share of voxels below `LOWEST_HU` without the two most frequent values there: padding
has one or two values, except where it was interpolated."""
_TWELVE_BITS = 1 << 12
_LUNGS_REACH_HU, _TISSUE_REACHES_HU = -200, -500
"""Some pixel in a set of images of lungs is at most this low, and some at least this high."""


def to_int16(values: np.ndarray) -> np.ndarray:
    """Values rounded and clipped to int16; NaN and infinity become air."""
    if values.dtype == np.int16:
        return values
    low, high = -32768, 32767
    if np.issubdtype(values.dtype, np.integer):
        limits = np.iinfo(values.dtype)
        return np.clip(values, max(low, limits.min), min(high, limits.max)).astype(np.int16)
    known = np.nan_to_num(values, nan=AIR_HU, posinf=AIR_HU, neginf=AIR_HU)
    return np.rint(np.clip(known, low, high)).astype(np.int16)


def scan_problem(hu: np.ndarray) -> str:
    """Why the values of a CT of the chest cannot be HU, in words after "since"; empty if they can.

    This is the one check of the scale of scans. Values below `LOWEST_HU` are padding and do not
    count, nor does the least value above as air, since it may be padding too. It finds values
    without their offset (also next to padding), with the offset subtracted twice, of the opposite
    sign, scaled, or in the wrong order of bytes.

    Args:
      hu: int16 [Z, Y, X].
    """
    step = max(1, round((hu.size / _SAMPLE) ** (1 / 3)))
    sample = hu[::step, ::step, ::step].ravel()
    known = sample[sample >= LOWEST_HU]
    if not known.size:
        return f"no voxel is above {LOWEST_HU} HU, where padding is"
    if known.min() == known.max():
        return "all voxels are the same"
    _, counts = np.unique(sample[sample < LOWEST_HU], return_counts=True)
    varied = np.sort(counts)[:-2].sum() / sample.size
    if varied > _MOST_VARIED:
        return f"{varied:.0%} of the voxels have various values below {LOWEST_HU}, unlike padding"
    if np.mean((known < _LUNG_HU) & (known > known.min())) < _LEAST_SHARE:
        return f"no voxel is air or lung (below {_LUNG_HU} HU), apart from padding"
    dense = np.mean(known > _DENSE_HU)
    if dense > _MOST_DENSE:
        return f"{dense:.0%} of the voxels are above {_DENSE_HU} HU, as only bone is"
    if np.mean((known >= _TISSUE_HU) & (known <= _DENSE_HU)) < _LEAST_SHARE:
        return f"no voxel is soft tissue ({_TISSUE_HU} to {_DENSE_HU} HU)"
    return ""


def measured(values: np.ndarray) -> np.ndarray:
    """The values of images that are measurements, without padding. [n].

    Of signed and floating values (HU), these are finite and at least `LOWEST_HU`. Of unsigned ones,
    the least and the largest value are padding if no other is within 12 bits of them.
    """
    if values.dtype.kind != "u":
        return values[np.isfinite(values) & (values >= LOWEST_HU)]
    known = np.unique(values).astype(np.int64)
    if known.size < 3:
        return values.ravel()
    low = known[1 if known[1] - known[0] >= _TWELVE_BITS else 0]
    high = known[-2 if known[-1] - known[-2] >= _TWELVE_BITS else -1]
    return values[(values >= low) & (values <= high)]


def image_problem(low: float, high: float) -> str:
    """Why the values of images of lungs cannot be HU, in words after "since"; empty if they can.

    Args:
      low, high: the least value of a set of images that is no padding, and the largest.
    """
    if low > _LUNGS_REACH_HU:
        return f"the lowest value, {low:g}, is too high for a lung"
    if high < _TISSUE_REACHES_HU:
        return f"the highest value, {high:g}, is too low for tissue"
    return ""
