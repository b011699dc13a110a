"""Definition of an ablation: a grid of runs that differ in a few fields of one config.

A variant is a mapping from dotted fields (`loss.name`) to values; its key `ranking`, which is not a
field, selects another ranking for the comparison. The first variant is the base, with which each
other variant is compared over the same queries, with seeds averaged query by query.
"""

import copy
import dataclasses
import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from inres import config as config_lib
from inres import sources, vocabulary
from inres.config import Config, ConfigError
from inres.pipeline import inputs, stages

Variant = Mapping[str, Any]


@dataclasses.dataclass
class Ablation:
    """Variants and seeds of one base config."""

    base_name: str = "phantom"
    """Name of the config file `experiments/configs/<base_name>.py` on which `base` is based."""
    base: Config = dataclasses.field(default_factory=Config)
    variants: tuple = ()
    """The variants (`Variant`); the first is the base of all comparisons."""
    seeds: tuple = (0, 1, 2)
    """Values of `config.seed`; each variant is trained with each."""
    rankings: tuple = ("two_stage", "hamming")
    """Rankings by which a variant is compared with the base. A variant that selects a ranking is
    compared only by that one, with the first of these rankings of the base."""
    measures: tuple = ("average_precision", "precision", "ndcg", "diameter_error_mm")
    """Columns of `per_query.npz`. The figure shows the first one that is known; columns without any
    known value, such as diameters, are left out."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run of the grid."""

    name: str
    """Name of its workdir."""
    config: Config


def product(**fields: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """All combinations of values of some fields; `__` in a name stands for a dot."""
    names = [name.replace("__", ".") for name in fields]
    return tuple(
        dict(zip(names, values, strict=True)) for values in itertools.product(*fields.values())
    )


def checked(grid: Ablation) -> Ablation:
    """Check that every run of every variant is possible, and return a copy of `grid`.

    Where variants show differently much of a scan, normal places keep as far from its ends and from
    findings in all of them as in the one that shows most (`items.normal_inside_mm`), so that all
    have the same.

    Raises:
      ConfigError: a run is not possible, two variants are the same, or a ranking or a measure does
        not exist; names the variant or the field.
    """
    grid = dataclasses.replace(grid, base=config_lib.checked(grid.base))
    if len(grid.variants) < 2 or not all(isinstance(v, Mapping) for v in grid.variants):
        raise ConfigError(
            f"config.variants = {grid.variants!r}: must be two or more dicts of field and value"
        )
    labels = [label(variant) for variant in grid.variants]
    twice = {name for name in labels if labels.count(name) > 1}
    if twice:
        raise ConfigError(f"config.variants: {sorted(twice)[0]!r} occurs twice")
    for name in ("seeds", "rankings", "measures"):
        value = getattr(grid, name)
        if not value or len(set(value)) < len(value):
            raise ConfigError(f"config.{name} = {value!r}: must be one or more different values")
    named = [variant["ranking"] for variant in grid.variants if "ranking" in variant]
    rankings = vocabulary.ranking_names()
    for field, names in (("rankings", grid.rankings), ("variants", named)):
        for name in names:
            if name not in rankings:
                raise ConfigError(
                    f"config.{field}: {name!r} is not a ranking; must be one of "
                    f"{', '.join(rankings)}"
                )
    for name in grid.measures:
        try:
            vocabulary.metric(name)
        except ValueError as error:
            raise ConfigError(f"config.measures: {error}") from None
    if "ranking" in grid.variants[0]:
        raise ConfigError(
            "config.variants: the first variant, the base, must not select a ranking; use "
            "config.rankings"
        )
    if any("seed" in variant for variant in grid.variants):
        raise ConfigError("config.variants: seeds are varied by config.seeds")
    grid = _with_same_normals(grid)
    _require_effect(grid)
    runs(grid)
    return grid


def _with_same_normals(grid: Ablation) -> Ablation:
    """A copy whose runs draw the same normal slices, where only what items show differs."""
    if sources.get(grid.base.data.kind).ready_made:
        return grid
    shown = {overridden(grid.base, variant).items.shown_mm for variant in grid.variants}
    if len(shown) == 1:
        return grid
    inside = max(grid.base.items.normal_inside_mm, *shown)
    return dataclasses.replace(grid, base=overridden(grid.base, {"items.normal_inside_mm": inside}))


def _require_effect(grid: Ablation) -> None:
    """Refuse variants whose scores cannot differ: they would count in Holm's correction."""
    seen: dict[str, str] = {}
    for variant in grid.variants:
        config = overridden(grid.base, variant)
        ignored = inputs.unused(config)
        values = {name: value for name, value in inputs.leaves(config) if name not in ignored}
        read = values | {"name": "", "pdf": True, "by": variant.get("ranking")}
        same = seen.setdefault(stages.fingerprint(read), label(variant))
        if same != label(variant):
            raise ConfigError(
                f"config.variants: {label(variant)!r} does not differ from {same!r} in anything "
                "that is trained, indexed or evaluated; remove it"
            )


def label(variant: Variant) -> str:
    """Name of a variant, such as `hash.bits=64`; `base` if it changes nothing."""
    return ", ".join(f"{field}={value}" for field, value in variant.items()) or "base"


def overridden(config: Config, variant: Variant) -> Config:
    """`config` with the fields of `variant`, checked.

    Raises:
      ConfigError: a field does not exist, or its value is not allowed.
    """
    values = copy.deepcopy(config_lib.to_dict(config))
    known = dict(inputs.leaves(config))
    for field, value in variant.items():
        if field == "ranking":
            continue
        if field not in known:
            raise ConfigError(f"config.variants: {field!r} is not a field of the config")
        want = type(known[field])
        if want is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not want:
            raise ConfigError(f"config.variants: {field} = {value!r}: must be a {want.__name__}")
        *sections, last = field.split(".")
        part = values
        for section in sections:
            part = part[section]
        part[last] = value
    return config_lib.from_dict(values)


def run_name(variant: Variant, seed: int) -> str:
    """Name of the folder of a run."""
    fields = {field: value for field, value in variant.items() if field != "ranking"}
    return re.sub(r"[^A-Za-z0-9.=_-]+", "_", f"{label(fields)}-seed{seed}")


def runs(grid: Ablation) -> list[Planned]:
    """All runs, seed by seed, so that an interrupted grid has complete seeds."""
    planned: dict[str, Planned] = {}
    for seed in grid.seeds:
        for variant in grid.variants:
            name = run_name(variant, seed)
            config = overridden(grid.base, {**variant, "seed": seed})
            if planned.setdefault(name, Planned(name, config)).config != config:
                raise ConfigError(
                    f"config.variants: two runs would share the folder {name!r}; put "
                    f"{label(variant)!r} into another grid"
                )
    return list(planned.values())


def command(config: Config, pristine: Config, *, base_name: str, workdir: str) -> str:
    """The command line that performs one run by itself.

    Args:
      config: config of the run.
      pristine: the config in `experiments/configs/<base_name>.py`.
    """
    before, after = (dict(inputs.leaves(c)) for c in (pristine, config))
    parts = [
        "python",
        "-m",
        "experiments.reproduce",
        f"--config=experiments/configs/{base_name}.py",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in after.items() if value != before[name]),
    ]
    return shlex.join(parts)
