"""The contents of every synthetic scan, planned over the whole data set."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

from inres import vocabulary
from inres.config import Phantom

EDGES_MM = (3.25, *vocabulary.CLASS_EDGES_MM, 32.3)
"""Class edges of Table 2, between the smallest and the largest annotated diameter of LUNA16."""
CLASS_COUNTS = tuple(one.paper_items for one in vocabulary.SIZE_CLASSES[1:])
"""Nodules in each class (paper, Table 2)."""
THICKNESS_MM = (0.6, 0.7, 1.0, 1.25, 1.25, 1.25, 1.5, 1.8, 2.0, 2.0, 2.5, 2.5, 2.5, 2.5)
"""Slice distances, roughly in the proportions of LUNA16."""


@dataclasses.dataclass(frozen=True)
class Nodule:
    """The properties of a nodule that is not placed yet."""

    diameter_mm: float
    kind: str
    """`solid`, `part_solid`, `ground_glass` or `calcified`."""
    margin: str
    """`smooth`, `lobulated` or `spiculated`."""
    place: str
    """`isolated`, `vessel` or `pleura`; another if there is no room for it there."""


@dataclasses.dataclass(frozen=True)
class ScanPlan:
    """The contents of one scan."""

    index: int
    uid: str
    subset: int
    nodules: tuple[Nodule, ...]
    excluded: int
    """Number of findings that are no nodules."""
    thickness_mm: float
    flipped: bool
    """Whether x and y are stored against the direction of the patient's axes."""
    padding_hu: int
    """HU outside a circular field of view; 0 for a square field."""


def plan_dataset(config: Phantom, *, seed: int) -> list[ScanPlan]:
    """Distribute nodules, thicknesses and orientations over all scans.

    Size classes have Table 2's shares in the data set, and are distributed evenly over the subsets.
    """
    rng = np.random.default_rng([seed, 0])
    key = json.dumps([dataclasses.asdict(config), seed], sort_keys=True)
    order = subset_order(config.subsets)
    subset_of = [i % config.subsets for i in range(config.scans)]
    normal = _normal_scans(config, subset_of, order)
    hosts = [i for i in range(config.scans) if i not in normal]
    nodules: dict[int, list[Nodule]] = {i: [] for i in range(config.scans)}
    total = round(config.scans * config.nodules_per_scan)
    with_hosts = sorted({subset_of[i] for i in hosts})
    for subset, diameters in distribute_diameters(total, with_hosts, order, rng).items():
        mine = [i for i in hosts if subset_of[i] == subset]
        share = rng.gamma(3.0, size=len(mine))  # scans differ in their number of nodules
        share /= share.sum()
        for k, d in enumerate(rng.permutation(diameters)):
            to = mine[k] if k < len(mine) else int(rng.choice(mine, p=share))
            nodules[to].append(draw_nodule(float(d), rng))
    excluded = rng.poisson(config.excluded_per_scan, config.scans)
    thickness = rng.permutation(np.resize(rng.permutation(THICKNESS_MM), config.scans))
    flipped = rng.permutation(np.arange(config.scans) % 4 == 0)
    padding = rng.permutation(np.resize([0, 0, -2000, 0, -3024], config.scans))
    return [
        ScanPlan(
            index=i,
            uid=_uid(key, i),
            subset=subset_of[i],
            nodules=tuple(nodules[i]),
            excluded=int(min(excluded[i], 3 * config.excluded_per_scan + 2)),
            thickness_mm=float(thickness[i]),
            flipped=bool(flipped[i]),
            padding_hu=int(padding[i]),
        )
        for i in range(config.scans)
    ]


def _normal_scans(config: Phantom, subset_of: list[int], order: list[int]) -> set[int]:
    """Scans without nodules: one at a time from the largest subset, later ones in `order` first."""
    left = list(range(config.scans))
    normal: set[int] = set()
    for _ in range(min(round(config.normal_scans * config.scans), config.scans - 1)):
        size = {s: sum(subset_of[i] == s for i in left) for s in order}
        subset = max(order, key=lambda s: (size[s], order.index(s)))
        last = max(i for i in left if subset_of[i] == subset)
        left.remove(last)
        normal.add(last)
    return normal


def _uid(key: str, index: int) -> str:
    """A DICOM UID under 2.25 (derived from a UUID) for a config, a seed and a scan."""
    digest = hashlib.sha256(f"{key} {index}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def class_shares(count: int) -> list[int]:
    """How many of `count` nodules each size class has: Table 2's shares, rounded.

    They sum to `count`; with at least 14 nodules, no class is empty.
    """
    exact = np.array(CLASS_COUNTS) * count / sum(CLASS_COUNTS)
    shares = np.floor(exact).astype(int)
    for i in np.argsort(shares - exact, kind="stable")[: count - shares.sum()]:
        shares[i] += 1
    if count >= 2 * len(shares):
        while shares.min() == 0:
            shares[np.argmax(shares)] -= 1
            shares[np.argmin(shares)] += 1
    return [int(n) for n in shares]


def draw_diameters(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Diameters in mm of `count` nodules, one array per size class, stratified within each."""
    total = np.concatenate([[0], np.cumsum(CLASS_COUNTS)])
    quantile = PchipInterpolator(total, EDGES_MM)
    drawn = []
    for k, n in enumerate(class_shares(count)):
        share = (np.arange(n) + rng.random(n)) / max(n, 1)
        diameters = quantile(total[k] + share * CLASS_COUNTS[k])
        low, high = EDGES_MM[k] + 1e-3, EDGES_MM[k + 1] - 1e-3
        drawn.append(rng.permutation(np.clip(diameters, low, high)))
    return drawn


def subset_order(subsets: int) -> list[int]:
    """The order in which subsets get nodules: last, first, last but one, second, ...

    So nodules of a rare class are soon in both test and training subsets.
    """
    ends = [i // 2 if i % 2 else subsets - 1 - i // 2 for i in range(subsets)]
    return list(dict.fromkeys(ends))


def distribute_diameters(
    count: int, subsets: Sequence[int], order: Sequence[int], rng: np.random.Generator
) -> dict[int, list[float]]:
    """Distribute `count` diameters over `subsets`: each size class evenly, the rarest first."""
    given: dict[int, list[float]] = {s: [] for s in subsets}
    order = [s for s in order if s in given]
    for diameters in sorted(draw_diameters(count, rng), key=len):
        held = dict.fromkeys(order, 0)
        rare = len(diameters) < len(order)
        for d in diameters:
            to = min(order, key=lambda s: (held[s], 0 if rare else len(given[s]), order.index(s)))
            held[to] += 1
            given[to].append(float(d))
    return given


def draw_nodule(diameter_mm: float, rng: np.random.Generator) -> Nodule:
    """A nodule with random density, margin and place; large ones are more often irregular."""
    size = int(np.searchsorted((6.0, 13.0), diameter_mm))
    kinds = ("solid", "part_solid", "ground_glass", "calcified")
    kind = rng.choice(kinds, p=((0.84, 0.03, 0.1, 0.03), (0.7, 0.14, 0.12, 0.04))[size > 0])
    shares = ((0.7, 0.26, 0.04), (0.45, 0.35, 0.2), (0.2, 0.4, 0.4))[size]
    margin = rng.choice(("smooth", "lobulated", "spiculated"), p=shares)
    place = rng.choice(("isolated", "vessel", "pleura"), p=(0.45, 0.27, 0.28))
    return Nodule(diameter_mm, str(kind), str(margin), str(place))
