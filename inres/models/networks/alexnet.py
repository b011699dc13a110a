"""AlexNet, the paper's baseline, with the same head (Krizhevsky et al. 2012, one tower)."""

import flax.linen as nn
import jax

from inres.models import networks
from inres.models.blocks import ConvNorm, Initializer, he_normal
from inres.models.head import HashHead
from inres.models.network import HashNetwork
from inres.models.pooling import max_pool_3_s2

LAYERS = ((96, 11, 4, True), (256, 5, 1, True), (384, 3, 1, False), (384, 3, 1, False))
"""(features, kernel, stride, whether max-pooling follows) of the first four convolutions."""


class AlexNet(HashNetwork):
    """Five convolutions, then FC1, the latent layer H in place of FC2, and FC3."""

    norm: str = "batch"
    kernel_init: Initializer = he_normal

    def features(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Feature maps, float [N, S', S', F]."""
        x = images
        for i, (features, kernel, stride, pooled) in enumerate((*LAYERS, (256, 3, 1, True)), 1):
            x = ConvNorm(
                features,
                kernel,
                stride,
                norm=self.norm,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x, train=train)
            if pooled:
                x = max_pool_3_s2(x)
        return x


@networks.register("alexnet", title="AlexNet")
def build(settings: networks.Settings, head: HashHead, kernel_init: Initializer) -> nn.Module:
    """AlexNet with the norm of the settings; its widths are fixed."""
    return AlexNet(head, norm=settings.norm, kernel_init=kernel_init)
