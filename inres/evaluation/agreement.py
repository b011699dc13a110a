"""How much a ranking by approximate distances differs from the exact one."""

import numpy as np


def order(distances: np.ndarray) -> np.ndarray:
    """Items sorted by (distance, id), int [N], from distances float [N]."""
    return np.argsort(distances, kind="stable")


def kendall_tau(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b of two rows [K]: 1 same order, -1 reversed, NaN if one is constant.

    Pairs that tie in one of the rows count neither way (M. G. Kendall, "The treatment of ties in
    ranking problems", Biometrika 33, 1945).
    """
    a = np.sign(first[:, None] - first[None, :])
    b = np.sign(second[:, None] - second[None, :])
    pairs = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / pairs) if pairs else float("nan")


def ranking_change(exact: np.ndarray, other: np.ndarray, k: int) -> dict[str, float]:
    """How a ranking by other distances differs from the exact one in the first k positions.

    Args:
      exact: distances of one query, float [N].
      other: distances of the same items, float [N].
      k: number of positions, at most N.

    Returns:
      `set_differs` and `order_differs` (0 or 1), `overlap` (share of the first k that remain among
      the first k), `displacement` (the largest number of positions by which one of them moves) and
      `tau` (`kendall_tau` of their distances).
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
