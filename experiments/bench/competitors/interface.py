"""What a competitor of the search provides.

A competitor holds N items and answers one or both of these questions exactly:

- `top_k`: the Hamming distances of the k nearest codes of each query (`search_hamming`).
- `pools`: the items whose Hamming distance is below a threshold. Ranking them by Euclidean distance
  is the same for every competitor (`fine_stage`); both together answer `search`.

`prepare_top_k` and `prepare_pools` choose the best settings for a question, by trying them, and are
called before it is timed. A competitor that cannot answer a question, or only in unreasonable time,
raises `NotApplicable`. Adding a competitor takes one file with one class, and a line in
`competitors.CLASSES`.
"""

import abc
from typing import ClassVar

import numpy as np


class NotApplicable(Exception):
    """The competitor does not answer this question; the message says why."""


class Competitor(abc.ABC):
    """One program at its best settings, over the same items as our index."""

    name: ClassVar[str]
    """Program and method, as reported."""
    distribution: ClassVar[str]
    """Name of the package on the Python Package Index, for its version."""
    most_items: ClassVar[int | None] = None
    """Left out with more items, because building takes too much time or memory."""
    limits_threads: ClassVar[bool] = True
    """Whether it can be limited to one thread within a running process."""

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        """Hold the items.

        Args:
          codes: uint32 [N, W], sorted.
          bits: code length h.
          threads: number of threads to use; may be changed before the next `prepare_...`. OpenMP
            and BLAS are already limited to as many.
        """
        self.octets = octets(codes, bits)
        """uint8 [N, ceil(bits / 8)]."""
        self.bits = bits
        self.threads = threads

    def prepare_top_k(self, codes: np.ndarray, k: int) -> str:
        """Choose settings for `top_k`; returns them in words.

        Raises:
          NotApplicable: it cannot answer.
        """
        raise NotApplicable("it has no exact search for the k nearest codes")

    def top_k(self, codes: np.ndarray, k: int) -> np.ndarray:
        """Hamming distances [Q, k], ascending, of the k nearest codes of each query.

        Args:
          codes: uint32 [Q, W].
          k: at most N.
        """
        raise NotImplementedError

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """Choose settings for `pools`; returns them in words.

        Raises:
          NotApplicable: it cannot answer.
        """
        raise NotApplicable("it has no search by radius")

    def pools(self, codes: np.ndarray, threshold: int) -> list[np.ndarray]:
        """Positions of the items with a distance below `threshold`, in any order, per query.

        Args:
          codes: uint32 [Q, W].
          threshold: at least 1.
        """
        raise NotImplementedError


def octets(packed: np.ndarray, bits: int) -> np.ndarray:
    """Packed codes as bytes: uint8 [N, ceil(bits / 8)], C-contiguous."""
    return np.ascontiguousarray(packed.view(np.uint8)[:, : -(-bits // 8)])
