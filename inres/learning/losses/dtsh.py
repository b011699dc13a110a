"""DTSH: the likelihood of triplets of images."""

import dataclasses

from inres.learning import losses
from inres.learning.lazy import Array, jax, jnp
from inres.learning.terms import inner_products, sign_gap
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Settings of DTSH."""

    margin: float = 0.5
    """As a share of the code length."""
    quantization: float = 0.1
    """Weight of the distance between u and its signs."""

    def __post_init__(self) -> None:
        checks.not_negative("loss.settings.dtsh", self, "margin", "quantization")


def dtsh(u: Array, labels: Array, *, margin: float, quantization: float) -> Array:
    """`mean_apn softplus(margin - (t_ap - t_an)) + quantization mean((u - sign u)^2)`.

    t_ij = u_i . u_j / 2; a and p are two images of one class, n is one of another class, all of the
    global batch. The first term is 0 where a batch has no such triplet. Needs memory for B^3
    numbers (Eqs. 4 and 6).

    Args:
      u: float32 [B, bits].
      labels: int [B].
    """
    t = inner_products(u) / 2.0
    same = labels[:, None] == labels
    positive = same & ~jnp.eye(len(u), dtype=bool)
    triplets = positive[:, :, None] & ~same[:, None, :]
    costs = jax.nn.softplus(margin - (t[:, :, None] - t[:, None, :]))
    likelihood = jnp.sum(jnp.where(triplets, costs, 0.0)) / jnp.maximum(triplets.sum(), 1)
    return likelihood + quantization * sign_gap(u)


@losses.register(
    "dtsh",
    title="DTSH",
    reference="Wang, Shi and Kitani 2016, Deep supervised hashing with triplet labels",
    settings=Settings,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """DTSH of one batch."""
    return dtsh(
        step.outputs.u,
        step.labels,
        margin=settings.margin * step.task.bits,
        quantization=settings.quantization,
    )
