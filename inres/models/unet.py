"""U-Net for lung masks (paper, section 3.1; Ronneberger et al. 2015)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from inres.models.blocks import ConvNorm


class UNet(nn.Module):
    """U-Net with `depth` poolings, as many upsamplings, and skip connections.

    Each level has two 3x3 convolutions with batch norm. The width doubles with each pooling.
    Upsampling repeats pixels and then convolves, because transposed convolutions leave checkerboard
    artefacts.

    `dtype` is the type in which the convolutions are computed, as of `ConvNorm`; the logits are
    float32.
    """

    width: int = 16
    depth: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """float32 [B, S, S, 1], S divisible by 2**depth -> mask logits float32 [B, S, S]."""

        def conv(x: jax.Array, features: int, name: str) -> jax.Array:
            return ConvNorm(features, dtype=self.dtype, name=name)(x, train=train)

        def level(x: jax.Array, features: int, name: str) -> jax.Array:
            return conv(conv(x, features, f"{name}_conv1"), features, f"{name}_conv2")

        skips = []
        x = images
        for d in range(self.depth):
            x = level(x, self.width * 2**d, f"down{d}")
            skips.append(x)
            x = max_pool_2x2(x)
        x = level(x, self.width * 2**self.depth, "bottom")
        for d in reversed(range(self.depth)):
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = conv(x, self.width * 2**d, f"up{d}")
            x = level(jnp.concatenate([skips[d], x], axis=-1), self.width * 2**d, f"merge{d}")
        return nn.Dense(1, name="logits")(x.astype(jnp.float32))[..., 0]


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Max-pool 2x2 with stride 2, float [B, H, W, C] -> [B, H/2, W/2, C], H and W even.

    Among equal values, the first along each axis gets the gradient. Written with `where`, because
    the gradient of `max` divides by the number of elements that equal the maximum: 0 / 0 where the
    compiler recomputes `x` with different rounding.
    """
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        first, second = jnp.moveaxis(pairs, axis + 1, 0)
        x = jnp.where(first >= second, first, second)
    return x
