"""Properties of queries and items in a search: known, estimated, and compared.

A query has only what the network estimates from its image. An item has what its record says and,
where that is unknown, what the network estimates from its own image. Without a nodule, only the
properties of a location mean anything (`vocabulary.Property.location`); a record is always
believed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inres.data.properties import PropertyScale
from inres.storage.index_records import Records
from inres.vocabulary import find_property

BLOCK = 1 << 16
"""Number of items processed at a time."""


def known(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """The properties `names` that a record knows, in their units.

    A logarithmic property of 0, such as the diameter of a normal item, is not known: there is none.
    """
    values = {name: record.get(name) for name in names}
    numbers = {name: float(value) for name, value in values.items() if value is not None}
    return {
        name: number
        for name, number in numbers.items()
        if np.isfinite(number) and (number > 0 or not find_property(name).logarithmic)
    }


def estimated(
    standard: np.ndarray, scale: PropertyScale, *, has_nodule: bool = True
) -> dict[str, float]:
    """The estimates of the network for one image, in the units of the properties.

    Args:
      standard: float32 [P], `Encoded.properties` of the image.
      scale: of the P properties.
      has_nodule: whether there is a nodule; otherwise estimates of its properties are left out.
    """
    values = scale.restore(standard[None])[0].tolist()
    return {
        name: value
        for name, value in zip(scale.names, values, strict=True)
        if has_nodule or find_property(name).location
    }


def standard(values: Mapping[str, float], scale: PropertyScale) -> np.ndarray:
    """Properties on the common scale, float32 [P]; NaN where `values` has none."""
    row = [values.get(name, np.nan) for name in scale.names]
    return scale.standardise(np.array([row], np.float64).reshape(1, len(scale)))[0]


def differences(
    values: Mapping[str, float], others: Mapping[str, float], scale: PropertyScale
) -> dict[str, float]:
    """Absolute differences in standard deviations, of the properties that both sides have."""
    apart = np.abs(standard(values, scale) - standard(others, scale)).tolist()
    return {name: d for name, d in zip(scale.names, apart, strict=True) if np.isfinite(d)}


def archived(
    records: Records, estimates: np.ndarray, scale: PropertyScale, *, no_nodule: int
) -> np.ndarray:
    """The properties of all archived items on the common scale, for `searching.weighted`.

    Args:
      records: of the N items.
      estimates: float32 [M, P], `Encoded.properties` of all items of the run; `record["item"]` is a
        row of it.
      scale: of the P properties.
      no_nodule: the class of items without a nodule, or -1 (`items.no_nodule_class`).

    Returns:
      float32 [P, N] by ascending id: the record's value, or else the estimate within the limits of
      the property; NaN where neither means anything.
    """
    known = [n for n in scale.names if records.columns.get(n, "text") != "text"]
    numbers = records.numbers(["item", "label", *known]).T
    rows, nodule = numbers[0].astype(np.int64), numbers[1] != no_nodule
    values = np.full((len(scale), len(rows)), np.nan, np.float32)
    values[[scale.names.index(name) for name in known]] = numbers[2:]
    meaningful = np.array([find_property(name).location for name in scale.names])
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        of_records = scale.standardise(values[:, block].T)
        of_images = scale.standardise(scale.restore(estimates[rows[block]]))
        allowed = nodule[block, None] | meaningful
        of_images = np.where(allowed, of_images, np.nan)
        values[:, block] = np.where(np.isfinite(of_records), of_records, of_images).T
    return values
