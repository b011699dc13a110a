"""Comparison of the finished runs of an ablation: table, remarks on missing rows, and figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from inres import vocabulary
from inres.evaluation import comparison
from inres.evaluation.runs import Run
from inres.figures import studies
from inres.studies.ablation import Ablation, label, run_name

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
