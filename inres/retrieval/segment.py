"""A segment: items sorted by code, with everything that a search on a CPU reads.

All arrays may be memory-mapped. A search reads the parts of them that its pools need.
"""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from inres.retrieval import buckets, checks
from inres.retrieval import codes as codes_lib
from inres.retrieval.buckets import Buckets
from inres.retrieval.hamming import TILE
from inres.retrieval.rerank import ULP

CHUNK = 16
"""Distinct codes that lie together, word by word, in a directory."""
BLOCK_BYTES = 1 << 24
"""Size of the float32 rows that are sorted and sketched at a time."""


@dataclasses.dataclass(frozen=True)
class Sketch:
    """An int8 copy of n rows in T tiles: row r of tile t is close to centre[t] + scale[r] * codes.

    `inres.retrieval.rerank` derives the bound of its error.
    """

    codes: np.ndarray
    """int8 [n, D]."""
    centre: np.ndarray
    """float32 [T, D]."""
    scale: np.ndarray
    """float32 [n]."""
    norm: np.ndarray
    """float32 [n], squared norm of scale * codes."""
    slack: np.ndarray
    """float32 [T], largest distance between a row of the tile and its copy."""


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


def sketch_of(rows: np.ndarray) -> Sketch:
    """The sketch of rows [n, D], tile by tile (`rerank.make_sketch` on a device)."""
    n, dims = rows.shape
    made = empty_sketch(n, dims)

    def sketch_tile(tile: int) -> None:
        part = slice(tile * TILE, min((tile + 1) * TILE, n))
        found = np.asarray(rows[part], np.float32)
        # Divided before the sum, so that extreme but finite rows have a finite sum.
        made.centre[tile] = (found / np.float32(len(found))).sum(axis=0)
        residual = found - made.centre[tile]
        largest = np.abs(residual).max(axis=1)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1))
        code = np.clip(np.rint(residual / scale[:, None]), -127, 127)
        copy = code * scale[:, None]
        lost, length = (np.sqrt(np.square(d).sum(axis=1)) for d in (residual - copy, residual))
        made.slack[tile] = np.max(lost * (1 + 2 * dims * ULP) + 4 * ULP * length)
        made.codes[part], made.scale[part] = code, scale
        made.norm[part] = np.square(copy).sum(axis=1)

    with ThreadPoolExecutor() as pool:  # NumPy works in parallel on arrays of this size
        list(pool.map(sketch_tile, range(len(made.slack))))
    return made


def empty_sketch(count: int, dims: int) -> Sketch:
    """Arrays for the sketch of `count` rows, not filled."""
    tiles = -(-count // TILE)
    return Sketch(
        np.empty((count, dims), np.int8),
        np.empty((tiles, dims), np.float32),
        np.empty(count, np.float32),
        np.empty(count, np.float32),
        np.empty(tiles, np.float32),
    )


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
    rows, sketch, done = np.empty((n, dims), features.dtype), empty_sketch(n, dims), 0
    for part in sorted_rows(features, order):
        rows[done : done + len(part)] = part
        made = sketch_of(part)
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
