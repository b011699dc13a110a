"""Which gallery items a query must not find: those of its own group, usually its scan."""

import dataclasses

import numpy as np

from inres.evaluation.embedded import Embedded


def equal(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers [Q] and [N] that are equal where two names are the same and not empty.

    Args:
      queries: str [Q], empty where unknown.
      gallery: str [N], likewise.
    """
    both = np.concatenate([np.asarray(queries, str), np.asarray(gallery, str)])
    known, number = np.unique(both, return_inverse=True)
    left, right = number[: len(queries)].copy(), number[len(queries) :].copy()
    unknown = np.flatnonzero(known == "")
    left[np.isin(left, unknown)] = -1
    right[np.isin(right, unknown)] = -2
    return left, right


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """Pairs of query and gallery item that share a group."""

    queries: np.ndarray
    """int [Q]: group of each query."""
    gallery: np.ndarray
    """int [N]: group of each gallery item; an unknown group equals no other."""
    own_group: bool
    """True: nothing is excluded."""

    @classmethod
    def of(cls, queries: Embedded, gallery: Embedded, *, own_group: bool) -> "Exclusion":
        """The pairs that share a known group."""
        return cls(*equal(queries.groups, gallery.groups), own_group)

    def rows(self, rows: slice) -> np.ndarray:
        """Items that the queries `rows` must not find, bool [q, N]."""
        return (self.queries[rows, None] == self.gallery) & (not self.own_group)
