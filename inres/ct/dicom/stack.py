"""The slices of one series as a stack: which of them, in which order, and their HU."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.ct.dicom import geometry
from inres.ct.dicom.elements import described
from inres.ct.dicom.geometry import Geometry, axes_of, heights_of, named, same_place
from inres.ct.dicom.instance import CT_CLASSES
from inres.ct.dicom.pixels import stored_values
from inres.ct.dicom.series import AXIAL, Series, normal_of
from inres.ct.dicom.slices import Slice
from inres.ct.dicom.values import Tally, require_hu, to_hu
from inres.ct.header import Header, ScanError, checked_header
from inres.system import memory
from inres.system.progress import Step, untold

_RESTARTS = 0.25
"""Largest share of steps at which numbers of consecutive acquisitions begin again."""


@dataclasses.dataclass(frozen=True)
class Stack:
    """A series ready to be read."""

    series: Series
    slices: tuple[Slice, ...]
    """In order along their normal."""
    geometry: Geometry
    header: Header
    """That of the scan, with the notes on its slices and geometry."""


def stack_of(path: Path, series: Series, notes: Sequence[str] = ()) -> Stack:
    """The slices of a series in order, and their grid.

    Slices at the same position are copies, of which one is kept, or differ; then the one with the
    lower InstanceNumber is kept, as pylidc does. Of several acquisitions that overlap, the one
    with most slices is kept.

    Args:
      path: what the user named, for the header.
      series: the series.
      notes: on how it was chosen.

    Raises:
      ScanError: HU or positions are unknown, slices do not form one volume, or are missing.
    """
    notes = list(notes)
    slices = list(series.planes)
    if series.scouts:
        notes.append(f"left out, scout images: {named(series.scouts)}")
    if series.instances[0].sop_class not in CT_CLASSES:
        notes.append(f"stored as {series.instances[0].kind}")
    _require_known(slices)
    slices = _one_part(slices, notes)
    geometry.require_equal_layout(slices)
    slices = _one_per_place(slices, notes)
    grid = geometry.geometry_of(slices)
    notes += _order_notes(slices, grid)
    if abs(normal_of(slices[0])[2]) < AXIAL:
        notes.append("its slices are not axial")
    columns, rows = slices[0].pixels.columns, slices[0].pixels.rows
    header = checked_header(
        path, (columns, rows, grid.planes), grid.spacing_mm, grid.origin_mm, grid.direction
    )
    header = dataclasses.replace(
        header,
        slice_planes=() if grid.even else tuple(grid.heights.tolist()),
        series_uid=series.uid,
        notes=(*notes, *grid.notes),
    )
    return Stack(series, tuple(slices), grid, header)


def read_stack(stack: Stack, *, step: Step = untold) -> tuple[np.ndarray, tuple[str, ...]]:
    """HU on the grid of the stack's header, int16 [Z, Y, X], and notes on the values.

    Raises:
      ScanError: pixels are truncated, damaged, of an unsupported syntax, or no HU.
    """
    hu, notes = read_slices(stack.header.path, stack.slices, step=step)
    return _on_grid(hu, stack.geometry), notes


def read_slices(
    path: Path, slices: Sequence[Slice], *, step: Step = untold
) -> tuple[np.ndarray, tuple[str, ...]]:
    """HU of slices of one size, int16 [N, Y, X], wherever they lie, and notes on the values.

    Raises:
      ScanError: as `read_stack`; names `path` where no single file is at fault.
    """
    tally = Tally()
    first = slices[0].pixels
    # As HU, once more on the grid, and one slice as decoded.
    if wrong := memory.lacking((4 * len(slices) + 16) * first.rows * first.columns):
        raise ScanError(
            f"{path}: {len(slices)} slices of {first.rows} x {first.columns} pixels are too many: "
            f"{wrong}; correct the header, or use a machine with more memory"
        )
    hu = np.empty((len(slices), first.rows, first.columns), np.int16)
    # Files with many frames are decoded in their own order.
    order = sorted(range(len(hu)), key=lambda i: (slices[i].path, slices[i].frame))
    values = stored_values(slices[i] for i in order)
    for done, (i, (plane, raw)) in enumerate(zip(order, values, strict=True)):
        step("reading the scan", done / len(hu))
        hu[i] = to_hu(plane, raw, tally)
    require_hu(path, slices, tally)
    return hu, tally.notes(slices)


def _on_grid(hu: np.ndarray, grid: Geometry) -> np.ndarray:
    """The slices interpolated (linear) at the planes of the grid."""
    if grid.even:
        return hu
    out = np.empty((grid.planes, *hu.shape[1:]), np.int16)
    for plane in range(grid.planes):
        below = int(np.searchsorted(grid.heights, plane, side="right")) - 1
        below = min(max(below, 0), len(hu) - 2)
        low, high = grid.heights[below : below + 2]
        share = np.float32(np.clip((plane - low) / (high - low), 0.0, 1.0))
        out[plane] = np.rint(hu[below] * (1 - share) + hu[below + 1] * share)
    return out


def _require_known(slices: Sequence[Slice]) -> None:
    wrong = [s for s in slices if s.problem]
    if wrong:
        more = f" (likewise {len(wrong) - 1} of {len(slices) - 1} others)" if wrong[1:] else ""
        raise ScanError(f"{wrong[0].path.parent / wrong[0].name}: {wrong[0].problem}{more}")
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        lacking = [s for s in slices if getattr(s, keyword[7:].lower()) is None]
        if 0 < len(lacking) < len(slices):
            raise ScanError(
                f"{lacking[0].path.parent}: {named(lacking)} without {described(keyword)}, which "
                "the other slices have; export the series again"
            )


def _one_part(slices: list[Slice], notes: list[str]) -> list[Slice]:
    """The slices of one acquisition and one point in time, where several overlap."""
    parts: dict[tuple[int, int], list[Slice]] = {}
    for s in slices:
        parts.setdefault(s.part, []).append(s)
    if len(parts) < 2 or not _overlap(list(parts.values())):
        return slices
    best = min(parts, key=lambda part: (-len(parts[part]), part))
    acquisition, time = best
    name = f"acquisition {acquisition}" + (f", temporal position {time}" if time else "")
    notes.append(
        f"{len(parts)} acquisitions or points in time at the same place; {name} is used, "
        f"{len(parts[best])} of {len(slices)} slices"
    )
    return parts[best]


def _overlap(parts: Sequence[Sequence[Slice]]) -> bool:
    """Whether parts of a series show the same places, or cannot be compared.

    Parts one after the other, which may share a slice, form one scan.
    """
    if len({(s.layout, tuple(round(v, 2) for v in s.orientation)) for p in parts for s in p}) > 1:
        return True
    normal = axes_of(parts[0][:1])[:, 2]
    spans = sorted((heights_of(p, normal).min(), heights_of(p, normal).max()) for p in parts)
    return any(low[1] > high[0] + 0.01 for low, high in itertools.pairwise(spans))


def _one_per_place(slices: list[Slice], notes: list[str]) -> list[Slice]:
    """The slices in order along their normal, one at each position."""
    heights = heights_of(slices, axes_of(slices)[:, 2])
    ordered = np.argsort(heights, kind="stable").tolist()
    places: list[list[int]] = []
    for i in ordered:
        if places and same_place(heights[places[-1][0]], heights[i]):
            places[-1].append(i)
        else:
            places.append([i])
    kept, copies, different = [], [], []
    for place in places:
        here = [slices[i] for i in place]
        first, *others = sorted(here, key=_instance_order)
        for other in others:
            if _same_pixels(first, other):
                copies.append(other)
            elif len(here) > 2 or _instance_order(first)[0] == _instance_order(other)[0]:
                raise ScanError(_clash(first, other, len(here)))
            else:
                different.append(other)
        kept.append(first)
    if copies:
        notes.append(f"left out, copies of other slices: {named(copies)}")
    if different:
        notes.append(
            "left out, a different slice at the position of one with a lower InstanceNumber: "
            f"{named(different)}"
        )
    return kept


def _instance_order(s: Slice) -> tuple[float, str, int]:
    return (np.inf if s.instance is None else s.instance, s.path.name, s.frame)


def _same_pixels(first: Slice, second: Slice) -> bool:
    """Whether two slices at one position have the same HU."""
    a, b = (to_hu(s, raw, Tally()) for s, raw in stored_values([first, second]))
    return bool(np.array_equal(a, b))


def _clash(first: Slice, second: Slice, count: int) -> str:
    return (
        f"{first.path.parent}: {count} different slices at the same position (z "
        f"{first.position_mm[2]:g} mm), such as {first.name} and {second.name}, and "
        "AcquisitionNumber and InstanceNumber do not tell which to use; keep the files of one "
        "acquisition"
    )


def _order_notes(slices: Sequence[Slice], grid: Geometry) -> list[str]:
    """A note where InstanceNumber goes up and down along the body.

    Raises:
      ScanError: it does, and the distances are uneven: slices of two acquisitions are mixed, which
        AcquisitionNumber does not tell.
    """
    numbers = [s.instance for s in slices]
    if None in numbers or len(set(numbers)) < 2:
        return []
    steps = np.sign(np.diff(np.array(numbers, float)))
    odd = steps != np.sign(steps.sum() or 1)
    # Acquisitions one after the other, each counted from 1, are not mixed.
    most = _RESTARTS * len(steps) if len(set(numbers)) < len(numbers) else 0
    if odd.sum() <= most:
        return []
    if not grid.even:
        at = int(np.flatnonzero(odd)[0])
        raise ScanError(
            f"{slices[0].path.parent}: slices at uneven distances whose InstanceNumber goes up and "
            f"down along the body (at {slices[at].name} and {slices[at + 1].name}): slices of two "
            "acquisitions are mixed; keep the files of one"
        )
    return ["InstanceNumber does not follow the positions, which are used"]
