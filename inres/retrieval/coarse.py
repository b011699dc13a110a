"""The nearest codes, by the program that suits the platform.

Both programs are exact and give the same, id for id. This is the only place that chooses.
"""

import functools

import jax
from jax import lax

from inres.retrieval import counting, hamming
from inres.retrieval.hamming import Filters, Tags


def nearest(
    codes: jax.Array,
    queries: jax.Array,
    count: jax.Array,
    tags: Tags,
    filters: Filters,
    *,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """Exact top-k of queries [Q, W] by (distance, item), int32 [Q, k] each.

    Arguments and results as in `hamming.top_k`. The choice is made when the program is lowered, so
    that a program for an accelerator can be made on a CPU.
    """
    return lax.platform_dependent(
        codes,
        queries,
        count,
        tags,
        filters,
        cpu=functools.partial(hamming.nearest, k=k),
        default=functools.partial(counting.nearest, k=k),
    )
