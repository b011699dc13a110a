"""Ordinal codes: each bit is classified towards a code whose distance grows with size."""

import dataclasses

import numpy as np

from inres.learning import codebooks, losses
from inres.learning.lazy import Array
from inres.learning.terms import to_code
from inres.system import checks


@dataclasses.dataclass
class Settings:
    """Settings of the ordinal codes."""

    diameter: float = 0.5
    """How far a known diameter moves the target code from the middle of its class, in [0, 1]: 0
    not at all, 1 to the rank of the diameter within the class."""

    def __post_init__(self) -> None:
        checks.share("loss.settings.ordinal", self, "diameter")


def targets(task: losses.Task, settings: Settings, truth: losses.Truth) -> np.ndarray:
    """The code of each item's size, float32 [N, bits] in [0, 1]."""
    position = codebooks.sizes(truth.labels, truth.diameters_mm, by_diameter=settings.diameter)
    return codebooks.ordinal(position, task.bits)


# Class 0 is no nodule, so two classes have no sizes to put in order.
@losses.register(
    "ordinal",
    title="Ordinal codes",
    reference="",
    settings=Settings,
    targets=targets,
    least_classes=3,
    needs_classification=True,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """Mean binary cross-entropy between the bits and the target code."""
    assert step.codes is not None
    return to_code(step.outputs.u, step.codes)
