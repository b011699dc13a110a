"""HashNet: pairs with balanced classes, and a sigmoid that sharpens during training."""

import dataclasses

from inres.learning import losses
from inres.learning.lazy import Array, jnp
from inres.learning.terms import inner_products, pair_nll
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Settings of HashNet."""

    alpha: float = 0.1
    """Factor of the inner products."""
    beta: float = 10.0
    """tanh(beta u) stands for the code; beta grows from 1 to this value."""

    def __post_init__(self) -> None:
        checks.positive("loss.settings.hashnet", self, "alpha")
        checks.not_negative("loss.settings.hashnet", self, "beta")
        checks.require(self.beta >= 1, "loss.settings.hashnet.beta", self.beta, "at least 1")


def hashnet(u: Array, labels: Array, *, beta: Array, alpha: float) -> Array:
    """`mean_ij w_ij (softplus(t_ij) - s_ij t_ij)`: similar pairs weigh as much as the others.

    t_ij = alpha g_i . g_j with g = tanh(beta u), and s_ij = 1 where the labels are equal. w_ij is
    the number of pairs over that of similar pairs where s_ij = 1, else over that of dissimilar
    pairs. The mean is over all i != j of the global batch (Eqs. 2 to 5).

    Args:
      u: float32 [B, bits].
      labels: int [B].
      beta: scalar, as from `beta_at`.
    """
    t = alpha * inner_products(jnp.tanh(beta * u))
    pairs = 1.0 - jnp.eye(len(u))
    similar = pairs * (labels[:, None] == labels)
    apart = pairs - similar
    weights = similar / jnp.maximum(similar.sum(), 1.0) + apart / jnp.maximum(apart.sum(), 1.0)
    return jnp.sum(weights * pair_nll(t, labels))


def beta_at(progress: Array, *, last: float) -> Array:
    """Beta grows from 1 to `last` with the square root of `progress` in [0, 1] (authors' code)."""
    return jnp.sqrt(1.0 + progress * (last**2 - 1.0))


@losses.register(
    "hashnet",
    title="HashNet",
    reference="Cao et al. 2017, HashNet: deep learning to hash by continuation",
    settings=Settings,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """HashNet of one batch."""
    beta = beta_at(step.progress, last=settings.beta)
    return hashnet(step.outputs.u, step.labels, beta=beta, alpha=settings.alpha)
