"""What all networks have in common: feature maps of each plane, and the head."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from inres.models.head import HashHead, Outputs


class HashNetwork(nn.Module):
    """A network that ends in a `HashHead`. A subclass defines `features`.

    `dtype` is the type in which the convolutions are computed (`config.train.precision`); None:
    float32, that of images and parameters. The head is always float32.
    """

    head: HashHead
    dtype: Any = dataclasses.field(default=None, kw_only=True)

    def features(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Feature maps of images, float32 [N, S, S, C] -> float [N, ..., F].

        It may create modules, as if it were decorated by `nn.compact`.
        """
        raise NotImplementedError

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
        return self.head(self.features(images, train=train), seen, train=train)
