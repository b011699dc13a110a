"""The fine stage: exact Euclidean ranking, and a sketch of the features that avoids reading most.

Rows are ranked by the float32 sum of (query - feature)^2, then by lowest id. The differences are
computed directly, because |a|^2 - 2ab + |b|^2 loses the order of features with a common offset.

The sketch is an int8 copy of the features, relative to the centre of each tile, with a bound on the
error of the copy. It gives a lower bound of every distance from a quarter of the bytes, by a matrix
product shared by all queries. Only rows whose bound is small enough are then read in full.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from inres.retrieval.sketch import ULP
from inres.retrieval.tiling import TILE


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sketch:
    """An int8 copy of the features: row r of tile t is close to centre[t] + scale * codes."""

    codes: jax.Array
    """int8 [C, D]."""
    centre: jax.Array
    """float32 [T, D]."""
    scale: jax.Array
    """float32 [T, 1024]."""
    norm: jax.Array
    """float32 [T, 1024], squared norm of scale * codes."""
    slack: jax.Array
    """float32 [T], largest distance between a row of the tile and its copy."""


def squared_distances(query: jax.Array, rows: jax.Array) -> jax.Array:
    """Squared Euclidean distances float32 [n] of query [D] or [n, D] to rows [n, D]."""
    difference = rows - query
    return jnp.sum(difference * difference, axis=-1)


def relative_error(dims: int) -> float:
    """Bound on the relative error of `squared_distances`, for any order of summation."""
    return (dims + 4) * ULP


@jax.jit
def make_sketch(features: jax.Array, count: jax.Array) -> Sketch:
    """Sketch features float32 [C, D], of which the first `count` rows are items."""
    capacity, dims = features.shape
    tiles = capacity // TILE

    def one(t: jax.Array) -> tuple[jax.Array, ...]:
        rows = lax.dynamic_slice_in_dim(features, t * TILE, TILE)
        valid = (t * TILE + jnp.arange(TILE) < count)[:, None]
        # Divided before the sum, so that extreme but finite rows have a finite sum.
        total = jnp.maximum(jnp.sum(valid), 1).astype(jnp.float32)
        centre = jnp.sum(jnp.where(valid, rows / total, 0.0), axis=0)
        residual = jnp.where(valid, rows - centre, 0.0)
        largest = jnp.max(jnp.abs(residual), axis=1)
        scale = jnp.where(largest > 0, largest / 127.0, 1.0)
        code = jnp.clip(jnp.rint(residual / scale[:, None]), -127, 127)
        copy = code * scale[:, None]
        lost = jnp.sqrt(jnp.sum((residual - copy) ** 2, axis=1))
        length = jnp.sqrt(jnp.sum(residual**2, axis=1))
        slack = jnp.max(lost * (1 + 2 * dims * ULP) + 4 * ULP * length)
        norm = jnp.sum(copy * copy, axis=1)
        return code.astype(jnp.int8), centre, scale, norm, slack

    code, centre, scale, norm, slack = lax.map(one, jnp.arange(tiles, dtype=jnp.int32))
    return Sketch(code.reshape(capacity, dims), centre, scale, norm, slack)


def lower_bounds(
    sketch: Sketch, queries: jax.Array, tile: jax.Array, mask: jax.Array, per_tile: int
) -> jax.Array:
    """Lower bounds of the distances from queries to the blocks of one tile.

    Block b has the rows b, b + per_tile, b + 2 per_tile, ... of the tile.

    Args:
      sketch: the sketch.
      queries: float32 [Q, D].
      tile: int32 [], the tile.
      mask: bool [Q, 1024], the rows to consider.
      per_tile: number of blocks per tile.

    Returns:
      float32 [Q, per_tile]: no considered row of the block is nearer; inf if there is none.
    """
    dims = queries.shape[1]
    rows = lax.dynamic_slice_in_dim(sketch.codes, tile * TILE, TILE).astype(jnp.float32)
    scale, norm = sketch.scale[tile], sketch.norm[tile]
    moved = queries - sketch.centre[tile]
    length = jnp.sum(moved * moved, axis=1, keepdims=True)
    product = jnp.matmul(moved, rows.T, precision=lax.Precision.HIGHEST)
    rounding = (2 * dims + 64) * ULP
    square = (length - 2 * scale * product + norm) - rounding * (length + norm)
    square = jnp.where(mask, square, jnp.inf)
    square = jnp.min(square.reshape(len(queries), TILE // per_tile, per_tile), axis=1)
    bound = jnp.sqrt(jnp.maximum(square, 0.0)) * (1 - 8 * ULP) - sketch.slack[tile]
    return jnp.maximum(bound, 0.0)


def best(square: jax.Array, ids: jax.Array, *others: jax.Array, k: int) -> tuple[jax.Array, ...]:
    """The first k entries of columns [..., n], sorted by (square, id): columns [..., k].

    Missing entries are inf in the first column and -1 in the others. All n entries are sorted only
    if squares tie; otherwise a top-k is enough.
    """
    n = square.shape[-1]
    short = [(0, 0)] * (square.ndim - 1) + [(0, max(0, k - n))]
    negative, index = lax.top_k(-square, min(k + 1, n))
    ties = (negative[..., 1:] == negative[..., :-1]) & (negative[..., 1:] > -jnp.inf)

    def sort(columns: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        return tuple(column[..., :k] for column in lax.sort(columns, num_keys=2))

    def pick(columns: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        return tuple(jnp.take_along_axis(column, index[..., :k], axis=-1) for column in columns)

    columns = lax.cond(jnp.any(ties), sort, pick, (square, ids, *others))
    fills = (jnp.inf, *(-1 for _ in columns[1:]))
    return tuple(
        jnp.pad(column, short, constant_values=fill)
        for column, fill in zip(columns, fills, strict=True)
    )
