"""Graded codes: each bit is classified towards a code that holds a share for every property."""

import dataclasses

import numpy as np

from inres.learning import codebooks, losses
from inres.learning.lazy import Array
from inres.learning.terms import to_code
from inres.system import checks
from inres.system.checks import ConfigError


@dataclasses.dataclass
class Settings:
    """How the bits are divided."""

    presence: float = 0.15
    """Share of the bits that say nodule or not, where there are normal items."""
    size: float = 0.35
    """Share of the bits for the size; the other properties divide the rest."""
    diameter: float = 0.5
    """As for `ordinal`."""

    def __post_init__(self) -> None:
        checks.share("loss.settings.graded", self, "presence", "size", "diameter")
        total = self.presence + self.size
        checks.require(total < 1, "loss.settings.graded.size", self.size, "below 1 - presence")


def targets(task: losses.Task, settings: Settings, truth: losses.Truth) -> np.ndarray:
    """The code of each item, float32 [N, bits] in [0, 1], NaN where its property is unknown."""
    size = codebooks.sizes(truth.labels, truth.diameters_mm, by_diameter=settings.diameter)
    others = [at for at, name in enumerate(truth.names) if name != "diameter_mm"]
    positions = [codebooks.quantiles(truth.properties[:, at]) for at in others]
    try:
        return codebooks.graded(
            size,
            np.stack(positions, axis=1) if positions else np.zeros((len(size), 0)),
            task.bits,
            presence=settings.presence,
            of_size=settings.size,
        )
    except ValueError as error:
        raise ConfigError(f"config.loss.name = 'graded': {error}") from None


# Class 0 is no nodule, so two classes have no sizes to put in order.
@losses.register(
    "graded",
    title="Graded codes",
    reference="",
    settings=Settings,
    targets=targets,
    least_classes=3,
    needs_classification=True,
)
def loss(step: losses.Step, settings: Settings) -> Array:
    """Mean binary cross-entropy between the bits and the known bits of the target code."""
    assert step.codes is not None
    return to_code(step.outputs.u, step.codes)
