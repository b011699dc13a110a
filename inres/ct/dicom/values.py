"""HU from stored values: slope and intercept of each slice, and what is no measurement."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from inres.ct.dicom.slices import Slice
from inres.ct.dicom.storage import Pixels
from inres.ct.header import ScanError
from inres.ct.hu import (
    AIR_HU,
    DENSE_HU,
    HIGHEST_HU,
    LOWEST_HU,
    SOFT_TISSUE_HU,
    to_int16,
)

_TISSUE_HU = -900
"""Padding values above this could also be measured."""
_AIR_IS_BELOW_HU = -500
"""Values without a rescale are HU only if some are below this."""
_MOST_METAL = 0.1
"""Largest share of measured pixels above `DENSE_HU`."""
_MOST_LOW = 0.01
"""Share of pixels below `LOWEST_HU` without being declared padding, from which on there must be
soft tissue: they are either padding, or air by a wrong intercept."""
_LEAST_SOFT = 0.01
"""Smallest share of soft tissue then."""


@dataclasses.dataclass
class Tally:
    """What happened to the values of a scan, counted over its slices."""

    padded: int = 0
    """Pixels with the padding value, or outside `LOWEST_HU` to `HIGHEST_HU`."""
    measured: int = 0
    """All others."""
    dense: int = 0
    """Those above `DENSE_HU`."""
    low: int = 0
    """Pixels below `LOWEST_HU` without being declared padding, in slices with measured pixels."""
    beside_low: int = 0
    """Measured pixels of slices with such pixels."""
    soft: int = 0
    """Those of soft tissue."""
    kept: int = 0
    """Pixels with a padding value that is plausible HU, inside the body."""
    other_bits: int = 0
    """Slices with bits outside of the stored ones."""
    problem: str = ""
    """Why the values of the first slice at fault cannot be as their header says; empty if none."""
    lowest: int | None = None
    """Lowest HU that is no padding; None if everything is."""

    def count(self, measured: np.ndarray, *, padded: int, low: int) -> None:
        """Count the pixels of a slice: the HU of those measured [N], and numbers of others."""
        self.padded += padded
        if not measured.size:
            return
        self.measured += measured.size
        lowest = int(measured.min())
        self.lowest = lowest if self.lowest is None else min(self.lowest, lowest)
        if measured.max() > DENSE_HU:
            self.dense += int((measured > DENSE_HU).sum())
        if low:
            least, most = SOFT_TISSUE_HU
            self.low += low
            self.beside_low += measured.size
            self.soft += int(((measured >= least) & (measured <= most)).sum())

    def notes(self, slices: Sequence[Slice]) -> tuple[str, ...]:
        """The notes on the values of the scan."""
        notes = []
        if self.padded:
            notes.append(f"padding set to {AIR_HU} HU in {self.padded} pixels")
        if self.kept:
            notes.append(
                f"{self.kept} pixels with the padding value are not connected to the border, and "
                "taken for HU"
            )
        if self.other_bits:
            notes.append(f"bits outside BitsStored ignored in {self.other_bits} slices (overlays)")
        if any(s.pixels.inverted for s in slices):
            notes.append("MONOCHROME1, which inverts the display, not the HU")
        if any(s.slope == 0 for s in slices):
            notes.append("RescaleSlope is 0, taken as 1")
        if any(s.slope is None or s.intercept is None for s in slices):
            notes.append("no RescaleSlope or RescaleIntercept: stored values are taken for HU")
        if lossy := {s.pixels.syntax.name for s in slices if s.pixels.syntax in _LOSSY}:
            notes.append(f"lossy compression ({', '.join(sorted(lossy))})")
        return tuple(notes)


_LOSSY = {
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 52, 53, 54, 55, 56, 81, 91, 93, 203)
}
"""Transfer syntaxes that are, or may be, lossy."""


def to_hu(plane: Slice, raw: np.ndarray, tally: Tally) -> np.ndarray:
    """HU of a slice, int16 [rows, columns]: slope times stored value plus intercept.

    The declared padding value, and anything below `LOWEST_HU`, becomes `AIR_HU`. A padding value
    that is plausible HU does so only where it is connected to the border of the image.

    Args:
      plane: the slice.
      raw: its pixels as allocated, of an unsigned type.
      tally: is updated.
    """
    values = unpacked(raw, plane.pixels)
    other = _other_bits(raw, plane.pixels)
    tally.other_bits += int(other.any())
    hu = _rescaled(values, float(plane.slope or 1.0), float(plane.intercept or 0.0))
    declared = _is_padding(plane, raw, values)
    if not tally.problem and (wrong := _misread(plane, values, other, hu, ~declared)):
        tally.problem = f"{plane.path}: {wrong}"
    if declared.any() and hu[declared].max() > _TISSUE_HU:
        outside = _connected_to_border(declared)
        tally.kept += int(declared.sum() - outside.sum())
        declared = outside
    low = (hu < LOWEST_HU) & ~declared
    padded = declared | low | (hu > HIGHEST_HU)
    tally.count(hu[~padded], padded=int(padded.sum()), low=int(low.sum()))
    hu[padded] = AIR_HU
    return hu


def _rescaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Slope times value plus intercept, rounded and clipped to int16."""
    if slope == int(slope) and intercept == int(intercept):
        # Exact, and several times faster than floating point.
        small = abs(slope) < 1 << 14 and abs(intercept) < 1 << 30 and values.dtype == np.int32
        hu = values.astype(np.int32 if small else np.int64, copy=False)
        hu = hu * int(slope) + int(intercept)
    else:
        hu = values * slope + intercept
    return to_int16(hu)


def require_hu(path: Path, slices: Sequence[Slice], tally: Tally) -> None:
    """Refuse values that cannot be HU, whatever the padding around them.

    Raises:
      ScanError: bits or sign of a slice are not those of the header; there is only padding;
        RescaleIntercept is missing, and no value is as low as air; there is padding, and no other
        value is below water; most of a body is below air, as where the intercept was subtracted
        twice; or much of it is denser than bone, as where sign or byte order are wrong.
    """
    if tally.problem:
        raise ScanError(tally.problem)
    if tally.lowest is None:
        raise ScanError(f"{path}: all pixels are padding; fetch the series again")
    missing = any(s.intercept is None for s in slices) and tally.lowest >= _AIR_IS_BELOW_HU
    if missing or (tally.padded and tally.lowest >= 0):
        what = "no RescaleIntercept (0028,1052), and the" if missing else "the"
        raise ScanError(
            f"{path}: {what} values are not HU, since the lowest is {tally.lowest} and air is "
            "-1000; set RescaleIntercept to that of the scanner, usually -1024"
        )
    share = tally.low / max(1, tally.low + tally.beside_low)
    if share > _MOST_LOW and tally.soft < _LEAST_SOFT * tally.beside_low:
        raise ScanError(
            f"{path}: the values are not HU: {share:.0%} are below {LOWEST_HU}, and hardly any is "
            "that of soft tissue; the pixels may be HU already, so that RescaleIntercept must be 0"
        )
    if tally.dense > _MOST_METAL * tally.measured:
        raise ScanError(
            f"{path}: the values are not HU: {tally.dense / tally.measured:.0%} are above "
            f"{DENSE_HU}; PixelRepresentation (sign), byte order or RescaleSlope must be wrong; "
            "export the series again"
        )


def _misread(
    plane: Slice, values: np.ndarray, other: np.ndarray, hu: np.ndarray, known: np.ndarray
) -> str:
    """Why stored values are not as BitsStored or PixelRepresentation say; empty if they can be.

    Args:
      plane: the slice.
      values: its pixels as the header says.
      other: their bits outside of the values, as from `_other_bits`.
      hu: their HU.
      known: which of them are not declared as padding.
    """
    pixels = plane.pixels
    beside = (1 << (pixels.high_bit + 1)) | ((1 << _shift(pixels)) >> 1)
    if pixels.overlay_bit:
        beside &= ~(1 << pixels.overlay_bit)
    if np.any(other[known] & beside):
        return (
            f"values of more than BitsStored = {pixels.bits_stored} bits (HighBit "
            f"{pixels.high_bit}), so that one of the two is wrong; correct the header"
        )
    if pixels.signed or pixels.bits_stored < pixels.bits_allocated or not np.any(hu > HIGHEST_HU):
        return ""
    high = np.unique(values[(hu > HIGHEST_HU) & known]).astype(np.int64)
    signed = (high - (1 << pixels.bits_stored)) * (plane.slope or 1.0) + (plane.intercept or 0.0)
    if np.sum((signed >= LOWEST_HU) & (signed <= HIGHEST_HU)) < 2:
        return ""
    return (
        f"unsigned values from {high[0]} to {high[-1]}, which are HU if they are signed; set "
        "PixelRepresentation to 1"
    )


def unpacked(raw: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The stored bits of each pixel as a number, int32 or int64 [rows, columns] (PS3.5, 8.1.1)."""
    if pixels.bits_stored == pixels.bits_allocated == 16:
        return (raw.view(np.int16) if pixels.signed else raw).astype(np.int32)
    wide: np.ndarray = raw.astype(np.int64 if pixels.bits_allocated > 16 else np.int32)
    values: np.ndarray = (wide >> _shift(pixels)) & _mask(pixels.bits_stored)
    if pixels.signed:
        sign = 1 << (pixels.bits_stored - 1)
        values = (values ^ sign) - sign
    return values


def _other_bits(raw: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The bits outside the stored ones, other than by sign extension; int64 [rows, columns]."""
    if pixels.bits_stored == pixels.bits_allocated:
        return np.zeros(raw.shape, np.int64)
    shift, whole = _shift(pixels), raw.astype(np.int64)
    extended = (unpacked(raw, pixels).astype(np.int64) << shift) & _mask(pixels.bits_allocated)
    stored = _mask(pixels.bits_stored) << shift
    return np.where(whole == extended, 0, whole & ~stored)


def _shift(pixels: Pixels) -> int:
    return pixels.high_bit + 1 - pixels.bits_stored


def _mask(bits: int) -> int:
    return (1 << bits) - 1


def _is_padding(plane: Slice, raw: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where the declared padding value is, bool [rows, columns].

    The value may be declared in the other sign (63536 for -2000), or use bits that are not stored.
    """
    if plane.padding is None:
        return np.zeros(values.shape, bool)
    pixels = plane.pixels
    low, high = sorted(_as_stored(end, pixels) for end in plane.padding)
    least, most = _limits(pixels)
    if least <= low and high <= most:
        return (values >= low) & (values <= high)
    signed = raw.view(f"i{raw.itemsize}") if pixels.signed else raw
    return (signed >= low) & (signed <= high)


def _as_stored(value: int, pixels: Pixels) -> int:
    """A declared padding value, whose bits are those of a 16-bit number, in the pixels' sign."""
    if not pixels.signed:
        return value
    if value >= 1 << 15:
        return value - (1 << 16)
    _, most = _limits(pixels)
    if most < value < 1 << pixels.bits_stored:
        return value - (1 << pixels.bits_stored)
    return value


def _limits(pixels: Pixels) -> tuple[int, int]:
    """Lowest and highest stored value."""
    if pixels.signed:
        return -(1 << (pixels.bits_stored - 1)), (1 << (pixels.bits_stored - 1)) - 1
    return 0, (1 << pixels.bits_stored) - 1


def _connected_to_border(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(mask)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, np.unique(edge[edge > 0]))
