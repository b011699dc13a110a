"""AlexNet, the paper's baseline, on the same interface (Krizhevsky et al. 2012, one tower)."""

import flax.linen as nn
import jax

from inres.models.blocks import ConvNorm, Initializer, he_normal
from inres.models.head import HashHead, Outputs
from inres.models.pooling import max_pool_3x3_s2

LAYERS = ((96, 11, 4, True), (256, 5, 1, True), (384, 3, 1, False), (384, 3, 1, False))
"""(features, kernel, stride, max-pooled) of the first four convolutions."""


class AlexNet(nn.Module):
    """Five convolutions, then FC1, the latent layer H in FC2's place, and FC3."""

    head: HashHead
    norm: str = "batch"
    kernel_init: Initializer = he_normal

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """images: float32 [B, S, S, C]; `train` uses batch statistics and dropout."""
        x = images
        for i, (features, kernel, stride, pooled) in enumerate((*LAYERS, (256, 3, 1, True)), 1):
            x = ConvNorm(
                features,
                kernel,
                stride,
                norm=self.norm,
                kernel_init=self.kernel_init,
                name=f"conv{i}",
            )(x, train=train)
            if pooled:
                x = max_pool_3x3_s2(x)
        return self.head(x, train=train)
