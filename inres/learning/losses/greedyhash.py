"""GreedyHash: classification by the bits themselves, with a straight-through gradient."""

import dataclasses

from inres.learning import losses
from inres.learning.lazy import Array, jax, jnp, optax
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Settings of GreedyHash."""

    penalty: float = 0.1
    """Weight of the distance between u and its signs."""

    def __post_init__(self) -> None:
        checks.not_negative("loss.settings.greedyhash", self, "penalty")


def straight_through_bits(u: Array) -> Array:
    """The code as numbers 0 and 1; its gradient is that of `(u + 1) / 2` (Eq. 8)."""
    soft = (u + 1.0) / 2.0
    return soft + jax.lax.stop_gradient(jnp.where(u >= 0, 1.0, 0.0) - soft)


def greedyhash(u: Array, logits: Array, labels: Array, *, penalty: float) -> Array:
    """`NLL(logits) + penalty mean(| |u| - 1 |^3)` (Eq. 10).

    Args:
      u: float32 [B, bits].
      logits: [B, classes], computed from `straight_through_bits(u)`.
      labels: int [B].
    """
    cost = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return cost + penalty * jnp.mean(jnp.abs(jnp.abs(u) - 1.0) ** 3)


@losses.register(
    "greedyhash",
    title="GreedyHash",
    reference=(
        "Su et al. 2018, Greedy hash: towards fast optimization for accurate hash coding in CNN"
    ),
    settings=Settings,
    trains_fc3=True,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """GreedyHash of one batch: FC3 classifies the code, as it classifies H in the network."""
    code = straight_through_bits(step.outputs.u)
    logits = code @ step.head["fc3"]["kernel"] + step.head["fc3"]["bias"]
    return greedyhash(step.outputs.u, logits, step.labels, penalty=settings.penalty)
