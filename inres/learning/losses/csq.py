"""CSQ: each bit is classified towards a code of the image's class."""

import dataclasses

import numpy as np

from inres.learning import losses
from inres.learning.lazy import Array, jnp
from inres.learning.terms import sign_gap, to_code
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Settings of CSQ."""

    quantization: float = 1e-4
    """Weight of the distance between tanh(u / 2) and its signs."""

    def __post_init__(self) -> None:
        checks.not_negative("loss.settings.csq", self, "quantization")


def csq(u: Array, centres: Array, *, quantization: float) -> Array:
    """`BCE(sigmoid(u), centre of the class) + quantization mean((|a| - 1)^2)`, a = tanh(u / 2).

    Eqs. 4 and 5; the quantization is a square, where Eq. 5 has log cosh for the absolute value.

    Args:
      u: float32 [B, bits].
      centres: [B, bits] in {0, 1}, far from each other, such as rows of a Hadamard matrix.
    """
    return to_code(u, centres) + quantization * sign_gap(jnp.tanh(u / 2.0))


def targets(task: losses.Task, settings: Settings, truth: losses.Truth) -> np.ndarray:
    """The code of each item's class, float32 [N, bits]."""
    return task.class_codes()[truth.labels].astype(np.float32)


@losses.register(
    "csq",
    title="CSQ",
    reference=(
        "Yuan et al. 2020, Central similarity quantization for efficient image and video retrieval"
    ),
    settings=Settings,
    targets=targets,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """CSQ of one batch."""
    assert step.codes is not None
    return csq(step.outputs.u, step.codes, quantization=settings.quantization)
