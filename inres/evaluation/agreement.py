"""How far a ranking by approximate distances departs from the exact one."""

import numpy as np


def order(distances: np.ndarray) -> np.ndarray:
    """Items by (distance, id): int [N] of float [N]."""
    return np.argsort(distances, kind="stable")


def kendall_tau(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b of two rows of numbers [K]: 1 same order, -1 reversed; NaN: one is constant.

    M. G. Kendall, The treatment of ties in ranking problems, Biometrika 33 (1945). Pairs that are
    tied in one of the rows count neither for nor against it.
    """
    a = np.sign(first[:, None] - first[None, :])
    b = np.sign(second[:, None] - second[None, :])
    pairs = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / pairs) if pairs else float("nan")


def ranking_change(exact: np.ndarray, other: np.ndarray, k: int) -> dict[str, float]:
    """How a ranking by other distances departs from the exact one in its first k places.

    Args:
      exact: float [N] distances of one query.
      other: float [N], of the same items.
      k: places, at most N.

    Returns:
      `set_differs` and `order_differs` (0 or 1), `overlap` (share of the k that stay among the k),
      `displacement` (the most places by which one of the k moves), `tau` (`kendall_tau` of the
      distances of the k).
    """
    first, second = order(exact), order(other)
    top = first[:k]
    place = np.empty(len(second), np.int64)
    place[second] = np.arange(len(second))
    overlap = len(np.intersect1d(top, second[:k])) / k
    return {
        "set_differs": float(overlap < 1),
        "order_differs": float((top != second[:k]).any()),
        "overlap": overlap,
        "displacement": float(np.abs(place[top] - np.arange(k)).max()),
        "tau": kendall_tau(exact[top], other[top]),
    }
