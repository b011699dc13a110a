"""The three fully connected layers at the end of every network (paper, Fig. 2)."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from inres.models.blocks import Initializer, he_normal


@flax.struct.dataclass
class Outputs:
    """What a network returns for B images, all float32."""

    fc1: jax.Array
    """[B, F], after ReLU: features of the fine stage (paper, section 3.3)."""
    u: jax.Array
    """[B, h], FC2 before the sigmoid; its signs are the code."""
    h: jax.Array
    """[B, h], in (0, 1): the latent layer H; a bit is 1 where h >= 0.5 (paper, Eq. 1)."""
    fc3: jax.Array
    """[B, classes], logits."""
    properties: jax.Array
    """[B, P], estimates of the properties that are learned, each on a scale of mean 0 and standard
    deviation 1 over the training items; P may be 0."""
    views: jax.Array
    """[B, V, views], logits of the view that each of the V planes shows; views may be 0."""


def mean_of_seen(features: jax.Array, seen: jax.Array) -> jax.Array:
    """Mean over the known planes: float [B, V, F], bool [B, V] -> [B, F].

    It says nothing about the number of known planes; 0 if none is.
    """
    weights = seen.astype(features.dtype)
    total = jnp.einsum("bvf,bv->bf", features, weights, precision="highest")
    return total / jnp.maximum(weights.sum(axis=1, keepdims=True), 1.0)


def dense(features: int, init: Initializer, name: str, *, use_bias: bool = True) -> nn.Dense:
    """A layer in float32, also where an accelerator would multiply with fewer bits by default."""
    return nn.Dense(
        features,
        use_bias=use_bias,
        kernel_init=init,
        precision=jax.lax.Precision.HIGHEST,
        name=name,
    )


class HashHead(nn.Module):
    """Feature map -> FC1 -> latent hash layer H (sigmoid) -> FC3; FC1 -> properties, views.

    All of it is computed in float32, whatever the type of the feature map.
    """

    classes: int
    bits: int
    fc1: int = 256
    """Width of FC1; 4096 in the paper."""
    pooling: str = "average"
    """`average` over the map, or `flatten` as in the paper."""
    dropout: float = 0.0
    hash_norm: bool = False
    """Batch norm before the sigmoid, so that each bit is on for about half of the items."""
    properties: int = 0
    """Number of properties to estimate; 0 adds no parameters."""
    views: int = 0
    """Number of views to tell apart by the FC1 of each plane; 0 adds no parameters."""
    kernel_init: Initializer = he_normal
    hash_init: Initializer = nn.initializers.lecun_normal()
    logit_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array, seen: jax.Array | None = None, *, train: bool) -> Outputs:
        """Layers of B items.

        Args:
          x: feature maps, float [B V, ..., C], those of the V planes of an item in succession.
          seen: bool [B, V], which planes are known, at least one of an item; their FC1 is
            averaged. None: V is 1.
        """
        x = x.astype(jnp.float32)
        if self.pooling == "average":
            x = x.mean(axis=tuple(range(1, x.ndim - 1)))
        elif self.pooling == "flatten":
            x = x.reshape(x.shape[0], -1)
        else:
            raise ValueError(f"pooling is {self.pooling!r}: must be 'average' or 'flatten'")
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        fc1 = nn.relu(dense(self.fc1, self.kernel_init, "fc1")(x))
        views = jnp.zeros((fc1.shape[0], 0))
        if self.views:
            views = dense(self.views, self.logit_init, "views")(fc1)
        count = 1 if seen is None else seen.shape[1]
        views = views.reshape(fc1.shape[0] // count, count, self.views)
        if seen is not None:
            fc1 = mean_of_seen(fc1.reshape(*seen.shape, self.fc1), seen)
        x = nn.Dropout(self.dropout, deterministic=not train)(fc1)
        u = dense(self.bits, self.hash_init, "fc2", use_bias=not self.hash_norm)(x)
        if self.hash_norm:
            u = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="fc2_norm")(u)
        h = nn.sigmoid(u)
        fc3 = dense(self.classes, self.logit_init, "fc3")(h)
        properties = jnp.zeros((fc1.shape[0], 0))
        if self.properties:
            properties = dense(self.properties, self.logit_init, "properties")(x)
        return Outputs(*(jnp.asarray(y, jnp.float32) for y in (fc1, u, h, fc3, properties, views)))
