"""The settings of all losses as one dataclass, `config.loss.settings`."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from inres.learning import losses
from inres.system.checks import require


def default() -> Any:
    """Default settings: a dataclass with one field for each loss that has settings."""
    return _settings_class()()


def from_dict(values: Mapping[str, Any]) -> Any:
    """Settings from nested dicts, as `dataclasses.asdict` gives them; missing ones are defaults.

    Raises:
      ConfigError: a loss or a field is unknown, or a value is impossible.
    """
    kinds: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(_settings_class())}
    unknown = sorted(set(values) - set(kinds))
    known_losses = f"among {sorted(kinds)}, or registered before they are used"
    require(not unknown, "loss.settings", unknown, known_losses)
    parts = {}
    for name, part in values.items():
        known = {field.name for field in dataclasses.fields(kinds[name])}
        unknown = sorted(set(part) - known)
        require(not unknown, f"loss.settings.{name}", unknown, f"among {sorted(known)}")
        parts[name] = kinds[name](**part)
    return _settings_class()(**parts)


def _settings_class() -> Any:
    """The dataclass for the losses that are registered now."""
    found = ((name, losses.get(name).settings) for name in losses.names())
    return _make(tuple((name, kind) for name, kind in found if kind is not None))


@functools.cache
def _make(kinds: tuple[tuple[str, type], ...]) -> type:
    fields = [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in kinds]
    return dataclasses.make_dataclass("LossSettings", fields, namespace={"__reduce__": _reduce})


def _reduce(settings: Any) -> tuple[Any, ...]:
    """Pickle as plain values: a class made at run time cannot be imported by another process."""
    return _unpickle, (dataclasses.asdict(settings),)


def _unpickle(values: Mapping[str, Any]) -> Any:
    """Settings in another process; a loss that is registered only in the first one is left out."""
    return from_dict({name: part for name, part in values.items() if name in losses.names()})
