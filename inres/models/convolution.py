"""1x1 convolution as a matrix product over channels, with a gradient that is fast on CPUs."""

import math
from typing import Any

import jax
import jax.numpy as jnp

LEAST_PIXELS = 64
"""From this number of pixels (or voxels) per image, one product per image is faster."""


def pointwise(
    x: jax.Array,
    kernel: jax.Array,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """`x @ kernel`: float [B, ..., C], [C, D] -> [B, ..., D]; for `nn.Dense(dot_general=...)`.

    The gradient of the kernel is a product of two narrow matrices over all pixels, which is slow in
    XLA on CPUs. There it is computed as the sum of one product per image, which takes a third of
    the time for 32 images of 32 x 32 x 32 and two thirds for 8 x 8 x 128. Smaller images use the
    single product.
    """
    return _product(x, kernel)


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    pixels = math.prod(x.shape[1:-1])

    def at_once(x: jax.Array, g: jax.Array) -> jax.Array:
        return jnp.einsum("bpc,bpd->cd", x, g)

    def by_image(x: jax.Array, g: jax.Array) -> jax.Array:
        return jnp.einsum("bpd,bpc->bdc", g, x).sum(0).T

    flat = [y.reshape(len(y), pixels, -1) for y in (x, g)]
    if pixels < LEAST_PIXELS:
        to_kernel = at_once(*flat)
    else:
        to_kernel = jax.lax.platform_dependent(*flat, cpu=by_image, default=at_once)
    return g @ kernel.T, to_kernel


_product.defvjp(_forward, _backward)
