"""Networks by name (`config.model.name`): one file each.

A network is a `models.network.HashNetwork`; `register` adds the function that builds it:

    @networks.register("mine", title="My network")
    def build(settings, head, kernel_init):
        return MyNetwork(head, width=settings.stem)

In this package the file must have the name of its network. Elsewhere, for example in the config
file of an experiment, any file will do, as long as it is imported before the config is made.

`inres.config` lists the names, also in processes that do without JAX, so nothing here imports it.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from inres.system.registry import Registry

if TYPE_CHECKING:
    import flax.linen as nn

    from inres.models.blocks import Initializer
    from inres.models.head import HashHead


class Settings(Protocol):
    """What a network may read of `config.model`, which documents the fields."""

    stem: int
    stem_kernel: int
    stem_stride: int
    stem_pool: bool
    compression: str
    residual: str
    residual_scale: float
    norm: str


Build = Callable[[Settings, "HashHead", "Initializer"], "nn.Module"]
"""(settings, head, initializer of the convolutions) -> a `models.network.HashNetwork`, or a module
that is called in the same way."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A registered network."""

    name: str
    title: str
    """As shown in tables and reports."""
    build: Build


REGISTRY: Registry[Network] = Registry("network", __name__)


def register(name: str, *, title: str) -> Callable[[Build], Build]:
    """Decorator that registers the function that builds a network.

    Raises:
      ValueError: another file has a network of this name.
    """

    def decorate(build: Build) -> Build:
        REGISTRY.add(name, Network(name, title, build), module=build.__module__)
        return build

    return decorate


def names() -> tuple[str, ...]:
    """Names of all networks in alphabetical order; imports none of them."""
    return REGISTRY.names()


def get(name: str) -> Network:
    """The network `name`.

    Raises:
      ValueError: there is none; lists the names that exist.
    """
    return REGISTRY.get(name)
