"""Squared Euclidean distances that do not depend on the order of rows or of summation."""

from collections.abc import Iterator

import numpy as np

from inres.evaluation import metrics


class Euclidean:
    """Squared distances of queries to a gallery, in parts.

    In floating point, |a|^2 - 2ab + |b|^2 loses the ranking if features have a common offset, and
    its rounding depends on a row's position in the matrix, which would break exact ties. Here
    features are centred and split into two integers of at most 22 bits; the sum of each kind of
    product is then exact in float64, and the three sums are added last. The only rounding left is
    that of the features to 44 bits of their common range.
    """

    def __init__(self, queries: np.ndarray, gallery: np.ndarray):
        """Prepare features [Q, D] and [N, D]; the rounding depends on the range of both.

        Raises:
          ValueError: the widths differ.
        """
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"queries have {queries.shape[1]} features, gallery items {gallery.shape[1]}"
            )
        low = np.minimum(queries.min(axis=0), gallery.min(axis=0)).astype(np.float64)
        high = np.maximum(queries.max(axis=0), gallery.max(axis=0)).astype(np.float64)
        both = (side[rows] for side in (queries, gallery) for rows in _blocks(side))
        whole = not any((some % 1).any() for some in both)
        self._centre = np.zeros(len(low)) if whole else (low + high) / 2
        top = np.abs([low - self._centre, high - self._centre]).max()
        # |a - b|^2 of D numbers up to 2^bits is at most D * 2^(2 bits + 2) <= 2^53.
        self._bits = min(22, (51 - len(low).bit_length()) // 2)
        self._exponent = self._bits - int(np.frexp(top)[1])
        if whole:
            self._exponent = min(self._exponent, 0)
        sides = [self._split(side) for side in (queries, gallery)]
        fine = any(fine.any() for _, fine in sides)
        self._queries, self._gallery = (side if fine else side[:1] for side in sides)

    def _split(self, side: np.ndarray) -> tuple[np.ndarray, ...]:
        """Split [M, D] into integers that are exact in float32: coarse + 2^-bits fine."""
        if side.dtype == np.uint8 and not self._exponent:
            return side, np.zeros((len(side), 0), np.float32)
        coarse, fine = np.empty(side.shape, np.float32), np.empty(side.shape, np.float32)
        for rows in _blocks(side):
            scaled = np.ldexp(side[rows].astype(np.float64) - self._centre, self._exponent)
            coarse[rows] = np.rint(scaled)
            fine[rows] = np.rint(np.ldexp(scaled - coarse[rows], self._bits))
        return coarse, fine

    def rows(self, part: slice) -> np.ndarray:
        """Squared distances of the queries in `part` to all items, float64 [q, N]."""
        a = [side[part].astype(np.float64) for side in self._queries]
        out = np.empty((len(a[0]), len(self._gallery[0])))
        scale, step = 2.0 ** (-2 * self._exponent), 2.0**-self._bits
        for rows in _blocks(self._gallery[0]):
            b = [side[rows].astype(np.float64) for side in self._gallery]
            # (coarse + step fine)^2 of the differences, scaled by powers of two.
            total = _product(a, b, 0, 0, scale)
            if len(a) > 1:
                total += _product(a, b, 0, 1, 2 * step * scale)
                total += _product(a, b, 1, 1, step * step * scale)
            np.maximum(total, 0.0, out=out[:, rows])
        return out


def _product(a: list[np.ndarray], b: list[np.ndarray], i: int, j: int, scale: float) -> np.ndarray:
    """scale * sum over D of (a_i - b_i)(a_j - b_j), one matrix product: float64 [q, n]."""
    ones = [np.ones((len(side), 1)) for side in (a[0], b[0])]
    norms = [np.einsum("md,md->m", side[i], side[j])[:, None] for side in (a, b)]
    cross = [(-2 * a[i], b[i])] if i == j else [(-a[i], b[j]), (-a[j], b[i])]
    left = np.hstack([*(x for x, _ in cross), norms[0], ones[0]]) * scale
    return left @ np.hstack([*(y for _, y in cross), ones[1], norms[1]]).T


def _blocks(features: np.ndarray) -> Iterator[slice]:
    """Slices of the rows of [M, D] with bounded memory."""
    return metrics.chunks(*features.shape, cells=1 << 20)
