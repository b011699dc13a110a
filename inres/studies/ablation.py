"""Ablations: a grid of runs that differ in a few fields of one config, and their comparison.

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

import numpy as np
from matplotlib.figure import Figure

from inres import config as config_lib
from inres import vocabulary
from inres.config import Config, ConfigError
from inres.evaluation import comparison
from inres.evaluation.runs import Run
from inres.figures import studies
from inres.pipeline import inputs, stages

Variant = Mapping[str, Any]

COLUMNS = {
    "variant": "variant",
    "ranking": "ranking",
    "measure": "measure",
    "seeds": "seeds",
    "value": "macro mean",
    "low": "low",
    "high": "high",
    "spread": "spread over seeds",
    "difference": "minus base",
    "difference_low": "low",
    "difference_high": "high",
    "p": "p",
    "p_holm": "p (Holm)",
}
"""Keys of the table and their titles."""


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
    columns = [metric.column for metric in vocabulary.metrics()]
    for field, names, what, known in (
        ("rankings", grid.rankings, "ranking", rankings),
        ("variants", named, "ranking", rankings),
        ("measures", grid.measures, "measure", columns),
    ):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"config.{field}: {name!r} is not a {what}; must be one of {', '.join(known)}"
                )
    if "ranking" in grid.variants[0]:
        raise ConfigError(
            "config.variants: the first variant, the base, must not select a ranking; use "
            "config.rankings"
        )
    if any("seed" in variant for variant in grid.variants):
        raise ConfigError("config.variants: seeds are varied by config.seeds")
    _require_effect(grid)
    runs(grid)
    return grid


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


def table(grid: Ablation, found: Mapping[str, Run]) -> list[dict[str, Any]]:
    """Compare all variants with the base: a row for each measure, ranking and variant.

    Keys are those of `COLUMNS`; the base has no difference. Differences are variant minus base,
    paired; p-values are those of `comparison.compare`, with Holm's correction over the variants of
    one ranking and measure.

    Args:
      found: finished runs by name. Variants with unfinished seeds are left out; variants whose runs
        lack the ranking or the measure have no row for it, see `lacking`.

    Raises:
      ValueError: the base or all other variants are not finished; runs have different queries; or
        no ranking and measure is known for the base and another variant.
    """
    base = label(grid.variants[0])
    rows: list[dict[str, Any]] = []
    for measure, recipes in _compared(grid, found):
        able = [recipe for recipe in recipes if _is_known((recipes[0], recipe), measure)]
        if len(able) > 1:
            rows += _rows(able, base, measure)
    if not rows:
        raise ValueError(
            f"config.rankings = {grid.rankings!r}, config.measures = {grid.measures!r}: none is "
            "known for the base and another variant; choose others (finished runs are kept)"
        )
    return rows


def lacking(grid: Ablation, found: Mapping[str, Run]) -> list[str]:
    """Sentences on what `table` leaves out because runs of a variant, or of the base, lack it.

    A measure that is unknown for the base's ranking, such as diameters, is not mentioned.
    """
    lines = []
    for measure, (base, *others) in _compared(grid, found):
        if not _has_ranking(base):
            lines.append(f"{base.name} has no ranking {base.ranking!r}; nothing is compared by it")
        if not _is_known((base,), measure):
            continue
        for other in others:
            if not _has_ranking(other):
                lines.append(f"{other.name} has no ranking {other.ranking!r}; its row is left out")
            elif not _is_known((other,), measure):
                lines.append(f"{other.name} has no {measure!r}; its row is left out")
            elif not _is_known((base, other), measure):
                lines.append(
                    f"{other.name} and {base.name} have no query in common with a known "
                    f"{measure!r}; the row of {other.name} is left out"
                )
    return list(dict.fromkeys(lines))


def _compared(
    grid: Ablation, found: Mapping[str, Run]
) -> list[tuple[str, list[comparison.Recipe]]]:
    """Each measure with the recipes to compare by it, for each ranking; the base comes first."""
    whole = [
        variant
        for variant in grid.variants
        if all(run_name(variant, seed) in found for seed in grid.seeds)
    ]
    if grid.variants[0] not in whole or len(whole) < 2:
        raise ValueError("the base and another variant must be finished to be compared")
    return [
        (
            measure,
            [
                comparison.Recipe(
                    label(variant),
                    [found[run_name(variant, seed)] for seed in grid.seeds],
                    variant.get("ranking", ranking),
                )
                for variant in whole
                if number == 0 or "ranking" not in variant
            ],
        )
        for measure in grid.measures
        for number, ranking in enumerate(grid.rankings)
    ]


def _has_ranking(recipe: comparison.Recipe) -> bool:
    """Whether all runs of the recipe have its ranking."""
    return all(recipe.ranking in run.values for run in recipe.runs)


def _is_known(recipes: Sequence[comparison.Recipe], measure: str) -> bool:
    """Whether the measure of some query is known in all runs, by the ranking of each recipe."""
    columns = [r.values.get(each.ranking, {}).get(measure) for each in recipes for r in each.runs]
    known = [np.isfinite(column) for column in columns if column is not None]
    # Runs with different queries are refused when they are compared.
    alike = len({len(column) for column in known}) == 1
    return len(known) == len(columns) and (not alike or bool(np.all(known, axis=0).any()))


def _rows(recipes: Sequence[comparison.Recipe], base: str, measure: str) -> list[dict[str, Any]]:
    """Rows of the table for one measure and one ranking of the base."""
    judged = comparison.compare(recipes, [measure], base=base)
    rows = {}
    for recipe in recipes:
        score = judged.scores[measure][recipe.name].as_json()
        rows[recipe.name] = {
            "variant": recipe.name,
            "ranking": recipe.ranking,
            "measure": measure,
            "seeds": len(recipe.runs),
            **{key: score[key] for key in ("value", "low", "high", "spread")},
        }
    for pair in judged.pairs:
        gap = pair.difference.as_json()
        ends = [gap["low"], gap["high"]]
        name = pair.ahead
        if name == base:
            name, gap["value"] = pair.behind, -gap["value"]
            ends = [None if end is None else -end for end in reversed(ends)]
        rows[name] |= {
            "difference": gap["value"],
            "difference_low": ends[0],
            "difference_high": ends[1],
            "p": gap["p_value"],
            "p_holm": pair.p_holm,
        }
    return list(rows.values())


def swept(grid: Ablation) -> str:
    """The one numeric field in which the variants differ; empty if there are others."""
    fields = {field for variant in grid.variants for field in variant}
    if len(fields) != 1:
        return ""
    (field,) = fields
    values = [variant.get(field) for variant in grid.variants]
    plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return field if plain else ""


def figure(grid: Ablation, rows: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """The scores of `table` by the first measure, over the swept field or variant by variant."""
    field, measure = swept(grid), rows[0]["measure"]
    rows = [row for row in rows if row["measure"] == measure]
    score = vocabulary.mean_title(measure, macro=True)
    series: dict[str, dict[str, tuple[float, float, float]]] = {}
    for row in rows:
        title_of = vocabulary.ranking(row["ranking"]).title
        ends = (row["value"], row["low"], row["high"])
        series.setdefault(title_of, {})[row["variant"]] = ends
    if field:
        places = {label(variant): float(variant[field]) for variant in grid.variants}
        over = {
            name: {places[variant]: ends for variant, ends in mine.items()}
            for name, mine in series.items()
        }
        return studies.sweep(over, title=title, x=field, y=score)
    names = [label(v) for v in grid.variants if any(r["variant"] == label(v) for r in rows)]
    x = f"{score}, mean over seeds\n(bars: 95 % interval over patients)"
    return studies.variants(names, series, title=title, x=x)
