"""InRes-Net: the skeleton of AlexNet with Inception-ResNet modules inside (paper, Fig. 2)."""

from typing import ClassVar, Self

import flax.linen as nn
import jax

from inres.models import networks
from inres.models.blocks import ConvNorm, Initializer, InRed, InV2, he_normal
from inres.models.head import HashHead
from inres.models.network import HashNetwork
from inres.models.pooling import max_pool_3_s2


class InResNet(HashNetwork):
    """Stem, then inV2 + inRed three times, then FC1, H and FC3.

    The width of the paper: stem 64 of 7x7/2 with max-pooling, FC1 4096 on the flattened map.
    Either module can be replaced by a plain 3x3 convolution with the same channels, for ablations.
    """

    stem: int = 32
    stem_kernel: int = 3
    stem_stride: int = 2
    stem_pool: bool = False
    compression: str = "inv2"
    """`inv2`, or `plain`: a 3x3 convolution at stride 2."""
    residual: str = "inred"
    """`inred`, or `plain`: a 3x3 convolution."""
    residual_scale: float = 1.0
    norm: str = "batch"
    kernel_init: Initializer = he_normal
    conv_norm: ClassVar[type[ConvNorm]] = ConvNorm
    in_v2: ClassVar[type[InV2]] = InV2
    in_red: ClassVar[type[InRed]] = InRed

    def features(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Feature maps, float [N, S', S', F]."""
        x = self.conv_norm(
            self.stem,
            self.stem_kernel,
            self.stem_stride,
            norm=self.norm,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="stem",
        )(images, train=train)
        if self.stem_pool:
            x = max_pool_3_s2(x)
        for level in (1, 2, 3):
            width = 2 * x.shape[-1]
            x = self._compression(width, level)(x, train=train)
            x = self._residual(width, level)(x, train=train)
        return x

    @classmethod
    def with_settings(
        cls, settings: networks.Settings, head: HashHead, kernel_init: Initializer
    ) -> Self:
        """The network with all settings of `config.model`."""
        return cls(
            head,
            stem=settings.stem,
            stem_kernel=settings.stem_kernel,
            stem_stride=settings.stem_stride,
            stem_pool=settings.stem_pool,
            compression=settings.compression,
            residual=settings.residual,
            residual_scale=settings.residual_scale,
            norm=settings.norm,
            kernel_init=kernel_init,
        )

    def _compression(self, width: int, level: int) -> nn.Module:
        if self.compression == "inv2":
            return self.in_v2(self.norm, self.kernel_init, self.dtype, name=f"inv2_{level}")
        return self._plain(width, 2, f"down_{level}")

    def _residual(self, width: int, level: int) -> nn.Module:
        if self.residual == "inred":
            return self.in_red(
                self.residual_scale,
                self.norm,
                self.kernel_init,
                self.dtype,
                name=f"inred_{level}",
            )
        return self._plain(width, 1, f"same_{level}")

    def _plain(self, width: int, stride: int, name: str) -> nn.Module:
        return self.conv_norm(
            width,
            3,
            stride,
            norm=self.norm,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name=name,
        )


@networks.register("inres_net", title="InRes-Net")
def build(settings: networks.Settings, head: HashHead, kernel_init: Initializer) -> nn.Module:
    """InRes-Net with all settings."""
    return InResNet.with_settings(settings, head, kernel_init)
