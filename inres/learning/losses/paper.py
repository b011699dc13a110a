"""The paper's three terms: quantization, balance and independence of the bits (section 2.3)."""

import dataclasses

from inres.learning import losses
from inres.learning.lazy import Array, jnp
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Weights of the terms."""

    quantization: float = 1.0
    balance: float = 1.0
    independence: float = 1.0

    def __post_init__(self) -> None:
        names = ("quantization", "balance", "independence")
        checks.not_negative("loss.settings.paper", self, *names)


def quantization(h: Array) -> Array:
    """`-mean((h - 1/2)^2)`: least, -1/4, where every activation is 0 or 1.

    h: [B, bits] in [0, 1]. The paper describes it in words; the term is that of Yang, Lin, Chen
    2018, "Supervised learning of semantics-preserving hash via deep convolutional neural networks".
    """
    return -jnp.mean((h - 0.5) ** 2)


def balance(h: Array) -> Array:
    """`mean_j((mean_b h_bj - 1/2)^2)`: 0 where every bit is on for half of the batch.

    h: [B, bits] in [0, 1].
    """
    return jnp.mean((h.mean(axis=0) - 0.5) ** 2)


def independence(kernel: Array) -> Array:
    """Mean squared entry of `W W^T - I` over the unit projections W of the bits.

    kernel: [F, bits], FC2. 0 where the projections are orthogonal ("hash codes to be maximally
    independent").
    """
    unit = kernel / (jnp.linalg.norm(kernel, axis=0, keepdims=True) + 1e-12)
    gram = jnp.matmul(unit.T, unit, precision="highest")
    return jnp.mean((gram - jnp.eye(gram.shape[0])) ** 2)


@losses.register(
    "paper",
    title="Paper",
    reference="Qin et al. 2018 (the paper), section 2.3",
    settings=Settings,
    needs_classification=True,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """Weighted sum of the three terms."""
    return (
        settings.quantization * quantization(step.outputs.h)
        + settings.balance * balance(step.outputs.h)
        + settings.independence * independence(step.head["fc2"]["kernel"])
    )
