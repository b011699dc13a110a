"""The fine stage: exact Euclidean ranking, and the sketch that spares reading the features.

The ranking is by the float32 sum of (query - feature)^2, then by lowest id. It is a direct
difference: |a|^2 - 2ab + |b|^2 loses the order where features share an offset.

The sketch is an int8 copy of the features, each tile about its own centre, with a bound on what
the copy has lost. It gives a lower bound of every distance from a quarter of the bytes, by a
matrix product that all queries share; only rows whose bound can matter are then read in full.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from inres.retrieval.hamming import TILE

ULP = 2.0**-24
"""Unit roundoff of float32."""


@flax.struct.dataclass
class Sketch:
    """An int8 copy of features in tiles: row r of tile t is near centre[t] + scale * codes."""

    codes: jax.Array
    """int8 [C, D]."""
    centre: jax.Array
    """float32 [T, D]."""
    scale: jax.Array
    """float32 [T, 1024]."""
    norm: jax.Array
    """float32 [T, 1024], squared length of scale * codes."""
    slack: jax.Array
    """float32 [T], no row of the tile is farther than this from its copy."""


def squared_distances(query: jax.Array, rows: jax.Array) -> jax.Array:
    """Squared Euclidean distances float32 [n] of query [D] or [n, D] to rows [n, D]."""
    difference = rows - query
    return jnp.sum(difference * difference, axis=-1)


def relative_error(dims: int) -> float:
    """Bound on the relative error of `squared_distances`, whatever the order of the sum."""
    return (dims + 4) * ULP


@jax.jit
def make_sketch(features: jax.Array, count: jax.Array) -> Sketch:
    """The sketch of features float32 [C, D], of which the first `count` rows are items."""
    capacity, dims = features.shape
    tiles = capacity // TILE

    def one(t: jax.Array) -> tuple[jax.Array, ...]:
        rows = lax.dynamic_slice_in_dim(features, t * TILE, TILE)
        valid = (t * TILE + jnp.arange(TILE) < count)[:, None]
        # Halves first: the sum of extreme but finite rows stays finite.
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
    """Lower bounds of the distances of queries to the blocks of one tile.

    Block b of `per_tile` has the rows b, b + per_tile, ... of the tile.

    Args:
      sketch: the sketch.
      queries: float32 [Q, D].
      tile: int32 [], the tile.
      mask: bool [Q, 1024], the rows that count.
      per_tile: blocks of a tile.

    Returns:
      float32 [Q, per_tile]: no masked row of the block is nearer (inf: none counts).
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
    """The k first of rows [..., n] by (square, id): those columns [..., k].

    Missing rows have inf, -1, -1 and so on. A full sort is made only where squares tie.
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
