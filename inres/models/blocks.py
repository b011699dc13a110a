"""Building blocks: convolution with norm, inV2 and inRed."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from inres.models.batch_norm import BatchNorm
from inres.models.convolution import pointwise
from inres.models.pooling import max_pool_3_s2

Initializer = Callable[..., Any]
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


GROUP = 8
"""Channels per group of group norm, if the width is divisible by it."""


class ConvNorm(nn.Module):
    """Convolution, then `norm`, then optionally ReLU. It has a bias only without a norm.

    `norm` is `batch`, `none`, or `group` (Wu and He 2018, "Group normalization"), which does not
    depend on the batch and so suits small batches.

    A 1x1 convolution with stride 1 is computed as a matrix product over channels.

    `dtype` is the type in which it is computed, and that of the output. None: that of the input and
    the parameters together. Parameters, and the statistics of a norm, are always float32.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    relu: bool = True
    norm: str = "batch"
    kernel_init: Initializer = he_normal
    dtype: Any = None
    convolve: ClassVar[Callable[..., jax.Array]] = staticmethod(jax.lax.conv_general_dilated)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Float [B, H, W, C] -> [B, H/stride, W/stride, features]."""
        bias = self.norm == "none"
        if self.kernel == self.stride == 1:
            x = nn.Dense(
                self.features,
                use_bias=bias,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                dot_general=pointwise,
                name="conv",
            )(x)
        else:
            axes = x.ndim - 2
            x = nn.Conv(
                self.features,
                (self.kernel,) * axes,
                (self.stride,) * axes,
                use_bias=bias,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                conv_general_dilated=self.convolve,
                name="conv",
            )(x)
        if self.norm == "batch":
            return BatchNorm(self.relu, name="norm")(x, train=train)
        if self.norm == "group":
            size = math.gcd(self.features, GROUP)
            x = nn.GroupNorm(
                num_groups=None, group_size=size, epsilon=1e-5, dtype=self.dtype, name="norm"
            )(x)
        return nn.relu(x) if self.relu else x


class InV2(nn.Module):
    """Space compression (paper, Fig. 3): [B, k, k, N] -> [B, k/2, k/2, 2N].

    Concatenates max-pooling (N channels), 1x1 -> 3x3/2 twice (N/4 channels each) and 1x1 -> 3x3 ->
    3x3/2 (N/2 channels). The three 1x1 convolutions read the same input, so they are computed as
    one with 3N/4 channels.
    """

    norm: str = "batch"
    kernel_init: Initializer = he_normal
    dtype: Any = None
    layer: ClassVar[type[ConvNorm]] = ConvNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """N must be divisible by 4."""
        n = x.shape[-1]
        q = n // 4

        def conv(y: jax.Array, name: str, features: int, kernel: int, stride: int = 1) -> jax.Array:
            return self.layer(
                features, kernel, stride, True, self.norm, self.kernel_init, self.dtype, name=name
            )(y, train=train)

        a, b, c = jnp.split(conv(x, "squeeze", 3 * q, 1), 3, axis=-1)
        a = conv(a, "path1_3x3", q, 3, 2)
        b = conv(b, "path2_3x3", q, 3, 2)
        c = conv(conv(c, "path3_3x3_1", q, 3), "path3_3x3_2", n // 2, 3, 2)
        return jnp.concatenate([max_pool_3_s2(x), a, b, c], axis=-1)


class InRed(nn.Module):
    """Multi-receptive-field residual (paper, Fig. 4): [B, k, k, C] -> the same shape.

    Paths 1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 -> 3x3 with C/4, C/4 and C/2 channels are concatenated and
    added to the input, followed by ReLU. The last convolution of a path has no ReLU, otherwise the
    residual could never be negative. The three 1x1 convolutions are computed as one with 3C/4
    channels.
    """

    scale: float = 1.0
    norm: str = "batch"
    kernel_init: Initializer = he_normal
    dtype: Any = None
    layer: ClassVar[type[ConvNorm]] = ConvNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """C must be divisible by 4."""
        n = x.shape[-1]
        q = n // 4

        def conv(y: jax.Array, name: str, features: int, kernel: int, *, relu: bool) -> jax.Array:
            return self.layer(
                features, kernel, 1, relu, self.norm, self.kernel_init, self.dtype, name=name
            )(y, train=train)

        a, b, c = jnp.split(conv(x, "squeeze", 3 * q, 1, relu=False), 3, axis=-1)
        b = conv(nn.relu(b), "path2_3x3", q, 3, relu=False)
        c = conv(nn.relu(c), "path3_3x3_1", q, 3, relu=True)
        c = conv(c, "path3_3x3_2", n // 2, 3, relu=False)
        return nn.relu(x + self.scale * jnp.concatenate([a, b, c], axis=-1))
