"""U-Net for lung masks (paper, section 3.1; Ronneberger et al. 2015)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from inres.models.blocks import ConvNorm


class UNet(nn.Module):
    """`depth` poolings down, as many upsamplings back, with skip connections.

    Each level has two 3x3 convolutions with batch norm; width doubles with each pooling.
    Upsampling repeats pixels, then convolves: a transposed convolution leaves checkerboards.
    """

    width: int = 16
    depth: int = 4

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """float32 [B, S, S, 1], S divisible by 2**depth -> mask logits float32 [B, S, S]."""

        def level(x: jax.Array, features: int, name: str) -> jax.Array:
            x = ConvNorm(features, name=f"{name}_conv1")(x, train=train)
            return ConvNorm(features, name=f"{name}_conv2")(x, train=train)

        skips = []
        x = images
        for d in range(self.depth):
            x = level(x, self.width * 2**d, f"down{d}")
            skips.append(x)
            x = _pool(x)
        x = level(x, self.width * 2**self.depth, "bottom")
        for d in reversed(range(self.depth)):
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = ConvNorm(self.width * 2**d, name=f"up{d}")(x, train=train)
            x = level(jnp.concatenate([skips[d], x], axis=-1), self.width * 2**d, f"merge{d}")
        return nn.Dense(1, name="logits")(x)[..., 0]


def _pool(x: jax.Array) -> jax.Array:
    """Max-pool 2x2, as a reshape: its gradient is fast on CPUs too."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
