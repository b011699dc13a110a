"""Where the slices of a series lie: order, distance, tilt, and the regular grid through them.

A stack is described by one affine. Its third axis is the line through the first pixels of the
slices, so that a tilted gantry, which shears the stack, needs no resampling within slices.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from inres.ct.dicom.slices import Slice
from inres.ct.header import ScanError

_SHIFT_MM = 0.5
"""Largest distance of a slice from the straight line through all of them, in its plane."""
_STRAIGHT_MM = 0.1
"""Shifts smaller than this over the scan are rounding, not tilt."""
_EVEN = 0.05
"""Largest distance of a slice from a regular grid, relative to the slice distance."""
_ROUNDING_MM = 0.06
"""The same in mm, for thin slices: some scanners round positions to 0.1 mm."""
_MISSING = 2
"""Most missing slices in a row over which is interpolated."""
_SAME_WIDTH = 0.05
"""Largest relative difference of two widths that are the same."""
_GAP_MM = 5.0
"""Largest distance over which is interpolated."""
_OVERLAP = 8
"""Slices that are thicker than so many distances are worth a note."""
_SAME_PLACE_MM = 0.01
"""Slices closer than this are at the same position."""
_TURN = 1e-3
"""Largest difference of direction cosines within a stack (0.06 degrees)."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The grid of a stack, and where its slices lie on it."""

    spacing_mm: tuple[float, float, float]
    """x, y, z."""
    origin_mm: tuple[float, float, float]
    direction: np.ndarray
    """float64 [3, 3]; the third column need not be perpendicular to the others (tilt)."""
    heights: np.ndarray
    """float64 [N], places of the slices along the third axis in units of its spacing."""
    planes: int
    """Number of planes of the grid."""
    notes: tuple[str, ...]

    @property
    def even(self) -> bool:
        """Whether plane i of the grid is slice i."""
        return self.planes == len(self.heights) and bool(
            np.allclose(self.heights, np.arange(self.planes))
        )


def axes_of(slices: Sequence[Slice]) -> np.ndarray:
    """Directions of rows, columns and normal, as the columns of a rotation [3, 3]."""
    row, column = np.mean([s.orientation for s in slices], axis=0).reshape(2, 3)
    normal = np.cross(row, column)
    q, r = np.linalg.qr(np.stack([row, column, normal], axis=1))
    return q * np.sign(np.diag(r)) + 0.0  # no negative zeros


def heights_of(slices: Sequence[Slice], normal: np.ndarray) -> np.ndarray:
    """Positions along the normal in mm, float64 [N]."""
    return np.array([s.position_mm for s in slices]) @ normal


def same_place(low: float, high: float) -> bool:
    """Whether two heights are those of one place."""
    return abs(high - low) < _SAME_PLACE_MM


def require_equal_layout(slices: Sequence[Slice]) -> None:
    """Refuse slices that differ in size, pixel size or direction from most others.

    Raises:
      ScanError: names the odd slices.
    """
    kinds: dict[tuple[object, ...], list[Slice]] = {}
    for s in slices:
        turn = tuple(round(value / (2 * _TURN)) for value in s.orientation)
        kinds.setdefault((s.layout, turn), []).append(s)
    usual = max(kinds.values(), key=len)
    reference = np.array(usual[0].orientation)
    odd = [
        s
        for kind in kinds.values()
        if kind is not usual
        for s in kind
        if s.layout != usual[0].layout or np.abs(np.array(s.orientation) - reference).max() > _TURN
    ]
    if odd:
        first, other = odd[0], usual[0]
        raise ScanError(
            f"{first.path.parent}: {named(odd)} with {_layout(first)}, unlike the other "
            f"{len(usual)} slices of the series with {_layout(other)}; keep each kind in a folder "
            "of its own"
        )


def geometry_of(slices: Sequence[Slice]) -> Geometry:
    """The grid of slices of one layout, ordered along their normal, each at its own place.

    Slices at uneven distances get a regular grid of the smaller distance, onto which
    `inres.ct.dicom.stack` interpolates.

    Raises:
      ScanError: slices are shifted in their plane, or missing; names them; or lengths are in cm.
    """
    axes = axes_of(slices)
    places = np.array([s.position_mm for s in slices])
    local = (places - places[0]) @ axes
    pixel_y, pixel_x = slices[0].pixel_mm
    if len(slices) == 1:
        return _single(slices[0], axes)
    shear = _shear(slices, local)
    heights = local[:, 2]
    steps = np.diff(heights)
    _require_no_gap(slices, steps)
    usual = float(np.median(steps))
    mean = float(heights[-1] / (len(slices) - 1))
    off = np.abs(heights - mean * np.arange(len(slices))).max()
    notes = [*_tilt_notes(slices, shear), *_width_notes(slices[0])]
    if off <= max(_EVEN * usual, _ROUNDING_MM):
        notes += _distance_notes(slices[0], mean)
        step, units, planes = mean, np.arange(len(slices), dtype=np.float64), len(slices)
    else:
        finest = max(float(np.quantile(steps, 0.1, method="higher")), usual / 2)
        planes = math.ceil(heights[-1] / finest - 1e-6) + 1
        step = float(heights[-1]) / (planes - 1)
        units = heights / step
        notes.append(
            f"slices {steps.min():.4g} to {steps.max():.4g} mm apart ({_uneven(slices, steps)}), "
            f"interpolated to {planes} planes {step:.4g} mm apart"
        )
    third = axes @ np.array([*shear, 1.0])
    length = float(np.linalg.norm(third))
    return Geometry(
        spacing_mm=(pixel_x, pixel_y, step * length),
        origin_mm=_vector(places[0]),
        direction=np.stack([axes[:, 0], axes[:, 1], third / length], axis=1),
        heights=units,
        planes=planes,
        notes=tuple(notes),
    )


def named(slices: Sequence[Slice]) -> str:
    """A few slices by name."""
    shown = ", ".join(s.name for s in slices[:3])
    return shown + (f" and {len(slices) - 3} more" if len(slices) > 3 else "")


def _single(only: Slice, axes: np.ndarray) -> Geometry:
    pixel_y, pixel_x = only.pixel_mm
    known = only.thickness_mm > 0
    note = "a single slice without SliceThickness, taken for 1 mm"
    return Geometry(
        spacing_mm=(pixel_x, pixel_y, only.thickness_mm if known else 1.0),
        origin_mm=_vector(only.position_mm),
        direction=axes,
        heights=np.zeros(1),
        planes=1,
        notes=() if known else (note,),
    )


def _shear(slices: Sequence[Slice], local: np.ndarray) -> np.ndarray:
    """Shift in the plane, along rows and columns, per mm along the normal: float64 [2].

    Raises:
      ScanError: the slices do not lie on a straight line.
    """
    across, heights = local[:, :2], local[:, 2]
    centred = heights - heights.mean()
    slope = centred @ (across - across.mean(0)) / (centred @ centred)
    error = across - across.mean(0) - centred[:, None] * slope
    if np.abs(error).max() > _SHIFT_MM:
        # The median over distant pairs ignores the shifted slices, so that it can name them.
        half = len(slices) // 2
        pairs = across[half:] - across[: len(slices) - half]
        spread = heights[half:] - heights[: len(slices) - half]
        slope = np.median(pairs / spread[:, None], axis=0)
        error = across - heights[:, None] * slope
        error -= np.median(error, axis=0)
        far = np.linalg.norm(error, axis=1)
        odd = [s for s, distance in zip(slices, far, strict=True) if distance > _SHIFT_MM]
        raise ScanError(
            f"{slices[0].path.parent}: {named(odd or slices)} shifted by up to {far.max():.1f} mm "
            "in the plane against the other slices; keep slices of one reconstruction"
        )
    if np.abs(slope * (heights[-1] - heights[0])).max() < _STRAIGHT_MM:
        return np.zeros(2)
    return slope


def _require_no_gap(slices: Sequence[Slice], steps: np.ndarray) -> None:
    usual = float(np.median(steps))
    gaps = (steps > usual * (1 + _MISSING) * 1.05) | (
        (steps > _GAP_MM * 1.01) & (steps > usual * 1.5)
    )
    if gaps.any():
        at = int(np.flatnonzero(gaps)[0])
        low, high = slices[at], slices[at + 1]
        missing = round(steps[at] / usual) - 1
        raise ScanError(
            f"{low.path.parent}: {steps[at]:g} mm between {low.name} and {high.name} (z "
            f"{low.position_mm[2]:g} and {high.position_mm[2]:g} mm), elsewhere {usual:g} mm; "
            f"about {missing} slices are missing there, fetch the series again"
        )


def _tilt_notes(slices: Sequence[Slice], shear: np.ndarray) -> list[str]:
    """Notes on the tilt by the positions, and on that by the header where it differs."""
    measured = math.degrees(math.atan(float(np.hypot(*shear))))
    stated = abs(slices[0].tilt_degrees)
    notes = []
    if measured >= 0.05:
        notes.append(f"gantry tilt of {measured:.1f} degrees, corrected")
    if math.isfinite(stated) and abs(stated - measured) > 1.0:
        notes.append(
            f"GantryDetectorTilt is {stated:g} degrees, but the positions say {measured:.1f}, "
            "which is used"
        )
    return notes


def _width_notes(first: Slice) -> list[str]:
    """A note where the pixel size contradicts the field of view, of which one may be wrong.

    Raises:
      ScanError: it is a tenth of it, as if in cm.
    """
    wide = max(first.pixels.columns * first.pixel_mm[1], first.pixels.rows * first.pixel_mm[0])
    if not first.diameter_mm > 0 or abs(wide / first.diameter_mm - 1) <= _SAME_WIDTH:
        return []  # unknown, or the same
    if abs(10 * wide / first.diameter_mm - 1) <= _SAME_WIDTH:
        raise ScanError(
            f"{first.path.parent}: slices are {wide:.4g} mm wide by PixelSpacing, a tenth of "
            f"ReconstructionDiameter, {first.diameter_mm:g} mm; lengths are in mm: if PixelSpacing "
            "and ImagePositionPatient are in cm, correct them, or else ReconstructionDiameter"
        )
    return [
        f"slices are {wide:.4g} mm wide by PixelSpacing, which is used, but ReconstructionDiameter "
        f"is {first.diameter_mm:g} mm"
    ]


def _distance_notes(first: Slice, step: float) -> list[str]:
    """Notes where the distance of slices by their positions contradicts the header."""
    between, thick = abs(first.between_mm), first.thickness_mm
    notes = []
    if between > 0 and abs(step / between - 1) > _EVEN:
        notes.append(
            f"SpacingBetweenSlices is {between:g} mm, but the positions say {step:.4g}, which is "
            "used"
        )
    if step < thick / _OVERLAP:
        notes.append(
            f"slices are {thick:g} mm thick and {step:.4g} mm apart by their positions, which are "
            "used; if they are not in mm, correct them"
        )
    return notes


def _uneven(slices: Sequence[Slice], steps: np.ndarray) -> str:
    """Where the distance is widest."""
    at = int(steps.argmax())
    return f"widest at z {slices[at].position_mm[2]:g} mm"


def _layout(s: Slice) -> str:
    row, column, *_ = s.layout
    pixel = " x ".join(f"{mm:g}" for mm in s.pixel_mm)
    turn = ", ".join(f"{value:g}" for value in s.orientation)
    return f"{row} x {column} pixels of {pixel} mm in direction ({turn})"


def _vector(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
