"""AlexNet, the paper's baseline, with the same head (Krizhevsky et al. 2012, one tower)."""

import flax.linen as nn
import jax

from inres.models import networks
from inres.models.blocks import ConvNorm, Initializer, he_normal
from inres.models.head import HashHead, Outputs
from inres.models.pooling import max_pool_3_s2

LAYERS = ((96, 11, 4, True), (256, 5, 1, True), (384, 3, 1, False), (384, 3, 1, False))
"""(features, kernel, stride, whether max-pooling follows) of the first four convolutions."""


class AlexNet(nn.Module):
    """Five convolutions, then FC1, the latent layer H in place of FC2, and FC3."""

    head: HashHead
    norm: str = "batch"
    kernel_init: Initializer = he_normal

    @nn.compact
    def __call__(
        self, images: jax.Array, seen: jax.Array | None = None, *, train: bool = False
    ) -> Outputs:
        """Layers of B items.

        Args:
          images: float32 [B V, S, S, C], V planes of each item.
          seen: bool [B, V], as for `HashHead`; None: V is 1.
          train: use batch statistics and dropout.
        """
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
                x = max_pool_3_s2(x)
        return self.head(x, seen, train=train)


@networks.register("alexnet", title="AlexNet")
def build(settings: networks.Settings, head: HashHead, kernel_init: Initializer) -> nn.Module:
    """AlexNet with the norm of the settings; its widths are fixed."""
    return AlexNet(head, settings.norm, kernel_init)
