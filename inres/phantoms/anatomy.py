"""A synthetic chest as smooth fields on a coarse grid: signed distances and HU.

The frame is in millimetres: x to the patient's left, y to the back, z to the head, with (0, 0) in
the middle of the thorax and z = 0 at the lowest point of the lungs. Signed distances are positive
inside. Shapes are defined for lungs 240 mm high (the standard frame) and scaled to each person.
"""

import dataclasses

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter

HEIGHT_MM = 240.0
STEP_MM = (2.6, 2.2, 2.2)
"""Steps of the coarse grid in z, y, x. Distances are almost linear, so borders stay sharp when
they are sampled more finely."""
LUNG_HU = -862.0
MIDLINE_MM = 4.0


@dataclasses.dataclass(frozen=True)
class Person:
    """Parameters in which chests differ."""

    scale: float
    """Width and depth relative to the mean adult."""
    height_mm: float
    """Lung height from base to apex."""
    cage: tuple[float, float, float]
    """Half-width, depth to the front and depth to the back of the lungs' outline, unscaled."""
    fat_mm: float
    breast: float
    """Size of the breasts, 0 to 1.5."""
    blood_hu: float
    """HU of blood: about 40 without contrast medium, up to 220 with it."""
    lung_hu: float
    emphysema: float
    """Severity, 0 to 1."""
    heart: float
    """Size of the heart relative to the mean."""
    texture_hu: float

    @property
    def half_width_mm(self) -> float:
        """Half-width of the lungs."""
        return self.cage[0] * self.scale


def draw_person(rng: np.random.Generator, *, extent_mm: float) -> Person:
    """A random person whose lungs fill most of a scan of length `extent_mm`."""
    scale = float(np.clip(rng.normal(0.98, 0.08), 0.8, 1.16))
    enhanced = rng.random() < 0.45
    return Person(
        scale=scale,
        height_mm=float(np.clip(rng.uniform(0.95, 1.2) * extent_mm, 130, 270)),
        cage=(rng.uniform(122, 134), rng.uniform(80, 98), rng.uniform(89, 99)),
        fat_mm=float(np.clip(rng.gamma(3.0, 5.0), 4, 40)),
        breast=float(rng.uniform(0.6, 1.4)) if rng.random() < 0.45 else 0.0,
        blood_hu=float(rng.uniform(110, 220) if enhanced else rng.uniform(35, 50)),
        lung_hu=float(LUNG_HU + rng.normal(0, 16)),
        emphysema=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.25 else 0.0,
        heart=float(rng.uniform(0.88, 1.12)),
        texture_hu=float(rng.uniform(9, 18)),
    )


@dataclasses.dataclass(frozen=True)
class Chest:
    """The fields, float32 [Z, Y, X], on the coarse grid `x`, `y`, `z` (mm, ascending)."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    midline_mm: float
    """x where the two lungs are closest, in front of the heart."""
    body: np.ndarray
    """Signed distance to the skin, mm."""
    tissue: np.ndarray
    """HU of soft tissue."""
    bone: np.ndarray
    """Signed distance to the surface of the bones, mm."""
    marrow: np.ndarray
    """HU inside the bones."""
    lung: np.ndarray
    """Signed distance to the pleura, mm."""
    lung_hu: np.ndarray


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], step_knots: tuple[float, float, float]
) -> np.ndarray:
    """Smooth random field, float32 of `shape`: splines through one unit-variance knot every
    `step_knots` voxels.
    """
    counts = [max(4, int(n / s) + 2) for n, s in zip(shape, step_knots, strict=True)]
    field = rng.standard_normal(counts, dtype=np.float32)
    for axis, (n, k) in enumerate(zip(shape, counts, strict=True)):
        basis = CubicSpline(np.arange(k), np.eye(k), bc_type="natural")(np.linspace(0, k - 1, n))
        term = ("ij,jkl->ikl", "ij,kjl->kil", "ij,klj->kli")[axis]
        field = np.einsum(term, basis.astype(np.float32), field)
    return field


def _cover(distance: np.ndarray, width: float = 3.0) -> np.ndarray:
    """Share of a voxel inside a shape, from its signed distance; borders rise over `width` mm."""
    return np.clip(0.5 + distance / width, 0, 1)


def _blend(field: np.ndarray, cover: np.ndarray, hu: np.ndarray | float) -> None:
    """Blend `hu` into `field` in place, by the share `cover`."""
    field += cover * (hu - field)


def _union(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Smooth maximum, which joins two shapes with a fillet of about `k` mm."""
    h = np.maximum(k - np.abs(a - b), 0) / k
    return np.maximum(a, b) + h * h * (k / 4)


def _ellipse(
    dx: np.ndarray, dy: np.ndarray, a: np.ndarray | float, b: np.ndarray | float
) -> np.ndarray:
    return (1 - np.sqrt((dx / a) ** 2 + (dy / b) ** 2)) * np.minimum(np.float32(a), np.float32(b))


def _capsule(
    x: np.ndarray,
    y: np.ndarray,
    p: tuple[np.ndarray | float, float],
    q: tuple[float, float],
    r: float,
) -> np.ndarray:
    """Signed distance to a line from p to q of radius r."""
    ux, uy = q[0] - p[0], q[1] - p[1]
    t = np.clip(((x - p[0]) * ux + (y - p[1]) * uy) / (ux * ux + uy * uy), 0, 1)
    return r - np.hypot(x - p[0] - t * ux, y - p[1] - t * uy)


def _between(z: np.ndarray, low: float, high: float) -> np.ndarray:
    """Signed distance to the range from `low` to `high`."""
    return np.minimum(z - low, high - z)


def build_chest(
    person: Person,
    rng: np.random.Generator,
    *,
    x_mm: tuple[float, float],
    y_mm: tuple[float, float],
    z_mm: tuple[float, float],
) -> Chest:
    """The chest of `person` over the given ranges of the module's frame."""
    ranges = zip((z_mm, y_mm, x_mm), STEP_MM, strict=True)
    z, y, x = (np.arange(a - 2 * d, b + 3 * d, d, dtype=np.float32) for (a, b), d in ranges)
    shape = (len(z), len(y), len(x))
    zs = z[:, None, None] * np.float32(HEIGHT_MM / person.height_mm)
    grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.9, mode="wrap")
    grain /= grain.std()
    patches = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 2.0, mode="wrap")
    patches /= patches.std()
    broad = [smooth_noise(rng, shape, (12.0, 16.0, 16.0)) for _ in range(4)]
    fine = [smooth_noise(rng, shape, (4.0, 5.0, 5.0)) for _ in range(2)]
    fields = {f.name: np.empty(shape, np.float32) for f in dataclasses.fields(Chest)[4:]}
    for k in range(0, len(z), 4):  # a few slices at a time stay in the processor's cache
        part = slice(k, k + 4)
        noise = (broad[0], broad[1], broad[2], broad[3], fine[0], fine[1], grain, patches)
        made = _slab(person, zs[part], y, x, [n[part] for n in noise])
        for name, values in made.items():
            fields[name][part] = values
    return Chest(x=x, y=y, z=z, midline_mm=MIDLINE_MM * person.scale, **fields)


def _slab(
    person: Person, zs: np.ndarray, y: np.ndarray, x: np.ndarray, noise: list[np.ndarray]
) -> dict[str, np.ndarray]:
    """The fields of `Chest` on a few slices; `zs` is in the standard frame."""
    *warp, fine_x, fine_y, grain, patches = noise
    scale = np.float32(person.scale)
    xs = x / scale + 3 * warp[0]
    ys = (y / scale)[:, None] + 3 * warp[1]
    radius = np.hypot(xs, ys)
    cosine = ys / np.maximum(radius, 1)  # 1 at the back, -1 at the front
    cage = _cage(person, xs, ys, zs, radius)
    dome = _diaphragm(xs, ys) + 2 * warp[2]
    parts = _mediastinum(person, x / scale, xs, ys, zs)
    lung = -_union(parts["outline"], -cage, 8)
    lung = np.minimum(lung, (zs - dome) * 0.7) + 0.5 * fine_y
    body = _body(person, xs, ys, zs, radius)
    bone, marrow = _bones(xs + 1.1 * fine_x, ys + 1.1 * fine_y, zs, cage + 0.8 * fine_x, cosine)
    tissue = _tissue(person, warp, xs, ys, zs, cage, cosine, dome, parts)
    _blend(tissue, np.clip(1 - np.abs(body - 1) / 2, 0, 1), 10.0)  # skin
    tissue += (5 + 9 * (tissue < 0)) * grain
    return {
        "body": body * scale,
        "tissue": tissue,
        "bone": bone * scale,
        "marrow": marrow + 45 * grain,
        "lung": lung * scale,
        "lung_hu": _lung_hu(person, warp, xs, ys, zs, grain, patches),
    }


def _cage(
    person: Person, xs: np.ndarray, ys: np.ndarray, zs: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Signed distance to the rib cage's inner outline: a squircle that tapers to the apex."""
    t = zs / HEIGHT_MM
    levels = (-0.2, 0.0, 0.2, 0.42, 0.6, 0.75, 0.86, 0.93, 0.98, 1.0, 1.02, 1.2)
    widths = (0.93, 0.97, 1.0, 0.98, 0.92, 0.82, 0.69, 0.57, 0.43, 0.3, 0.02, 0.02)
    depths = (0.95, 0.98, 1.0, 0.96, 0.88, 0.78, 0.66, 0.55, 0.43, 0.32, 0.02, 0.02)
    a = person.cage[0] * np.interp(t, levels, widths).astype(np.float32)
    profile = np.interp(t, levels, depths).astype(np.float32)
    shift = 16 * np.clip((t - 0.6) / 0.4, 0, 1) ** 2  # the apex is towards the back
    yc = ys - shift
    front, back = np.float32(person.cage[1]), np.float32(person.cage[2])
    b = np.where(yc < 0, front, back) * profile
    px = np.minimum((np.abs(xs) * (1 - 0.0012 * yc) / a) ** 2, 4)
    py = np.minimum((yc / b) ** 2, 4)
    rho = np.sqrt(np.maximum(px + py - 0.32 * px * py, 1e-4))
    return np.minimum(radius, 200) * (1 / rho - 1)


def _diaphragm(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Height of the two domes in mm, standard frame; the right one is higher."""
    right = 58 * (1 - ((xs + 60) / 74) ** 2 - ((ys + 22) / 84) ** 2)
    left = 48 * (1 - ((xs - 62) / 72) ** 2 - ((ys + 24) / 84) ** 2)
    return np.maximum(np.maximum(right, left), -60)


def _mediastinum(
    person: Person, straight: np.ndarray, xs: np.ndarray, ys: np.ndarray, zs: np.ndarray
) -> dict[str, np.ndarray]:
    """Signed distances to the structures between the lungs; `outline` is their union."""
    t = zs / HEIGHT_MM
    levels = (0.0, 0.25, 0.45, 0.56, 0.66, 0.8, 1.0, 1.2)
    wide = np.interp(t, levels, (26, 28, 30, 36, 31, 29, 27, 30)).astype(np.float32)
    deep = np.interp(t, levels, (34, 36, 38, 40, 38, 36, 34, 38)).astype(np.float32)
    strip = np.interp(t, levels, (16, 12, 7, 3.5, 4, 9, 16, 20)).astype(np.float32)
    core = _ellipse(xs - 3, ys + 4, wide, deep)
    front = np.minimum(
        strip + 0.22 * np.maximum(ys + 62, 0) - np.abs(straight - MIDLINE_MM), -ys - 8
    )
    h = person.heart
    along, across = 0.82 * (xs - 20) - 0.57 * (ys + 26), 0.57 * (xs - 20) + 0.82 * (ys + 26)
    up = (zs - 66) / (56 * h)
    heart = (1 - np.sqrt((along / (64 * h)) ** 2 + (across / (45 * h)) ** 2 + up**2)) * 45 * h
    spine = _ellipse(xs, ys - 60, 23.0, 24.0)
    behind = np.minimum(20 - np.abs(xs), ys - 60)
    recess = np.minimum(10 - np.abs(straight - MIDLINE_MM), 26 - np.abs(ys - 34))
    arch = np.minimum(_capsule(xs, ys, (-8, -24), (20, 32), 13.5), _between(zs, 150, 174))
    parts = {
        "heart": heart,
        "descending": np.minimum(_ellipse(xs - 23, ys - 42, 12.5, 12.5), 172 - zs),
        "ascending": np.minimum(_ellipse(xs + 8, ys + 24, 16.5, 16.5), _between(zs, 92, 172)),
        "arch": arch,
        "cava": np.minimum(_ellipse(xs + 30, ys + 18, 9.0, 8.0), zs - 95),
        "trunk": np.minimum(_capsule(xs, ys, (18, -40), (27, -10), 12.5), _between(zs, 104, 140)),
        "right": np.minimum(_capsule(xs, ys, (12, -12), (-38, -2), 9.5), _between(zs, 114, 134)),
        "left": np.minimum(_capsule(xs, ys, (26, -14), (42, 10), 10.5), _between(zs, 120, 143)),
        "branches": np.maximum(
            np.maximum(_ellipse(xs + 18, ys + 12, 7.0, 7.0), _ellipse(xs - 4, ys + 10, 5.0, 5.0)),
            _ellipse(xs - 20, ys - 4, 6.0, 6.0),
        )
        + np.minimum(zs - 172, 0),
        "gullet": _ellipse(xs - 9, ys - 32, 8.5, 6.0),
    }
    outline = _union(core, np.maximum(front, -60), 10)
    outline = np.maximum(outline, recess)
    outline = _union(outline, heart + 4, 8)
    outline = _union(outline, _union(spine, behind, 8), 8)
    for name in ("descending", "arch", "cava", "right", "left"):
        outline = _union(outline, parts[name] + 2, 5)
    parts["outline"] = outline
    return parts


def _body(
    person: Person, xs: np.ndarray, ys: np.ndarray, zs: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Signed distance to the skin."""
    t = zs / HEIGHT_MM
    top = np.clip((t - 0.72) / 0.4, 0, 1)
    fat = person.fat_mm
    a = person.cage[0] + 22 + fat + 55 * top
    front = np.float32(person.cage[1] + 17 + 0.8 * fat)
    back = np.float32(person.cage[2] + 27 + 0.5 * fat)
    b = np.where(ys < 0, front, back)
    b = b * (1 - 0.16 * top)
    px, py = np.minimum((xs / a) ** 2, 4), np.minimum((ys / b) ** 2, 4)
    rho = np.sqrt(np.maximum(px + py - 0.38 * px * py, 1e-4))
    body = np.minimum(radius, 300) * (1 / rho - 1)
    groove = np.exp(-((xs / 16) ** 2)) * np.float32(4)
    body = body - groove
    if person.breast:
        size = 0.55 + 0.45 * person.breast
        centre = -(person.cage[1] + 12 + 0.6 * fat)
        dx, dy = (np.abs(xs) - 72) / 58, (ys - centre) / (38 * size)
        shape = (1 - np.sqrt(dx**2 + dy**2 + ((zs - 112) / 62) ** 2)) * 34 * size
        body = _union(body, shape, 14)
    return body


def _bones(
    xs: np.ndarray, ys: np.ndarray, zs: np.ndarray, cage: np.ndarray, cosine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to the bones, and HU inside them."""
    ax = np.abs(xs)
    level = np.mod(zs, 25.0)
    disc = np.clip(1 - np.abs(level - 12.5) / 3.5, 0, 1)
    vertebra = _ellipse(xs, ys - 60, 17.5 - 1.5 * (disc < 0.5).astype(np.float32), 14.5)
    lamina = 2.3 - np.abs(np.hypot(xs * 0.9, ys - 83) - 11.5)
    process = _capsule(xs, ys, (0, 94), (0, 112), 3.4)
    process = np.minimum(process, 9 - np.abs(np.mod(zs + 6, 25.0) - 12.5))
    sides = np.minimum(
        _capsule(ax, ys, (11, 80), (31, 88), 4.6), 7 - np.abs(np.mod(zs + 3, 25.0) - 12.5)
    )
    bone = np.maximum(np.maximum(vertebra, lamina), np.maximum(process, sides))

    drop = 118 * (1 - cosine) / 2
    gap = np.mod(zs + drop + 3, 25.0) - 12.5
    slope = np.sqrt(1 - 0.55 * np.clip(1 - cosine**2, 0, 1))
    ring = 1 - np.sqrt(((cage + 7) / 3.7) ** 2 + (gap * slope / 6.0) ** 2)
    ribs = np.minimum(ring * 3.9, (cosine + 0.74) * 60)
    ribs = np.minimum(ribs, ax - 19)
    bone = np.maximum(bone, ribs)

    front = cage + 13  # the sternum is just in front of the ribs' ends
    width = 15 + 6 * np.clip((zs - 160) / 40, 0, 1)
    sternum = (1 - np.sqrt(((front - 6) / 6.2) ** 2 + (ax / width) ** 4)) * 6.2
    sternum = np.minimum(np.minimum(sternum, (-0.6 - cosine) * 60), _between(zs, 92, 208))
    bone = np.maximum(bone, sternum)

    up = np.clip((zs - 118) / 90, 0, 1)
    bend = 0.0035 * (ax - 105) ** 2
    blade = _capsule(ax, ys + 6 * up - bend, (112 - 34 * up, 98), (134, 72), 1.9)
    edge = np.hypot(ax - 133, ys - 70 + 6 * up) * -1 + 3.0 + 2.5 * up
    ridge = _capsule(ax, ys - 0.3 * (zs - 210), (96, 106), (140, 80), 3.0)
    ridge = np.minimum(ridge, _between(zs, 180, 240))
    blade = np.minimum(np.maximum(blade, edge), _between(zs, 112, 238))
    bone = np.maximum(bone, np.maximum(blade, ridge))
    rise = zs - 196 - 0.32 * ax
    collar = 5.6 - np.hypot(ys + 58 - 0.16 * ax, rise * 0.95)
    bone = np.maximum(bone, np.minimum(collar, _between(ax, 22, 118)))
    head = 23 - np.sqrt((ax - 158) ** 2 + (ys - 18) ** 2 + (zs - 238) ** 2)
    bone = np.maximum(bone, head)

    marrow = np.full(bone.shape, 210.0, np.float32)
    marrow += ((ax < 22) & (ys > 40)).astype(np.float32) * (-30 - 110 * disc)
    return bone, marrow


def _tissue(
    person: Person,
    warp: list[np.ndarray],
    xs: np.ndarray,
    ys: np.ndarray,
    zs: np.ndarray,
    cage: np.ndarray,
    cosine: np.ndarray,
    dome: np.ndarray,
    parts: dict[str, np.ndarray],
) -> np.ndarray:
    """HU of everything that is not air, lung or bone."""
    ax = np.abs(xs)
    t = zs / HEIGHT_MM
    wavy = warp[3]
    tissue = np.full(cage.shape, -104.0, np.float32)
    if person.breast:  # glandular tissue in the fat in front of the pectoral muscle
        gland = np.clip(-1.2 + 1.5 * np.abs(warp[2] - warp[3]) * (cosine < -0.3), 0, 1)
        _blend(tissue, gland * _cover(26 - np.abs(-cage - 40), 12) * _cover(110 - zs, 60), 15.0)

    chest = _cover(-0.25 - cosine, 0.4) * np.clip((t - 0.4) / 0.12, 0, 1)
    back = _cover(62 - ax, 14) * _cover(cosine - 0.55, 0.3)
    shoulder = np.clip((t - 0.62) / 0.3, 0, 1)
    thick = 13 + 13 * chest + 20 * back + 26 * shoulder + 3 * wavy
    outward = -cage
    _blend(tissue, _cover(thick - outward), 52.0)
    plane = np.clip(1.3 - np.abs(outward - 13.5 - 2 * warp[0]) / 1.8, 0, 1) * (1 - 0.8 * back)
    _blend(tissue, plane * np.clip(0.35 + 0.6 * warp[2], 0, 0.9), -85.0)
    plane = np.clip(1.2 - np.abs(outward - 27 - 3 * warp[1]) / 1.8, 0, 1) * (1 - back)
    _blend(tissue, plane * np.clip(0.3 + 0.6 * wavy, 0, 0.9), -85.0)
    midline = np.clip(1 - ax / 2.5, 0, 1) * _cover(cosine - 0.6, 0.2)
    _blend(tissue, 0.5 * midline * _cover(outward - 16), -60.0)

    inside = _cover(cage + 1.0, 2.0)
    _blend(tissue, inside, -88 + 70 * np.clip(0.5 + wavy, 0, 1))
    _blend(tissue, inside * _cover(parts["heart"] + 4), -90.0)
    _blend(tissue, inside * _cover(parts["heart"]), 0.4 * 45 + 0.6 * person.blood_hu)
    chamber = parts["heart"] - 9 + 3 * warp[2]
    _blend(tissue, inside * _cover(chamber, 4.0), person.blood_hu)
    for name in ("descending", "ascending", "arch", "cava", "trunk", "right", "left", "branches"):
        _blend(tissue, inside * _cover(parts[name]), person.blood_hu)
    _blend(tissue, inside * _cover(parts["gullet"]), 32.0)

    below = inside * _cover(dome - zs, 4.0)
    liver = _cover(14 + 12 * warp[0] - 0.5 * (ys + 20) - xs, 5.0)
    organ = 38 + (20 + 0.35 * (person.blood_hu - 40)) * liver
    organ += (1 - liver) * np.clip(3 * (wavy - 0.3), 0, 1) * -135
    behind = _cover(parts["descending"]) + _cover(parts["outline"] - 1) * (ys > 30)
    _blend(tissue, below * np.clip(1 - behind, 0, 1) * _cover(cage - 3), organ)

    cartilage = np.clip(-0.72 - cosine, 0, 0.06) / 0.06 * _cover(ax - 16)
    gap = np.mod(zs + 118 * (1 - cosine) / 2 + 3, 25.0) - 12.5
    ring = 1 - np.sqrt(((cage + 7) / 4.5) ** 2 + (gap / 7.5) ** 2)
    _blend(tissue, cartilage * _cover(ring * 4.5), 95.0)
    canal = _ellipse(xs, ys - 83, 10.0, 9.0)
    _blend(tissue, _cover(canal), 22.0)
    return tissue


def _lung_hu(
    person: Person,
    warp: list[np.ndarray],
    xs: np.ndarray,
    ys: np.ndarray,
    zs: np.ndarray,
    grain: np.ndarray,
    patches: np.ndarray,
) -> np.ndarray:
    """HU of the lung between the drawn vessels: gravity, patches, texture and fissures."""
    hu = person.lung_hu + 0.33 * ys + 11 * warp[2] + 13 * patches
    texture = grain + 0.35 * (grain**2 - 1)  # the capillary bed has a tail of denser spots
    hu += person.texture_hu * texture
    if person.emphysema:
        hu -= person.emphysema * 75 * np.clip(patches + 0.6 * warp[3] - 0.9, 0, 1)
    oblique = np.abs((zs - 118) - 0.75 * (ys + 5) + 4 * warp[3])
    flat = np.abs(zs - 128 + 0.12 * ys + 3 * warp[3])
    thin = np.clip(1 - oblique / 1.9, 0, 1) * 55
    return hu + np.maximum(thin, np.clip(1 - flat / 1.9, 0, 1) * 45 * ((xs < 0) & (ys < -5)))
