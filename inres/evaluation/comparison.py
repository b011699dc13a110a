"""Comparison of recipes: which is better, by how much, and whether this is significant."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inres import vocabulary
from inres.evaluation import intervals
from inres.evaluation.runs import Run, aligned


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Runs that differ only in their seed, compared by one ranking."""

    name: str
    runs: Sequence[Run]
    ranking: str


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two recipes and one measure; `ahead` is the better one."""

    measure: str
    ahead: str
    behind: str
    difference: intervals.Difference
    """Ahead minus behind; seeds are averaged query by query."""
    p_holm: float
    """p-value corrected for all pairs and measures that were compared together."""
    significant: bool
    """`p_holm` is below 1 - level."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Result of `compare`."""

    scores: dict[str, dict[str, intervals.Seeds]]
    """By measure and recipe."""
    pairs: list[Pair]


def compare(
    recipes: Sequence[Recipe],
    measures: Sequence[str],
    *,
    base: str = "",
    macro: bool = True,
    level: float = intervals.LEVEL,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare every pair of recipes, or every recipe with `base`, by every measure.

    Seeds of a recipe are averaged query by query before recipes are compared. The p-values are
    those of `intervals.difference`, corrected together by Holm's method.

    Args:
      recipes: two or more; their runs must have the same queries.
      measures: columns of `per_query.npz`.
      base: name of the recipe that the others are compared with; empty for all pairs.
      macro: compare means over classes of the class means; otherwise means over queries.
      level, resamples, seed: as in `intervals`.

    Raises:
      ValueError: there are fewer than two recipes, or two of one name; a run lacks a measure, or
        the measure is undefined for every query; or runs have different queries.
    """
    if len(recipes) < 2:
        raise ValueError(f"{len(recipes)} recipe to compare; give two or more")
    names = [recipe.name for recipe in recipes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]} is given {names.count(twice[0])} times; give each once")
    runs = aligned(
        {
            recipe.name if len(recipe.runs) == 1 else f"{recipe.name}, run {number}": run
            for recipe in recipes
            for number, run in enumerate(recipe.runs, start=1)
        }
    )
    first = next(iter(runs.values()))
    labels = first.labels if macro else None
    kept: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    scores: dict[str, dict[str, intervals.Seeds]] = {}
    found: list[tuple[str, str, str, intervals.Difference]] = []
    for measure in measures:
        each: dict[str, np.ndarray] = {}
        left = iter(runs.values())
        for recipe in recipes:
            mine = itertools.islice(left, len(recipe.runs))
            each[recipe.name] = np.stack([run.measure(recipe.ranking, measure) for run in mine])
            if not np.isfinite(each[recipe.name]).all(axis=0).any():
                raise ValueError(_unknown(measure, recipe.name))
        scores[measure] = {
            name: intervals.over_seeds(values, first.patients, labels, **kept)
            for name, values in each.items()
        }
        others = [(name, base) for name in each if name != base]
        for a, b in others if base else itertools.combinations(each, 2):
            ours, theirs = each[a].mean(axis=0), each[b].mean(axis=0)
            gap = intervals.difference(ours, theirs, first.patients, labels, **kept)
            if not gap.queries:
                raise ValueError(_unknown(measure, f"{a} and {b} together"))
            lower = vocabulary.metric(measure).lower_is_better
            if (gap.value < 0) != lower and gap.value != 0:
                a, b = b, a
                gap = intervals.difference(theirs, ours, first.patients, labels, **kept)
            found.append((measure, a, b, gap))
    adjusted = intervals.holm(np.array([gap.p_value for *_, gap in found]))
    pairs = [
        Pair(measure, ahead, behind, gap, float(p), bool(p < 1.0 - level))
        for (measure, ahead, behind, gap), p in zip(found, adjusted, strict=True)
    ]
    return Comparison(scores, pairs)


def _unknown(measure: str, where: str) -> str:
    return (
        f"{where}: {measure!r} is undefined for every query (not all data have diameters, "
        "ratings or other properties); compare by another measure"
    )


def score_rows(scores: Mapping[str, Mapping[str, intervals.Seeds]]) -> list[dict[str, Any]]:
    """Rows of the table of scores: one for each recipe and measure."""
    return [
        {
            "measure": measure,
            "recipe": name,
            "seeds": len(score.by_seed),
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "spread": score.spread,
            "queries": score.queries,
            "patients": score.patients,
        }
        for measure, by_name in scores.items()
        for name, score in by_name.items()
    ]


def pair_rows(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Rows of the table of differences: one for each pair."""
    return [
        {
            "measure": pair.measure,
            "ahead": pair.ahead,
            "behind": pair.behind,
            "difference": pair.difference.value,
            "low": pair.difference.low,
            "high": pair.difference.high,
            "p": pair.difference.p_value,
            "p_holm": pair.p_holm,
            "verdict": "more than chance" if pair.significant else "not distinguishable",
        }
        for pair in pairs
    ]
