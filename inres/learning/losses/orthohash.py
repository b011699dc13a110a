"""OrthoHash: cosine similarity to a code of the image's class, with a margin."""

import dataclasses

import numpy as np

from inres.learning import losses
from inres.learning.lazy import Array, jax, jnp, optax
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Settings of OrthoHash."""

    scale: float = 8.0
    """Factor of the cosines in the softmax."""
    margin: float = 0.3
    """Subtracted from the cosine to the own class, in [0, 1]."""

    def __post_init__(self) -> None:
        checks.positive("loss.settings.orthohash", self, "scale")
        checks.share("loss.settings.orthohash", self, "margin")


def orthohash(u: Array, centres: Array, labels: Array, *, scale: float, margin: float) -> Array:
    """NLL of `scale (cos(u, c_k) - margin [k = label])` over the classes k (Eq. 8).

    Args:
      u: float32 [B, bits], behind a batch norm that balances the bits.
      centres: [classes, bits] in {-1, 1}.
      labels: int [B].
    """
    unit, target = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (u + 1e-12, centres))
    cosine = jnp.matmul(unit, target.T, precision="highest")
    logits = scale * (cosine - margin * jax.nn.one_hot(labels, len(centres)))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@losses.register(
    "orthohash",
    title="OrthoHash",
    reference=(
        "Hoe et al. 2021, One loss for all: deep hashing with a single cosine similarity based "
        "learning objective"
    ),
    settings=Settings,
    class_codes=True,
    batch_norm=True,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """OrthoHash of one batch."""
    assert step.class_codes is not None
    centres = jnp.asarray(np.where(step.class_codes, 1.0, -1.0), jnp.float32)
    return orthohash(
        step.outputs.u, centres, step.labels, scale=settings.scale, margin=settings.margin
    )
