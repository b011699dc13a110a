"""The building blocks in three dimensions: the paths of `blocks`, with kernels of 3x3x3."""

from collections.abc import Callable
from typing import ClassVar

import jax

from inres.models.blocks import ConvNorm, InRed, InV2
from inres.models.volume_convolution import volume_convolution


class VolumeConvNorm(ConvNorm):
    """`ConvNorm` of volumes: float [B, Y, X, Z, C] -> [B, Y/stride, X/stride, Z/stride, features].

    The kernel has the shape [kernel, kernel, kernel, C, features]. A 1x1x1 convolution with stride
    1 is a matrix product over channels.
    """

    convolve: ClassVar[Callable[..., jax.Array]] = staticmethod(volume_convolution)


class VolumeInV2(InV2):
    """Space compression (paper, Fig. 3) in three dimensions.

    [B, k, k, k, N] -> [B, k/2, k/2, k/2, 2N]. It has the paths of `InV2`: max-pooling of 3x3x3 with
    stride 2, 1x1x1 -> 3x3x3/2 twice, and 1x1x1 -> 3x3x3 -> 3x3x3/2. The output has a quarter of the
    values of the input; in two dimensions, half of them.
    """

    layer: ClassVar[type[ConvNorm]] = VolumeConvNorm


class VolumeInRed(InRed):
    """Multi-receptive-field residual (paper, Fig. 4) in three dimensions.

    [B, k, k, k, C] -> the same shape. It has the paths of `InRed`: 1x1x1, 1x1x1 -> 3x3x3 and
    1x1x1 -> 3x3x3 -> 3x3x3.
    """

    layer: ClassVar[type[ConvNorm]] = VolumeConvNorm
