"""Hounsfield units: what lies outside a scan, and which values are no measurement."""

import numpy as np

AIR_HU = -1024
"""Value of voxels outside a scan."""
LOWEST_HU = -1500
"""Lower values are padding: air is -1000 HU, and sharp kernels undershoot by some hundred HU."""


def to_int16(values: np.ndarray) -> np.ndarray:
    """Values rounded and clipped to int16; NaN becomes air."""
    if values.dtype == np.int16:
        return values
    low, high = -32768, 32767
    if np.issubdtype(values.dtype, np.integer):
        limits = np.iinfo(values.dtype)
        return np.clip(values, max(low, limits.min), min(high, limits.max)).astype(np.int16)
    return np.rint(np.clip(np.nan_to_num(values, nan=AIR_HU), low, high)).astype(np.int16)
