"""A segment: items sorted by code, with everything that a search on a CPU reads.

All arrays may be memory-mapped. A search reads the parts of them that its pools need.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from inres.retrieval import buckets, checks
from inres.retrieval import codes as codes_lib
from inres.retrieval import sketch as sketch_lib
from inres.retrieval.buckets import Buckets
from inres.retrieval.sketch import Sketch
from inres.retrieval.tiling import TILE

CHUNK = 16
"""Distinct codes that lie together, word by word, in a directory."""
BLOCK_BYTES = 1 << 24
"""Size of the float32 rows that are sorted and sketched at a time."""


@dataclasses.dataclass(frozen=True)
class Directory:
    """The U distinct codes of n items sorted by code, and where the items of each begin."""

    codes: np.ndarray
    """uint32 [ceil(U / 16), W, 16], ascending; zeros after the last."""
    count: int
    """U."""
    starts: np.ndarray | None
    """int32 [U + 1], position of the first item of each code, then n; None: code i is item i's."""
    buckets: Buckets

    def distinct(self) -> np.ndarray:
        """The distinct codes, uint32 [U, W]."""
        return self.codes.transpose(0, 2, 1).reshape(-1, self.codes.shape[1])[: self.count]

    def of_items(self) -> np.ndarray:
        """The code of each item, uint32 [n, W]."""
        found = self.distinct()
        return found if self.starts is None else np.repeat(found, np.diff(self.starts), axis=0)


@dataclasses.dataclass(frozen=True)
class Segment:
    """n items sorted by (code, id)."""

    directory: Directory
    ids: np.ndarray
    """int32 [n]."""
    features: np.ndarray
    """[n, D], float32, float16 or bfloat16."""
    sketch: Sketch
    groups: np.ndarray | None
    """int32 [n], -1: no group; None: no item has one."""
    labels: np.ndarray | None
    """int32 [n], negative: hidden from every query; None: no labels."""
    order: np.ndarray | None = None
    """int32 [n], the row of each item's features; None: row i is that of item i."""
    hidden: np.ndarray | None = None
    """uint8 [ceil(n / 8)], bit i % 8 of byte i // 8: whether item i is never found; None: none."""

    def __len__(self) -> int:
        return len(self.ids)

    def sorted_features(self) -> np.ndarray:
        """The features of each item, [n, D]."""
        return self.features if self.order is None else self.features[self.order]


def with_hidden(segment: Segment, hidden: np.ndarray) -> Segment:
    """The segment without the items of which `hidden`, bool [n], is true."""
    if segment.hidden is not None:
        hidden = hidden | is_hidden(segment)
    if not hidden.any():
        return segment
    return dataclasses.replace(segment, hidden=np.packbits(hidden, bitorder="little"))


def is_hidden(segment: Segment) -> np.ndarray:
    """Whether each item is never found whatever its label, bool [n]."""
    if segment.hidden is None:
        return np.zeros(len(segment), bool)
    return np.unpackbits(segment.hidden, count=len(segment), bitorder="little").astype(bool)


def make_directory(codes: np.ndarray, bits: int) -> Directory:
    """The directory of the codes of n items, uint32 [n, W], ascending."""
    n, words = codes.shape
    places = codes_lib.firsts(codes)
    count = len(places)
    distinct = codes if count == n else codes[places]
    laid = np.zeros((-(-count // CHUNK), CHUNK, words), np.uint32)
    laid.reshape(-1, words)[:count] = distinct
    starts = None if count == n else np.append(places, n).astype(np.int32)
    return Directory(
        np.ascontiguousarray(laid.transpose(0, 2, 1)),
        count,
        starts,
        buckets.build(distinct, bits),
    )


def _rows_at_a_time(dims: int) -> int:
    """Rows of a block, a multiple of TILE."""
    return TILE * max(1, BLOCK_BYTES // (4 * TILE * dims))


def sorted_rows(features: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of features [N, D] in `order`, in blocks of whole tiles.

    Raises:
      ValueError: a row is not finite; names it.
    """
    step = _rows_at_a_time(features.shape[1])
    for start in range(0, len(order), step):
        part = order[start : start + step]
        rows = features[part]
        checks.finite(rows.astype(np.float32, copy=False), "features", part)
        yield rows


def build(
    codes: np.ndarray,
    features: np.ndarray,
    *,
    bits: int,
    ids: np.ndarray,
    groups: np.ndarray | None,
    labels: np.ndarray | None,
) -> Segment:
    """A segment in memory of N items, given in any order and checked before (`checks.items`).

    Raises:
      ValueError: features are not finite.
    """
    n, dims = features.shape
    order = codes_lib.sort(codes, ids)
    rows, sketch, done = np.empty((n, dims), features.dtype), sketch_lib.empty(n, dims), 0
    for part in sorted_rows(features, order):
        rows[done : done + len(part)] = part
        made = sketch_lib.of_rows(part)
        tile = done // TILE
        for name in ("codes", "scale", "norm"):
            getattr(sketch, name)[done : done + len(part)] = getattr(made, name)
        for name in ("centre", "slack"):
            getattr(sketch, name)[tile : tile + len(made.slack)] = getattr(made, name)
        done += len(part)
    return Segment(
        make_directory(np.ascontiguousarray(codes[order]), bits),
        ids[order],
        rows,
        sketch,
        None if groups is None else groups[order],
        None if labels is None else labels[order],
    )
