"""Branching trees in the lungs: pulmonary vessels and bronchi."""

import numpy as np

from inres.phantoms.anatomy import HEIGHT_MM, Chest, Person
from inres.phantoms.drawing import Tube

HILUM_MM = {-1: (-36.0, 4.0, 124.0), 1: (38.0, 6.0, 128.0)}
"""Where vessels enter the right (-1) and the left (1) lung; standard frame."""
CARINA_MM = (2.0, 14.0, 150.0)


def to_person(person: Person, point: tuple[float, float, float]) -> np.ndarray:
    """A point of the standard frame, scaled to a person."""
    high = person.height_mm / HEIGHT_MM
    return np.array([point[0] * person.scale, point[1] * person.scale, point[2] * high])


def grow(
    root: np.ndarray,
    targets: np.ndarray,
    rng: np.random.Generator,
    *,
    tip_mm: float,
    power: float,
    root_mm: float,
) -> list[Tube]:
    """A binary tree from `root` to every row of `targets` [N, 3].

    A branch that feeds n targets has radius tip_mm n**(1/power) (Murray's law), at most root_mm.
    """
    tubes: list[Tube] = []
    stack = [(np.asarray(root, float), targets, root_mm)]
    while stack:
        start, ends, radius = stack.pop()
        if len(ends) == 1:
            tubes += _bent(start, ends[0], min(radius, 1.2 * tip_mm), 0.8 * tip_mm, rng)
            continue
        axis = int(np.argmax(ends.var(axis=0) * rng.uniform(0.6, 1.4, 3)))
        order = np.argsort(ends[:, axis])
        cut = int(np.clip(round(len(ends) * rng.uniform(0.3, 0.7)), 1, len(ends) - 1))
        for part in (ends[order[:cut]], ends[order[cut:]]):
            r = min(tip_mm * len(part) ** (1 / power), radius)
            reach = rng.uniform(0.42, 0.62) if len(part) > 1 else 1.0
            goal = start + reach * (part.mean(axis=0) - start)
            if len(part) == 1:
                tubes += _bent(start, part[0], min(r, 1.1 * tip_mm), 0.75 * tip_mm, rng)
            else:
                tubes += _bent(start, goal, min(radius, 1.12 * r), r, rng)
                stack.append((goal, part, r))
    return tubes


def _bent(
    p: np.ndarray, q: np.ndarray, rp: float, rq: float, rng: np.random.Generator
) -> list[Tube]:
    """A branch from p to q with a random bend; short ones are straight."""
    length = float(np.linalg.norm(q - p))
    if length < 8:
        return [Tube(p, q, rp, rq)]
    middle = (p + q) / 2 + rng.normal(0, 0.05 * length, 3)
    half = (rp + rq) / 2
    return [Tube(p, middle, rp, half), Tube(middle, q, half, rq)]


def _lung_points(chest: Chest, side: int, depth_mm: float) -> np.ndarray:
    """Voxel centres x, y, z at least `depth_mm` inside the lung of one side: [N, 3]."""
    zi, yi, xi = np.nonzero((chest.lung > depth_mm) & (np.sign(chest.x - chest.midline_mm) == side))
    return np.stack([chest.x[xi], chest.y[yi], chest.z[zi]], axis=1).astype(float)


def vessels(
    chest: Chest, person: Person, rng: np.random.Generator, *, density: float
) -> list[Tube]:
    """Arteries and veins of both lungs, with `density` branch ends per cm3 of lung."""
    cm3 = float(np.prod([a[1] - a[0] for a in (chest.x, chest.y, chest.z)])) / 1000
    tubes = []
    for side, hilum in HILUM_MM.items():
        points = _lung_points(chest, side, 2.0)
        for drop in (8.0, -10.0):
            count = int(len(points) * cm3 * density / 2)
            if count < 2:
                continue
            ends = points[rng.integers(0, len(points), count)] + rng.uniform(-1, 1, (count, 3))
            root = to_person(person, (hilum[0], hilum[1] + drop / 2, hilum[2] + drop))
            tubes += grow(root, ends, rng, tip_mm=0.55, power=3.0, root_mm=5.5)
    return [t for t in tubes if _inside(chest, t)]


def airways(chest: Chest, person: Person, rng: np.random.Generator) -> list[Tube]:
    """Trachea, main bronchi and the first generations of branches."""
    s = person.scale
    carina = to_person(person, CARINA_MM)
    top = carina + np.array([-2 * s, -22 * s, 120])
    tubes = [Tube(top, carina + np.array([0, -2, 4]), 8.6 * s, 8.2 * s)]
    for side, hilum in HILUM_MM.items():
        end = to_person(person, (hilum[0] * 0.9, hilum[1] + 9, hilum[2] - (0 if side < 0 else 4)))
        tubes.append(Tube(carina, end, (7.2 if side < 0 else 6.2) * s, 5.4 * s))
        points = _lung_points(chest, side, 14.0)
        if len(points) < 40:
            continue
        ends = points[rng.integers(0, len(points), 30)]
        branch = grow(end, ends, rng, tip_mm=0.55, power=1.75, root_mm=4.6)
        tubes += [t for t in branch if _inside(chest, t)]
    return tubes


def _inside(chest: Chest, tube: Tube) -> bool:
    """Whether the middle of a tube is inside the lung, or within 12 mm of it."""
    middle = (tube.p + tube.q) / 2
    index = []
    for axis, v in zip((chest.z, chest.y, chest.x), middle[::-1], strict=True):
        i = round(float((v - axis[0]) / (axis[1] - axis[0])))
        if not 0 <= i < len(axis):
            return False
        index.append(i)
    return bool(chest.lung[tuple(index)] > -12.0)
