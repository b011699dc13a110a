"""Which config fields each stage depends on: results are reused only if these are unchanged."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from inres import sources
from inres.config import Config
from inres.data import prepare

FIELDS: dict[str, tuple[str, ...]] = {
    "split": ("split", "segment.holdout_every"),
    "segment": ("segment", "train.precision", "seed"),
    "train": (
        "model",
        "loss",
        "properties.names",
        "properties.weight",
        "properties.importance",
        "train",
        "hash.bits",
        "items.view",
        "items.crop_mm",
        "items.segmented",
        "items.size_px",
        "seed",
    ),
    "index": (
        "search.features",
        "search.class_weight",
        "search.fc1_weight",
        "search.size_weight",
        "hash.code",
        "hash.records",
        "hash.fc1_weight",
        "hash.views_weight",
    ),
    "evaluation": (
        "search.threshold",
        "search.least_pool",
        "search.features",
        "properties.importance",
        "properties.scale",
        "pdf",
    ),
}
"""By stage: fields, or whole sections. Those of `scans` and `prepare` depend on the source."""

NO_INPUT = ("name", "data.root", "data.workers", "data.scheduler", "data.expect_counts")
"""Fields that change no result: names, places (files count by their contents) and checks."""


def stage_inputs(config: Config, stage: str) -> dict[str, Any]:
    """The inputs of a stage that come from the config, by dotted name."""
    if stage == "scans":
        return flat(sources.get(config.data.kind).written_from(config))
    if stage == "prepare":
        return flat(prepare.settings(config))
    found: dict[str, Any] = {}
    for name in FIELDS[stage]:
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        found |= dict(leaves(value, name)) if dataclasses.is_dataclass(value) else {name: value}
    ignored = unused(config)
    return {name: value for name, value in found.items() if name not in ignored}


def unused(config: Config) -> set[str]:
    """Fields that have no effect with this config.

    These are the settings of losses that are not selected, so that results stay valid when a loss
    is added to the program, and the precision if it is float32, as it was before it could be set.
    """
    selected = f"loss.settings.{config.loss.name}."
    names = (name for name, _ in leaves(config.loss.settings, "loss.settings"))
    others = {name for name in names if not name.startswith(selected)}
    return others | ({"train.precision"} if config.train.precision == "float32" else set())


def leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every field of a config or section, nested ones included."""
    for field in dataclasses.fields(section):
        name = f"{prefix}.{field.name}" if prefix else field.name
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, name)
        else:
            yield name, value


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
