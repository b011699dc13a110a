"""Target codes: far apart for classes, or as far apart as the sizes of nodules."""

import math

import numpy as np

TRIES, CANDIDATES = 20, 500
"""Search for random centres: number of attempts, and candidate codes per attempt."""


def centres(classes: int, bits: int, *, seed: int) -> np.ndarray:
    """A code for each class, far from all others: bool [classes, bits].

    If `bits` is a power of two and there are at most 2 `bits` classes, these are rows of
    Sylvester's Hadamard matrix and their complements, which differ in half or all of the bits; the
    constant row comes last. Otherwise they are random codes with half of their bits on: of several
    sets, the one with the largest minimum distance. Yuan et al. 2020 (CSQ), section 3.2.

    Raises:
      ValueError: there are not enough codes of this length.
    """
    from scipy.linalg import hadamard  # slow to import, and the config imports this module

    if bits & (bits - 1) == 0 and classes <= 2 * bits:
        rows = np.roll(hadamard(bits), -1, axis=0) > 0  # the constant row is Sylvester's first
        return np.concatenate([rows, ~rows])[:classes]
    on = bits // 2
    if math.comb(bits, on) < classes:
        raise ValueError(
            f"{bits} bits have {math.comb(bits, on)} balanced codes for {classes} classes; raise "
            "config.hash.bits or choose another config.loss.name"
        )
    best, distance = np.zeros((0, bits), bool), -1
    for attempt in range(TRIES):
        rng = np.random.default_rng([seed, attempt])
        found = _spread(classes, bits, on, rng)
        nearest = least_distance(found)
        if nearest > distance:
            best, distance = found, nearest
    if not distance:
        raise ValueError(
            f"no {classes} different balanced codes of {bits} bits were found; raise "
            "config.hash.bits or choose another config.loss.name"
        )
    return best


def _spread(classes: int, bits: int, on: int, rng: np.random.Generator) -> np.ndarray:
    """Balanced codes, each the candidate farthest from those before it: bool [classes, bits]."""
    places = rng.random((CANDIDATES, bits)).argsort(axis=1)
    pool = places < on
    found = [pool[0]]
    nearest = (pool != pool[0]).sum(axis=1)
    while len(found) < classes:
        found.append(pool[nearest.argmax()])
        nearest = np.minimum(nearest, (pool != found[-1]).sum(axis=1))
    return np.array(found)


def least_distance(codes: np.ndarray) -> int:
    """Minimum Hamming distance between the codes bool [N, bits]; `bits` for a single code."""
    differ = (codes[:, None] != codes).sum(axis=2)
    return int(differ[~np.eye(len(codes), dtype=bool)].min(initial=codes.shape[1]))


def sizes(labels: np.ndarray, diameters_mm: np.ndarray, *, by_diameter: float) -> np.ndarray:
    """Positions of items on a scale of size from 0 to 1, float64 [N]; NaN for normal items.

    The nodule classes that occur divide the scale evenly. An item of unknown diameter is in the
    middle of its class. A known diameter moves the item from there towards its quantile within the
    class (the share of items that are smaller, ties counted half) by a factor of `by_diameter`. So
    the scale is one of quantiles in which every class has the same weight, whatever its share of
    the items. With `by_diameter` 0 only the class matters; with 1 neighbouring classes touch. The
    smallest item is at 0, the largest at 1.

    Args:
      labels: int [N], of the training items; 0 is no nodule.
      diameters_mm: float [N], NaN where unknown.
      by_diameter: in [0, 1].
    """
    position = np.full(len(labels), np.nan)
    present = [label for label in np.unique(labels) if label > 0]
    for rank, label in enumerate(present):
        rows = np.flatnonzero(labels == label)
        share = np.full(len(rows), 0.5)
        known = np.isfinite(diameters_mm[rows])
        share[known] = _share_below(diameters_mm[rows][known])
        position[rows] = rank + by_diameter * (share - 0.5)
    nodules = position[labels > 0]
    low, high = (end(nodules, initial=0.0) for end in (np.min, np.max))
    return (position - low) / (high - low or 1.0)


def _share_below(values: np.ndarray) -> np.ndarray:
    """Share of the values [N] that are smaller than each, ties counted half: float64 [N]."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / (2.0 * max(len(values), 1))


def quantiles(values: np.ndarray) -> np.ndarray:
    """Share of the known values that are smaller, ties counted half: float64 [N]; NaN stays NaN.

    Stretched so that the smallest value is at 0 and the largest at 1.
    """
    position = np.full(len(values), np.nan)
    known = np.isfinite(values)
    if not known.any():
        return position
    share = _share_below(values[known])
    spread = np.ptp(share)
    position[known] = (share - share.min()) / spread if spread else 0.5
    return position


def shares(bits: int, parts: int) -> list[int]:
    """`bits` divided into `parts`, as evenly as possible, the larger ones first."""
    return [bits // parts + (part < bits % parts) for part in range(parts)]


def graded(
    size: np.ndarray, positions: np.ndarray, bits: int, *, presence: float, of_size: float
) -> np.ndarray:
    """Codes for several properties at once, float32 [N, bits] in [0, 1]; NaN where unknown.

    Each property has a share of the bits, a thermometer over its quantiles: the distance of two
    nodules (sum of absolute differences) is the sum over the properties of their number of bits
    times the difference of their positions. If there are normal items, some bits say nodule or not,
    and all thermometers of a normal item alternate, half a thermometer from every nodule on
    average.

    Args:
      size: float [N], position of the size on a scale from 0 to 1, as from `sizes`; NaN for normal
        items.
      positions: float [N, P], those of the other properties, as from `quantiles`; NaN where
        unknown.
      bits: length of the code.
      presence: share of the bits that say nodule or not.
      of_size: share of the bits for the size. The other properties divide the rest evenly, the
        first ones with a bit more; without any, the size has it.

    Raises:
      ValueError: there is less than one bit for each property.
    """
    normal = np.isnan(size)
    presence_bits = max(1, round(bits * presence)) if normal.any() else 0
    count = positions.shape[1]
    size_bits = max(1, round(bits * of_size)) if count else bits - presence_bits
    rest = bits - presence_bits - size_bits
    if rest < count:
        raise ValueError(
            f"{bits} bits are too few for {count} properties; raise config.hash.bits, or name "
            "fewer in config.properties.names"
        )
    widths = [size_bits, *(shares(rest, count) if count else ())]
    columns = [size, *positions.T]
    parts = [np.repeat(~normal[:, None], presence_bits, axis=1).astype(np.float64)]
    for width, position in zip(widths, columns, strict=True):
        thermometer = np.clip(width * position[:, None] - np.arange(width), 0.0, 1.0)
        thermometer[normal] = np.arange(width) % 2
        parts.append(thermometer)
    return np.concatenate(parts, axis=1).astype(np.float32)


def ordinal(position: np.ndarray, bits: int) -> np.ndarray:
    """Codes whose distance grows with the difference in size, float32 [N, bits] in [0, 1].

    The last T bits are a thermometer: bit j is `clip(T position - j, 0, 1)`, so the distance of two
    nodules (sum of absolute differences) is T times the difference of their positions. If there are
    normal items, the first third of the bits says nodule or not, and the thermometer of a normal
    item alternates. Its distance from every nodule is then about two thirds of the bits, like that
    between the largest and the smallest nodule.

    Args:
      position: float [N], as from `sizes`; NaN for normal items.
      bits: length of the code.
    """
    normal = np.isnan(position)
    presence_bits = round(bits / 3) if normal.any() else 0
    if len(np.unique(position[~normal])) < 2:
        presence_bits = bits  # one size: nothing to order
    steps = bits - presence_bits
    thermometer = np.clip(steps * position[:, None] - np.arange(steps), 0.0, 1.0)
    thermometer[normal] = np.arange(steps) % 2
    presence = np.repeat(~normal[:, None], presence_bits, axis=1)
    return np.concatenate([presence, thermometer], axis=1).astype(np.float32)
