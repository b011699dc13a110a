"""Where the pixels of a series lie in the world, as far as readings need it."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Planes:
    """The slices of a series and their pixels. World positions are x, y, z in mm (LPS)."""

    corners_mm: np.ndarray
    """float64 [N, 3], the centre of the first pixel of each slice, in ascending order of z."""
    column_mm: np.ndarray
    """float64 [3], the step from one column to the next."""
    row_mm: np.ndarray
    """float64 [3], the step from one row to the next."""
    slice_mm: float
    """Distance of neighbouring slices."""

    @classmethod
    def regular(
        cls,
        *,
        origin_mm: Sequence[float],
        spacing_mm: Sequence[float],
        direction: np.ndarray | None = None,
    ) -> "Planes":
        """A regular grid, of which any slice may be marked.

        Args:
          origin_mm, spacing_mm: x, y, z.
          direction: [3, 3], its columns are the directions of the axes; by default those of the
            world. The third axis must be z.
        """
        axes = np.eye(3) if direction is None else np.asarray(direction, np.float64)
        corner = np.array(origin_mm, np.float64)[None]
        return cls(
            corner, axes[:, 0] * spacing_mm[0], axes[:, 1] * spacing_mm[1], float(spacing_mm[2])
        )

    @property
    def pixel_mm2(self) -> float:
        """Area of a pixel."""
        return float(np.linalg.norm(np.cross(self.column_mm, self.row_mm)))

    def world_mm(self, z_mm: float, points: np.ndarray) -> np.ndarray:
        """World positions float64 [N, 3] of points (column, row) [N, 2] in the slice at `z_mm`.

        Readers name a slice by the height of its corner. Its place in the plane is that of the
        nearest slice of the series: with a tilted gantry it changes from slice to slice.
        """
        corner = self.corners_mm[np.abs(self.corners_mm[:, 2] - z_mm).argmin()]
        steps = np.asarray(points, np.float64) @ np.stack([self.column_mm, self.row_mm])
        return np.array([corner[0], corner[1], z_mm]) + steps
