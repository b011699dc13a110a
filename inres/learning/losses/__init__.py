"""Losses of the hash codes by name (`config.loss.name`): one file each, with its own settings.

A loss is a function of one training step and of the settings; `register` adds it:

    @dataclasses.dataclass
    class Settings:
        weight: float = 0.1

        def __post_init__(self) -> None:
            checks.not_negative("loss.settings.mine", self, "weight")

    @losses.register("mine", title="My loss", reference="Me 2026", settings=Settings)
    def loss(step: losses.Step, settings: Settings) -> jax.Array:
        return settings.weight * jnp.mean(jnp.abs(step.outputs.u))

In this package the file must have the name of its loss. Elsewhere, for example in the config file
of an experiment, any file will do, as long as it is imported before the config is made. The
settings are the fields `config.loss.settings.<name>.*`; their annotations must be plain types
(`from __future__ import annotations` makes them strings, which flags cannot parse).

This package is imported by `inres.config`, also in processes that do without JAX: its files import
JAX from `inres.learning.lazy`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from inres.learning import codebooks
from inres.system.checks import ConfigError
from inres.system.registry import Registry

if TYPE_CHECKING:
    import jax

    from inres.models.head import Outputs


@dataclasses.dataclass(frozen=True)
class Task:
    """What a loss may know before training starts."""

    classes: int
    bits: int
    """Length of the codes."""
    seed: int
    """Seed of the training (`config.seed`)."""

    def class_codes(self) -> np.ndarray:
        """A code for each class, far from all others: bool [classes, bits].

        Raises:
          ConfigError: there are not enough codes of this length.
        """
        try:
            return codebooks.centres(self.classes, self.bits, seed=self.seed)
        except ValueError as error:
            raise ConfigError(f"config.hash.bits = {self.bits}: {error}") from None


@dataclasses.dataclass(frozen=True)
class Step:
    """What a loss sees of one training step on B images."""

    outputs: "Outputs"
    """FC1, the latent layer before (`u`) and after (`h`) the sigmoid, and FC3's logits."""
    head: Mapping[str, Any]
    """Parameters of the head: `fc1`, `fc2` and `fc3`, each with `kernel` and `bias`."""
    labels: "jax.Array"
    """int [B]"""
    codes: "jax.Array | None"
    """float32 [B, bits], target codes of the images; None for a loss without `targets`."""
    class_codes: np.ndarray | None
    """bool [classes, bits], as `Task.class_codes`; None for a loss that does not use them."""
    progress: "jax.Array"
    """Share of the training that is done, in [0, 1)."""
    task: Task


LossFunction = Callable[[Step, Any], "jax.Array"]
"""(step, settings of the loss) -> a scalar."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is known of N training items."""

    labels: np.ndarray
    """int [N]"""
    diameters_mm: np.ndarray
    """float [N], NaN where unknown."""
    names: tuple[str, ...] = ()
    """The P properties that are learned."""
    properties: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    """float [N, P], NaN where unknown."""


Targets = Callable[[Task, Any, Truth], np.ndarray]
"""(task, settings, truth) -> the code that each training item should get, float32 [N, bits], NaN
for bits that do not matter if the loss allows it."""

F = TypeVar("F", bound=LossFunction)


@dataclasses.dataclass(frozen=True)
class CodeLoss:
    """A registered loss and what the rest of the program needs to know about it."""

    name: str
    title: str
    """As shown in tables and reports."""
    reference: str
    """Publication; empty for a loss of this project."""
    function: LossFunction | None
    """None: the loss adds nothing to the NLL of FC3."""
    settings: type | None = None
    """Dataclass of the settings, which must have defaults; None: there are none."""
    targets: Targets | None = None
    class_codes: bool = False
    """Whether the function uses `Step.class_codes`."""
    least_classes: int = 2
    """With fewer classes the loss adds nothing to the NLL of FC3."""
    needs_classification: bool = False
    """Whether training also needs the NLL of FC3, since the loss may not separate all classes."""
    trains_fc3: bool = False
    """Whether the loss trains FC3 even without its NLL."""
    batch_norm: bool = False
    """Whether the latent layer has batch norm before the sigmoid."""


REGISTRY: Registry[CodeLoss] = Registry("loss", __name__)


def register(name: str, *, title: str, reference: str, **fields: Any) -> Callable[[F], F]:
    """Decorator that registers a loss function; `fields` are further fields of `CodeLoss`.

    Raises:
      ValueError: another file has a loss of this name.
    """

    def decorate(function: F) -> F:
        loss = CodeLoss(name=name, title=title, reference=reference, function=function, **fields)
        REGISTRY.add(name, loss, module=function.__module__)
        return function

    return decorate


def names() -> tuple[str, ...]:
    """Names of all losses in alphabetical order."""
    return REGISTRY.names()


def get(name: str) -> CodeLoss:
    """The loss `name`.

    Raises:
      ValueError: there is none; lists the names that exist.
    """
    return REGISTRY.get(name)
