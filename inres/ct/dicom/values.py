"""HU from stored values: slope and intercept of each slice, and what is no measurement."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from inres.ct.dicom.instance import Pixels, Slice
from inres.ct.header import ScanError
from inres.ct.hu import AIR_HU, LOWEST_HU, to_int16

_TISSUE_HU = -900
"""Padding values above this could also be measured."""
_AIR_IS_BELOW_HU = -500
"""Values without a rescale are HU only if some are below this."""


@dataclasses.dataclass
class Tally:
    """What happened to the values of a scan, counted over its slices."""

    padded: int = 0
    """Pixels with the padding value."""
    low: int = 0
    """Pixels below `LOWEST_HU` without being declared padding."""
    kept: int = 0
    """Pixels with a padding value that is plausible HU, inside the body."""
    other_bits: int = 0
    """Slices with bits outside of the stored ones."""
    lowest: int = 0
    """Lowest HU of all slices."""

    def notes(self, slices: Sequence[Slice]) -> tuple[str, ...]:
        """The notes on the values of the scan."""
        notes = []
        if self.padded or self.low:
            notes.append(
                f"{self.padded + self.low} pixels of padding (declared, or below {LOWEST_HU} HU) "
                f"set to {AIR_HU} HU"
            )
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
    pixels = plane.pixels
    values = unpacked(raw, pixels)
    slope = float(plane.slope) if plane.slope else 1.0
    intercept = float(plane.intercept or 0.0)
    if slope == int(slope) and intercept == int(intercept):
        hu = to_int16(values.astype(np.int64) * int(slope) + int(intercept))
    else:
        hu = to_int16(values * slope + intercept)
    padded = _is_padding(plane, raw, values)
    if padded is not None and padded.any():
        if int(hu[padded].max()) > _TISSUE_HU:
            outside = _connected_to_border(padded)
            tally.kept += int(padded.sum() - outside.sum())
            padded = outside
        tally.padded += int(padded.sum())
        hu[padded] = AIR_HU
    low = hu < LOWEST_HU
    if low.any():
        tally.low += int(low.sum())
        hu[low] = AIR_HU
    tally.other_bits += int(_has_other_bits(raw, pixels))
    tally.lowest = min(tally.lowest, int(hu.min()))
    return hu


def require_hu(path: Path, slices: Sequence[Slice], tally: Tally) -> None:
    """Refuse values without a rescale that cannot be HU.

    Raises:
      ScanError: RescaleIntercept is missing, and no value is as low as air.
    """
    if any(s.intercept is None for s in slices) and tally.lowest >= _AIR_IS_BELOW_HU:
        raise ScanError(
            f"{path}: no RescaleIntercept (0028,1052), and the values are not HU, since the lowest "
            f"is {tally.lowest}; add the intercept of the scanner, usually -1024, to the files"
        )


def unpacked(raw: np.ndarray, pixels: Pixels) -> np.ndarray:
    """The stored bits of each pixel as a number, int32 or int64 [rows, columns] (PS3.5, 8.1.1)."""
    wide: np.ndarray = raw.astype(np.int64 if pixels.bits_allocated > 16 else np.int32)
    values: np.ndarray = (wide >> _shift(pixels)) & _mask(pixels.bits_stored)
    if pixels.signed:
        sign = 1 << (pixels.bits_stored - 1)
        values = (values ^ sign) - sign
    return values


def _has_other_bits(raw: np.ndarray, pixels: Pixels) -> bool:
    """Whether bits outside the stored ones are set, other than by sign extension."""
    if pixels.bits_stored == pixels.bits_allocated:
        return False
    shift, whole = _shift(pixels), raw.astype(np.int64)
    extended = (unpacked(raw, pixels).astype(np.int64) << shift) & _mask(pixels.bits_allocated)
    plain = whole & (_mask(pixels.bits_stored) << shift)
    return bool(np.any((whole != extended) & (whole != plain)))


def _shift(pixels: Pixels) -> int:
    return pixels.high_bit + 1 - pixels.bits_stored


def _mask(bits: int) -> int:
    return (1 << bits) - 1


def _is_padding(plane: Slice, raw: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Where the padding value is, bool [rows, columns]; None if none is declared.

    The value may be declared in the other sign (63536 for -2000), or use bits that are not stored.
    """
    if plane.padding is None:
        return None
    pixels = plane.pixels
    signed = raw.astype(f"i{raw.itemsize}") if pixels.signed else raw
    low, high = sorted(_as_stored(end, pixels) for end in plane.padding)
    padded = (signed >= low) & (signed <= high)
    least, most = _limits(pixels)
    if least <= low and high <= most:
        padded |= (values >= low) & (values <= high)
    return padded


def _as_stored(value: int, pixels: Pixels) -> int:
    """A declared padding value, whose bits are those of a 16-bit number, in the pixels' sign."""
    if not pixels.signed:
        return value
    if value >= 1 << 15 and pixels.bits_allocated <= 16:
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
