"""Hide the class that the extent of a stack reveals.

A stack often ends where its nodule ends, so a network can read the size from the number of slices
instead of from the image. In training, each item therefore shows only as much of its stack that the
extent has the same distribution in all classes; then nothing can be learned from it. All other
items (queries, the archive) are limited to the largest extent that occurs in training.

An extent is the number of planes that are known on both sides of the middle one, see `reach`.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class VisibleExtents:
    """How much of each stack to show."""

    visible: np.ndarray
    """float64 [N], for each training item, at most what is available."""
    cap: float
    """The most that any other item may show."""


def reach(known: np.ndarray) -> int:
    """Number of planes that are known on each side of the middle one, without a gap.

    The smaller of both sides, so that a stack can be shown symmetrically: one that is cut off by
    the end of a scan then looks like one whose nodule ends.

    Args:
      known: bool [C], from the lowest plane up; C is odd.
    """
    half = len(known) // 2
    sides = known[:half][::-1], known[half + 1 :]
    return int(min(np.cumprod(side).sum() for side in sides)) if half else 0


def equalise(
    available: np.ndarray, classes: np.ndarray, *, seed: int, least: int = 12
) -> VisibleExtents:
    """Choose the visible extent of each training item, with one distribution for all classes.

    The target is the largest distribution that every class can provide. Its survival function is
    S(e) = min over classes of P(extent >= e | class). Within a class of n items, the one of rank i
    = 0 .. n-1 by available extent gets the quantile of S at (i + 1/2) / n. That is never more than
    is available to it: only n - 1 - i items of its class have a larger extent, so S is at most
    (n - 1 - i) / n beyond its own extent, less than the required (n - i - 1/2) / n. Two classes of
    n and m items have distributions that differ by less than 1/n + 1/m, the steps of their ranks.

    The class with the shortest stacks determines what all classes show, so most of a large nodule's
    stack is hidden. A small class determines S by chance: of a single item without neighbours, S
    would be 0 for every extent above 0, and all stacks would be reduced to one slice. Classes with
    fewer than `least` items therefore do not enter the minimum. Their items get the quantiles too,
    but no more than is available, so up to `least - 1` items of a class may still look shorter than
    others. With `least` items or more, one short stack lowers S by at most 1 / `least`. If no class
    has so many items, all enter.

    Args:
      available: float [N], the extents, in mm or slices to each side.
      classes: int [N].
      seed: decides among equal extents of a class.
      least: size from which a class enters the minimum.

    Returns:
      The extents to show, and the cap: the largest extent with S above 0.

    Raises:
      ValueError: no items, or an extent that is negative or not finite.
    """
    available, classes = np.asarray(available, np.float64), np.asarray(classes)
    if not available.size or not np.all(np.isfinite(available) & (available >= 0)):
        raise ValueError("the extents of the training stacks must be given, finite and at least 0")
    names, sizes = np.unique(classes, return_counts=True)
    large = names[sizes >= least] if sizes.max() >= least else names
    extents, survival = _common_survival([available[classes == name] for name in large])
    rng = np.random.default_rng(seed)
    visible = np.empty(len(available))
    for name, n in zip(names, sizes, strict=True):
        rows = rng.permutation(np.flatnonzero(classes == name))
        rows = rows[np.argsort(available[rows], kind="stable")]
        wanted = 1.0 - (np.arange(n) + 0.5) / n
        # The largest extent with a survival of at least `wanted`: survival falls along extents.
        last = np.searchsorted(-survival, -wanted, side="right") - 1
        visible[rows] = np.minimum(extents[last], available[rows])
    return VisibleExtents(visible, float(extents[survival > 0].max()))


def _common_survival(groups: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All extents e in ascending order, and the least share of a group with at least e."""
    extents = np.unique(np.concatenate(groups))
    shares = [1 - np.searchsorted(np.sort(g), extents, side="left") / len(g) for g in groups]
    return extents, np.min(shares, axis=0)
