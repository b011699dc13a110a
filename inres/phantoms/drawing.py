"""Tubes and nodules drawn into a CT volume at its own resolution, with partial volumes."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

BASE_HU = np.float32(-860)
AIR_HU = -985.0


class Tube(NamedTuple):
    """A truncated cone from `p` to `q` (x, y, z in mm) with radii `rp` and `rq` in mm."""

    p: np.ndarray
    q: np.ndarray
    rp: float
    rq: float


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A volume and the positions of its voxels."""

    hu: np.ndarray
    """int16 [Z, Y, X], modified by drawing."""
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    """Voxel centres in mm, evenly spaced; x and y may be descending."""
    thickness: float
    blur_mm: float
    """Width over which a sharp edge rises within a slice."""

    def box(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice, slice] | None:
        """Index ranges (z, y, x) that cover a range in mm; None if it is outside the volume."""
        spans = []
        for axis, a, b in zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True):
            step = axis[1] - axis[0]
            i, j = sorted(((a - axis[0]) / step, (b - axis[0]) / step))
            span = slice(max(0, int(np.floor(i))), min(len(axis), int(np.ceil(j)) + 1))
            if span.start >= span.stop:
                return None
            spans.append(span)
        return spans[0], spans[1], spans[2]

    def sub_slices(self, span: slice) -> tuple[np.ndarray, int]:
        """Heights at which the slices of `span` are sampled, and their number per slice."""
        n = max(1, round(self.thickness / 0.8))
        offsets = ((np.arange(n) + 0.5) / n - 0.5) * self.thickness
        return (self.z[span, None] + offsets).astype(np.float32).ravel(), n


def _slice_mean(cover: np.ndarray, n: int) -> np.ndarray:
    """Means over the n samples of each slice."""
    if n == 1:
        return cover
    return cover.reshape(-1, n, *cover.shape[1:]).mean(axis=1)


def tube_cover(canvas: Canvas, tube: Tube, blur: float) -> tuple[tuple, np.ndarray] | None:
    """The bounding box of a tube and the share of each voxel it fills; None outside the volume.

    Thin tubes fade with their cross-section, as they do by a scanner's point spread.
    """
    reach = max(tube.rp, tube.rq) + blur / 2 + 0.2
    low, high = np.minimum(tube.p, tube.q) - reach, np.maximum(tube.p, tube.q) + reach
    low[2] -= canvas.thickness / 2
    high[2] += canvas.thickness / 2
    box = canvas.box(low, high)
    if box is None:
        return None
    z, n = canvas.sub_slices(box[0])
    x, y, z = canvas.x[box[2]] - tube.p[0], canvas.y[box[1]] - tube.p[1], z - tube.p[2]
    along = (tube.q - tube.p).astype(np.float32)
    length2 = np.float32(max(float(along @ along), 1e-6))
    k = along / length2
    # Distance to the axis from separable sums: |v|^2 - L^2 t (2 a - t), t = clip(a, 0, 1).
    a = (k[2] * z)[:, None, None] + ((k[1] * y)[:, None] + k[0] * x)
    d = (z * z)[:, None, None] + ((y * y)[:, None] + x * x)
    t = np.clip(a, 0, 1)
    a += a
    a -= t
    a *= t
    a *= length2
    d -= a
    np.sqrt(np.maximum(d, 0, out=d), out=d)
    t *= np.float32((tube.rq - tube.rp) / blur)
    t -= d * np.float32(1 / blur)
    t += np.float32(0.5 + tube.rp / blur)
    np.clip(t, 0, 1, out=t)
    r2 = min(tube.rp, tube.rq) ** 2
    t *= np.float32(r2 / (r2 + blur**2 / 12))
    return box, _slice_mean(t, n)


def raise_to(canvas: Canvas, box: tuple, cover: np.ndarray, hu: np.ndarray | float) -> None:
    """Draw something denser than lung: HU increases with its share of each voxel, never decreases.

    Earlier drawings count as lung here, so that two tubes that meet do not thicken each other's
    edges.
    """
    view = canvas.hu[box]
    base = np.minimum(view, BASE_HU)
    np.maximum(view, (base + cover * (hu - base)).astype(np.int16), out=view)


def draw_vessels(canvas: Canvas, tubes: Iterable[Tube], hu: float) -> None:
    """Draw blood-filled tubes."""
    for tube in tubes:
        found = tube_cover(canvas, tube, canvas.blur_mm)
        if found is not None:
            raise_to(canvas, *found, hu)


def draw_airways(canvas: Canvas, tubes: list[Tube], labels: np.ndarray, label: int) -> None:
    """Draw air-filled tubes with walls; set `labels` to `label` where they fill half a voxel."""
    for tube in tubes:
        wall = [0.35 + 0.13 * r for r in (tube.rp, tube.rq)]
        outer = Tube(tube.p, tube.q, tube.rp + wall[0], tube.rq + wall[1])
        found = tube_cover(canvas, outer, canvas.blur_mm)
        if found is not None:
            raise_to(canvas, *found, -60.0)
    for tube in tubes:
        found = tube_cover(canvas, tube, canvas.blur_mm)
        if found is not None:
            box, cover = found
            view = canvas.hu[box]
            inner = np.where(cover > 0, cover * AIR_HU, 32000)
            np.minimum(view, inner.astype(np.int16), out=view)
            if min(tube.rp, tube.rq) > 3:
                labels[box][cover > 0.5] = label


@dataclasses.dataclass(frozen=True)
class Blob:
    """The body of a nodule: an ellipsoid with lobes.

    In direction n, its surface is at distance `rho(n) (1 + lobes(n))` from the centre, where rho
    is the ellipsoid with semi-axes `axes_mm` rotated by `rotation`, and the lobes have zero mean
    over the sphere. So the mean of its long and short axis is that of the ellipsoid, which is the
    annotated diameter.
    """

    centre: np.ndarray
    axes_mm: np.ndarray
    rotation: np.ndarray
    lobe_directions: np.ndarray
    """[L, 3] unit vectors; L may be 0."""
    lobe_heights: np.ndarray
    """[L], relative to the radius."""
    lobe_sharpness: float
    hu: float
    edge_mm: float
    """Added to the canvas's blur: ground glass fades out slowly."""
    rough: float = 0.0
    """Relative roughness of the surface, with zero mean."""
    mottle: float = 0.0
    """Relative variation of the interior."""

    @property
    def diameter_mm(self) -> float:
        """Mean of the long and the short axis."""
        return float(self.axes_mm.max() + self.axes_mm.min())


def blob_cover(
    canvas: Canvas, blob: Blob, rng: np.random.Generator
) -> tuple[tuple, np.ndarray] | None:
    """The bounding box of a blob and the share of each voxel it fills; None outside the volume."""
    width = canvas.blur_mm + blob.edge_mm
    axis_mean = float(blob.axes_mm.mean())
    grow = 1 + np.maximum(blob.lobe_heights, 0).sum() + 2.5 * blob.rough
    reach = float(blob.axes_mm.max() * grow + width / 2 + 0.5)
    high = np.array([reach, reach, reach + canvas.thickness / 2])
    box = canvas.box(blob.centre - high, blob.centre + high)
    if box is None:
        return None
    z, n = canvas.sub_slices(box[0])
    axes = [canvas.x[box[2]], canvas.y[box[1]], z]
    x, y, z = (v - np.float32(c) for v, c in zip(axes, blob.centre, strict=True))
    turn = blob.rotation.astype(np.float32)
    r = np.sqrt((z * z)[:, None, None] + (y * y)[:, None] + x * x)

    def dot(v: np.ndarray) -> np.ndarray:
        return (v[2] * z)[:, None, None] + (v[1] * y)[:, None] + v[0] * x

    inside = sum((dot(turn[i] / np.float32(blob.axes_mm[i]))) ** 2 for i in range(3))
    rho = r / np.maximum(np.sqrt(inside), 1e-3)  # radius of the ellipsoid towards the voxel
    if len(blob.lobe_heights):
        k = np.float32(blob.lobe_sharpness)
        mean = np.float32((1 - np.exp(-2 * k)) / (2 * k))
        unit = 1 / np.maximum(r, 1e-3)
        lobes = np.zeros_like(r)
        for v, height in zip(
            blob.lobe_directions.astype(np.float32), blob.lobe_heights, strict=True
        ):
            lobes += np.float32(height) * (np.exp(k * (dot(v) * unit - 1)) - mean)
        rho *= 1 + lobes
    if blob.rough:
        rho *= 1 + np.float32(blob.rough) * _grain(rng, r.shape, canvas, n, 0.25 * axis_mean + 0.4)
    cover = np.clip(0.5 + (np.where(r < 1e-3, blob.axes_mm.min(), rho) - r) / width, 0, 1)
    if blob.mottle:
        cover *= np.clip(1 + blob.mottle * _grain(rng, r.shape, canvas, n, 1.2), 0.3, 1.4)
    return box, _slice_mean(cover, n)


def _grain(
    rng: np.random.Generator, shape: tuple[int, ...], canvas: Canvas, n: int, size_mm: float
) -> np.ndarray:
    """Noise with unit standard deviation and a grain size of about `size_mm`."""
    pixel = abs(float(canvas.x[1] - canvas.x[0]))
    grain = rng.standard_normal(shape, dtype=np.float32)
    steps = (size_mm * n / canvas.thickness, size_mm / pixel, size_mm / pixel)
    grain = gaussian_filter(grain, [0.6 * s for s in steps], mode="wrap")
    return grain / max(float(grain.std()), 1e-6)


def draw_blob(canvas: Canvas, blob: Blob, rng: np.random.Generator) -> None:
    """Draw the body of a nodule."""
    found = blob_cover(canvas, blob, rng)
    if found is not None:
        raise_to(canvas, *found, blob.hu)
