"""Ratings of a drawn nodule on the scales of the LIDC's readers, from how it was drawn.

They are the appearance without noise or partial volumes, so what a reader could make of it at best.
"""

from collections.abc import Sequence

import numpy as np

from inres.phantoms.anatomy import LUNG_HU
from inres.phantoms.drawing import Blob, Tube

NAMES = ("texture", "spiculation", "lobulation", "margin", "sphericity", "calcification")
"""The ratings, as columns of tables."""
GLASS_HU, SOLID_HU = -640.0, 30.0
"""HU of the faintest ground glass and of soft tissue."""
BLUR_MM = 1.0
"""Width over which a sharp edge rises in a scan."""
SHARPEST = 650.0
"""Slope of a sharp margin, in HU per mm."""
MOST_LOBED = 0.12
"""Standard deviation of the surface's distance from the centre of a markedly lobulated nodule,
relative to the radius."""
MOST_SPICULES = 25.0
"""Length of all spicules outside a markedly spiculated nodule, in radii."""
LIME_HU, MOST_LIME_HU = 100.0, 600.0
"""HU from which a nodule is calcified, and of the densest one."""


def rate(
    body: Blob, core: Blob | None, spicules: Sequence[Tube], *, spicule_hu: float
) -> dict[str, float]:
    """The ratings of a nodule by name, rounded to three decimals.

    - Texture, 1 ground glass to 5 solid: `1 + 4 (c + (1 - c) v)`. c is the diameter of the solid
      core relative to the nodule's, 0 without one, and v the density of the body on a scale from 0
      at `GLASS_HU` to 1 at `SOLID_HU`.
    - Margin, 1 poorly defined to 5 sharp: the slope of HU at the edge, against `SHARPEST`.
    - Lobulation, 1 none to 5 marked: the variation of the radius by lobes, against `MOST_LOBED`.
    - Spiculation, 1 none to 5 marked: the length of all spicules outside the body in radii, times
      their contrast relative to that of soft tissue, against `MOST_SPICULES`.
    - Sphericity, 3 ovoid to 5 round: `1 + 4 q`, where q is the shortest axis over the longest.
    - Calcification, 3 solid to 6 absent: lower for denser bodies, from `LIME_HU` on.

    Args:
      body: the nodule without core and spicules.
      core: the solid part of a part-solid nodule.
      spicules: strands from its surface.
      spicule_hu: their density.
    """
    share = core.diameter_mm / body.diameter_mm if core else 0.0
    dense = _share(body.hu - GLASS_HU, SOLID_HU - GLASS_HU)
    slope = (body.hu - LUNG_HU) / (BLUR_MM + body.edge_mm)
    radius = body.diameter_mm / 2
    outside = sum(max(0.0, float(np.linalg.norm(s.q - body.centre)) - radius) for s in spicules)
    contrast = (spicule_hu - LUNG_HU) / (SOLID_HU - LUNG_HU)
    ratings = {
        "texture": 1 + 4 * (share + (1 - share) * dense),
        "spiculation": 1 + 4 * _share(contrast * outside / radius, MOST_SPICULES),
        "lobulation": 1 + 4 * _share(lobe_variation(body), MOST_LOBED),
        "margin": 1 + 4 * _share(slope, SHARPEST),
        "sphericity": 1 + 4 * float(body.axes_mm.min() / body.axes_mm.max()),
        "calcification": 6 - 3 * _share(body.hu - LIME_HU, MOST_LIME_HU - LIME_HU),
    }
    return {name: round(ratings[name], 3) for name in NAMES}


def lobe_variation(blob: Blob) -> float:
    """Standard deviation over the sphere of the lobes' relative height (see `Blob`).

    Over unit vectors n, the mean of exp(k (n.a - 1)) exp(k (n.b - 1)) for two lobes a and b is
    exp(-2 k) sinh(q) / q with q = k |a + b|, and that of a single one (1 - exp(-2 k)) / (2 k).
    """
    k, ways = blob.lobe_sharpness, blob.lobe_directions
    q = np.maximum(k * np.linalg.norm(ways[:, None] + ways, axis=2), 1e-6)
    both = np.exp(q - 2 * k) * -np.expm1(-2 * q) / (2 * q)
    mean = -np.expm1(-2 * k) / (2 * k)
    return float(np.sqrt(max(0.0, blob.lobe_heights @ (both - mean**2) @ blob.lobe_heights)))


def _share(value: float, most: float) -> float:
    return float(np.clip(value / most, 0, 1))
