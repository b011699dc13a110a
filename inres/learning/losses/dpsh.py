"""DPSH: the likelihood of pairs of images."""

import dataclasses

from inres.learning import losses
from inres.learning.lazy import Array, jnp
from inres.learning.terms import inner_products, pair_nll, sign_gap
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Settings of DPSH."""

    quantization: float = 0.1
    """Weight of the distance between u and its signs."""

    def __post_init__(self) -> None:
        checks.not_negative("loss.settings.dpsh", self, "quantization")


def dpsh(u: Array, labels: Array, *, quantization: float) -> Array:
    """`mean_ij(softplus(t_ij) - s_ij t_ij) + quantization mean((u - sign u)^2)`.

    t_ij = u_i . u_j / 2, and s_ij = 1 where the labels are equal; over all i != j of the global
    batch (Eqs. 2 and 5).

    Args:
      u: float32 [B, bits].
      labels: int [B].
    """
    t = inner_products(u) / 2.0
    pairs = 1.0 - jnp.eye(len(u))
    likelihood = jnp.sum(pairs * pair_nll(t, labels)) / pairs.sum()
    return likelihood + quantization * sign_gap(u)


@losses.register(
    "dpsh",
    title="DPSH",
    reference=(
        "Li, Wang and Kang 2016, Feature learning based deep supervised hashing with pairwise "
        "labels"
    ),
    settings=Settings,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """DPSH of one batch."""
    return dpsh(step.outputs.u, step.labels, quantization=settings.quantization)
