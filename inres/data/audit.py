"""How much of a nodule a lung mask keeps, estimated from three planes.

`inres.ct.lungs.coverage` counts it exactly, in a volume.
"""

import numpy as np

PLANE_OFFSET = float(np.sqrt(3 / 5))
"""Outer nodes of three-point Gauss-Legendre quadrature, in radii from the centre."""
_WEIGHTS = np.array([1, 4, 1]) / 6
"""Weights (5, 8, 5) / 9 of the quadrature times the areas of the discs (0.4, 1, 0.4)."""
_SUB = 4
"""Grid points per pixel along each axis."""


def sphere_coverage(masks: np.ndarray, point: tuple[float, float], radius_px: float) -> float:
    """Estimate the share of a sphere inside a mask from three of its planes.

    If f(z) is the share of the sphere's disc at height z that is inside the mask, the share of the
    sphere is the integral of f(z) (r^2 - z^2) divided by that of (r^2 - z^2). The planes are the
    nodes of Gauss-Legendre quadrature, which is exact for f up to degree 3, so in particular for a
    uniform mask.

    Args:
      masks: [3, S, S], non-zero inside, at the heights of the centre minus `PLANE_OFFSET` radii,
        the centre, and the centre plus `PLANE_OFFSET` radii.
      point: row and column of the sphere's centre.
      radius_px: the radius in pixels; above 0.

    Returns:
      The share, 0 to 1. Parts outside the planes count as outside the mask.
    """
    outer = radius_px * np.sqrt(1 - PLANE_OFFSET**2)
    shares = [
        _disc_share(np.asarray(plane) > 0, point, radius)
        for plane, radius in zip(masks, (outer, radius_px, outer), strict=True)
    ]
    return float(_WEIGHTS @ shares)


def _disc_share(mask: np.ndarray, point: tuple[float, float], radius: float) -> float:
    """The share of a disc inside `mask`, counted on a grid finer than the pixels."""
    step = min(1.0, radius / 2) / _SUB
    ticks = np.arange(-radius, radius + step, step)
    rows, cols = np.meshgrid(ticks, ticks, indexing="ij")
    disc = rows**2 + cols**2 <= radius**2
    row = np.rint(rows[disc] + point[0]).astype(int)
    col = np.rint(cols[disc] + point[1]).astype(int)
    there = (row >= 0) & (row < mask.shape[0]) & (col >= 0) & (col < mask.shape[1])
    return float(mask[row[there], col[there]].sum() / disc.sum())
