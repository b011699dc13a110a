"""Properties of items as the network learns them: chosen, and on one scale."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from inres import vocabulary
from inres.data.items import Item
from inres.system.checks import ConfigError

AUTO = "auto"
"""Stands for all properties of the vocabulary that images show and enough training items have."""
LEAST_KNOWN = 20
"""Training items of known and different value that a property must have to be learned."""


def column(items: Iterable[Item], name: str) -> np.ndarray:
    """Values of a property, float64 [N], NaN where unknown or, for sizes, where there is none."""
    values = np.array([item.value(name) for item in items], np.float64)
    if vocabulary.find_property(name).logarithmic:
        values[~(values > 0)] = np.nan
    return values


def table(items: Sequence[Item], names: Sequence[str]) -> np.ndarray:
    """Values of several properties, float64 [N, P], NaN where unknown."""
    return np.array([column(items, name) for name in names]).reshape(len(names), len(items)).T


SPREAD = "_sd"
"""Ending of the column with the standard deviation of a property over its readers."""


def columns(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """All properties of which a value is known, in the order of tables: float64 [N] by name."""
    fields = [one.name for one in vocabulary.PROPERTIES if hasattr(Item, one.name)]
    named = {name for item in items for name in item.properties if not name.endswith(SPREAD)}
    names = sorted(named.union(fields), key=vocabulary.property_order)
    found = {name: column(items, name) for name in names}
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


def agreement_weights(items: Sequence[Item], scale: "PropertyScale") -> np.ndarray:
    """Weights of the properties of items in training, float32 [N, P], 1 where nothing is known.

    A value on which readers differ counts less: `s^2 / (s^2 + v)` with the standard deviation s of
    the property over the training items and the variance v over the readers, which is the share of
    the squared difference of two items that is not noise of the reading.
    """
    weights = np.ones((len(items), len(scale)), np.float32)
    for at, name in enumerate(scale.names):
        spread = column(items, name + SPREAD)
        if vocabulary.find_property(name).logarithmic:
            spread = spread / column(items, name)  # of the logarithm, to first order
        noise = np.where(np.isfinite(spread), spread, 0.0) ** 2
        weights[:, at] = scale.std[at] ** 2 / (scale.std[at] ** 2 + noise)
    return weights


def require_columns(wanted: Mapping[str, Iterable[str]], items: Sequence[Item]) -> None:
    """Check that the properties which fields of the config name are columns of the items.

    Args:
      wanted: names by field.
      items: the item table.

    Raises:
      ConfigError: one is not; names it and those that are known.
    """
    known = columns(items)
    for field, names in wanted.items():
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"config.{field}: {name!r} is no property of these items; known are "
                    f"{', '.join(known) or 'none'}"
                )


def chosen(wanted: Sequence[str], items: Sequence[Item]) -> tuple[str, ...]:
    """The properties to learn, in the order of tables.

    Args:
      wanted: `config.properties.names`: columns, or `auto`.
      items: the training items.

    Raises:
      ConfigError: a column is named that is not known of enough training items.
    """
    shown = [one.name for one in vocabulary.PROPERTIES if not one.location]
    names = [name for name in shown if AUTO in wanted and _learnable(column(items, name))]
    for name in wanted:
        if name == AUTO or name in names:
            continue
        values = column(items, name)
        if not _learnable(values):
            raise ConfigError(
                f"config.properties.names: {name!r} is known of {np.isfinite(values).sum()} "
                f"training items; must be a column of numbers, known of at least {LEAST_KNOWN} of "
                "them and not the same for all"
            )
        names.append(name)
    return tuple(names)


def _learnable(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return len(known) >= LEAST_KNOWN and bool(np.ptp(known) > 0)


@dataclasses.dataclass(frozen=True)
class PropertyScale:
    """The scale on which P properties are learned and compared: mean 0, standard deviation 1."""

    names: tuple[str, ...]
    mean: np.ndarray
    """float64 [P], of the training items, after the logarithm where a property has one."""
    std: np.ndarray
    """float64 [P], likewise."""

    @classmethod
    def of(cls, names: Sequence[str], values: np.ndarray) -> "PropertyScale":
        """The scale of training items with `values` [N, P], NaN where unknown."""
        names = tuple(names)
        logs = _logarithms(names, values)
        if not names:
            return cls((), np.zeros(0), np.zeros(0))
        return cls(names, np.nanmean(logs, axis=0), np.nanstd(logs, axis=0))

    def __len__(self) -> int:
        return len(self.names)

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """From the units of the properties to the common scale, float32 [N, P]; NaN stays."""
        return ((_logarithms(self.names, values) - self.mean) / self.std).astype(np.float32)

    def restore(self, standard: np.ndarray) -> np.ndarray:
        """From the common scale back to units, float64 [N, P], within the limits of each."""
        values = np.asarray(standard, np.float64) * self.std + self.mean
        for at, name in enumerate(self.names):
            one = vocabulary.find_property(name)
            if one.logarithmic:
                values[:, at] = np.exp(values[:, at])
            values[:, at] = np.clip(values[:, at], one.low, one.high)
        return values

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }

    @classmethod
    def from_json(cls, values: Any) -> "PropertyScale":
        """The scale from `as_json`.

        Raises:
          ValueError: `values` is something else.
        """
        fields = ("names", "mean", "std")
        if isinstance(values, Mapping) and {*fields} == values.keys():
            names, mean, std = (values[field] for field in fields)
            if len(names) == len(mean) == len(std) and all(isinstance(n, str) for n in names):
                return cls(tuple(names), np.array(mean, np.float64), np.array(std, np.float64))
        raise ValueError(f"must have names, means and standard deviations, is {values!r:.60}")


def _logarithms(names: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Values [N, P] with the logarithm of those that have one."""
    logs = np.array(values, np.float64)
    for at, name in enumerate(names):
        if vocabulary.find_property(name).logarithmic:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs[:, at] = np.where(logs[:, at] > 0, np.log(logs[:, at]), np.nan)
    return logs
