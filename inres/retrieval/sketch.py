"""The int8 copy of a segment's features, from which a search takes lower bounds of distances.

`inres.retrieval.rerank` makes the same copy on a device.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from inres.retrieval.tiling import TILE

ULP = 2.0**-24
"""Unit roundoff of float32 (half a unit in the last place of 1)."""


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


def of_rows(rows: np.ndarray) -> Sketch:
    """The sketch of rows [n, D], tile by tile (`rerank.make_sketch` on a device)."""
    n, dims = rows.shape
    made = empty(n, dims)

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


def empty(count: int, dims: int) -> Sketch:
    """Arrays for the sketch of `count` rows, not filled."""
    tiles = -(-count // TILE)
    return Sketch(
        np.empty((count, dims), np.int8),
        np.empty((tiles, dims), np.float32),
        np.empty(count, np.float32),
        np.empty(count, np.float32),
        np.empty(tiles, np.float32),
    )
