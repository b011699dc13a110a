"""Tiny scans and tables for tests of sources, which read no voxels."""

import numpy as np
import SimpleITK as sitk
from ct.trees import to_image

SIZE, SPACING, ORIGIN = (20, 16, 12), (10.0, 9.0, 2.5), (-120.0, -40.0, 30.0)
"""Columns, rows and slices, mm, and the centre of the first voxel."""


def box(path, *, size=SIZE, spacing=SPACING, origin=ORIGIN, direction=None, values=None):
    """Write a scan of air, or of `values` [Z, Y, X]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(size[::-1], -900, np.int16) if values is None else values
    direction = np.eye(3) if direction is None else direction
    sitk.WriteImage(to_image(array, spacing, origin, direction), str(path))
    return path


def table(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def quiet(steps, **_):
    return steps
