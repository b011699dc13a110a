"""Checks of settings; every failure names the field, its value and what it must be."""

import math


class ConfigError(ValueError):
    """A field of the config has an impossible value; the message names the field and the fix."""


class NotRegistered(ConfigError):
    """A field names a component that no imported module has registered."""


def require(condition: bool, field: str, value: object, must: str) -> None:
    """Check one condition.

    Args:
      field: name without the leading `config.`, as in `hash.bits`.
      must: what the value must be, in words that complete "must be".

    Raises:
      ConfigError: the condition is false.
    """
    if not condition:
        raise ConfigError(f"config.{field} = {value!r}: must be {must}")


def one_of(field: str, value: object, choices: tuple[object, ...]) -> None:
    """Check that a value is one of the choices."""
    require(value in choices, field, value, "one of " + ", ".join(map(repr, choices)))


def registered(field: str, value: object, names: tuple[str, ...]) -> None:
    """Check that a component of this name exists, in the program or registered by a user's file."""
    choices = ", ".join(map(repr, names))
    if value not in names:
        raise NotRegistered(
            f"config.{field} = {value!r}: must be one of {choices}, or registered before it is used"
        )


def positive(section: str, settings: object, *names: str) -> None:
    """Check that the fields `names` of a settings object are above 0 and finite."""
    for name in names:
        value = getattr(settings, name)
        require(0 < value < math.inf, f"{section}.{name}", value, "greater than 0, and finite")


def not_negative(section: str, settings: object, *names: str) -> None:
    """Check that the fields `names` of a settings object are at least 0 and finite."""
    for name in names:
        value = getattr(settings, name)
        require(0 <= value < math.inf, f"{section}.{name}", value, "0 or more, and finite")


def share(section: str, settings: object, *names: str) -> None:
    """Check that the fields `names` of a settings object lie in [0, 1]."""
    for name in names:
        value = getattr(settings, name)
        require(0 <= value <= 1, f"{section}.{name}", value, "between 0 and 1")
