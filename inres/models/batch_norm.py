"""Batch norm with the ReLU that follows it; its gradient reads few arrays from memory."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-5

Normalised = tuple[jax.Array, tuple[jax.Array, jax.Array]]
"""(output, (mean [C], variance [C]))"""

Kept = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
"""(input, mean, 1 / standard deviation, scale, bias), kept for the gradient"""


class BatchNorm(nn.Module):
    """`nn.BatchNorm(momentum=momentum)` over all axes except the last, then ReLU if `relu` is set.

    Variables and formula are the same (Ioffe and Szegedy 2015). The automatic gradient of
    `nn.BatchNorm` stores the centred input, the normalised input and the mask of the ReLU, and
    moving them takes most of a step. Here only the input is kept; the rest is recomputed from it.

    Input and output may be bfloat16. Statistics, parameters and everything between are float32.
    """

    relu: bool = False
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Float [..., C] -> same shape; `train` uses and updates the statistics of the batch."""
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        if not train:
            return _apply(self.relu, x, mean.value, jax.lax.rsqrt(var.value + EPSILON), scale, bias)
        y, statistics = batch_norm(self.relu, x, scale, bias)
        if not self.is_initializing():
            for kept, of_batch in zip((mean, var), statistics, strict=True):
                new = jax.lax.stop_gradient(of_batch)
                kept.value = self.momentum * kept.value + (1.0 - self.momentum) * new
        return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def batch_norm(
    relu: bool, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Normalise float [..., C] by its batch: (output, (mean float32 [C], variance float32 [C])).

    The output has the type of the input. The variance is `E[x^2] - E[x]^2`, clipped at 0. No
    gradient flows through the statistics.
    """
    return _forward(relu, x, scale, bias)[0]


def _forward(
    relu: bool, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[Normalised, Kept]:
    axes = tuple(range(x.ndim - 1))
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, axes)
    var = jnp.maximum(jnp.mean(wide * wide, axes) - mean * mean, 0.0)
    rate = jax.lax.rsqrt(var + EPSILON)
    return (_apply(relu, x, mean, rate, scale, bias), (mean, var)), (x, mean, rate, scale, bias)


def _backward(
    relu: bool, kept: Kept, gradients: Normalised
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, mean, rate, scale, bias = kept
    g = gradients[0].astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    unit = (x - mean) * rate
    if relu:
        g = jnp.where(unit * scale + bias > 0.0, g, 0.0)
    to_bias = jnp.sum(g, axes)
    to_scale = jnp.sum(g * unit, axes)
    n = x.size // x.shape[-1]
    to_x = (scale * rate) * (g - to_bias / n - unit * (to_scale / n))
    return to_x.astype(x.dtype), to_scale, to_bias


batch_norm.defvjp(_forward, _backward)


def _apply(
    relu: bool,
    x: jax.Array,
    mean: jax.Array,
    rate: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
) -> jax.Array:
    y = ((x - mean) * (rate * scale) + bias).astype(x.dtype)
    return nn.relu(y) if relu else y
