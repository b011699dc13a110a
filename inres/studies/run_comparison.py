"""Comparing finished runs: which are seeds of one recipe, and what the comparison says."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inres import config as config_lib
from inres import vocabulary
from inres.evaluation import comparison, intervals, nodules, runs
from inres.pipeline import stages, workdir

UNITS = ("items", "nodules")
"""What a query is: an item, or a whole nodule."""

NO_SCORE = {
    "": ("name", "pdf"),
    "data": ("workers", "expect_counts"),
}
"""Fields of a config, by section, that change no score; `data.root` can, with the images there."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One ranking of one run."""

    name: str
    root: Path
    ranking: str


def parse_entry(text: str, *, ranking: str) -> Entry:
    """An entry from DIR or DIR:RANKING; `ranking` is the default."""
    root, _, named = text.partition(":")
    return Entry(text, Path(root), named or ranking)


def load_recipe(name: str, entries: Sequence[Entry], *, unit: str) -> comparison.Recipe:
    """The runs of one recipe, one of `UNITS` as queries.

    Raises:
      ValueError: the entries name different rankings, or a run has no search for nodules.
    """
    rankings = {entry.ranking for entry in entries}
    if len(rankings) > 1:
        raise ValueError(f"{name}: one recipe, but rankings {', '.join(sorted(rankings))}")
    folder = "evaluation" if unit == "items" else f"evaluation/{nodules.FOLDER}"
    for entry in entries:
        path = entry.root / folder
        if (entry.root / "evaluation" / runs.FILE).is_file() and not path.is_dir():
            raise ValueError(
                f"{path}: no search for whole nodules, because none has several slices there or "
                "slices of one differ in class; compare items"
            )
    loaded = [runs.read(entry.root / folder) for entry in entries]
    return comparison.Recipe(name, loaded, entries[0].ranking)


def group_seeds(entries: Sequence[Entry], *, unit: str) -> list[comparison.Recipe]:
    """Recipes from runs: runs of one `scored_config` with different seeds become one recipe.

    Raises:
      FileNotFoundError: a folder holds no run.
    """
    groups: dict[str, list[tuple[int, Entry]]] = {}
    for entry in entries:
        if (entry.root / "evaluation" / runs.JUDGED).is_file():  # its seed is unknown
            groups[f"{entry.ranking} {entry.root}"] = [(0, entry)]
            continue
        config = workdir.read_config(entry.root)
        stages.require_consistent(entry.root)
        key = f"{entry.ranking} {scored_config(config)}"
        groups.setdefault(key, []).append((config.seed, entry))
    recipes = []
    for members in groups.values():
        if len({seed for seed, _ in members}) == len(members):
            suffix = f" ({len(members)} seeds)" if len(members) > 1 else ""
            members_entries = [entry for _, entry in members]
            recipes.append(load_recipe(members[0][1].name + suffix, members_entries, unit=unit))
        else:  # the same run twice, for example before and after a change of the code
            recipes += [load_recipe(entry.name, [entry], unit=unit) for _, entry in members]
    return recipes


def scored_config(config: config_lib.Config) -> dict[str, Any]:
    """The config without its seed and without the fields that change no score."""
    values = config_lib.to_dict(config)
    del values["seed"]
    for section, names in NO_SCORE.items():
        part = values[section] if section else values
        for name in names:
            del part[name]
    return values


def as_json(
    found: comparison.Comparison, *, mean: str, level: float, resamples: int
) -> dict[str, Any]:
    """The comparison and its settings, as in comparison.json."""
    return {
        "mean": mean,
        "level": level,
        "resamples": resamples,
        "interval": "percentile bootstrap over patients, paired",
        "p_value": "two-sided sign-flip test by patient; null: the two recipes could be exchanged "
        "within every patient; p_holm is corrected for all pairs and measures here",
        "scores": {
            measure: {name: score.as_json() for name, score in by_name.items()}
            for measure, by_name in found.scores.items()
        },
        "differences": [
            {
                "measure": pair.measure,
                "ahead": pair.ahead,
                "behind": pair.behind,
                **pair.difference.as_json(),
                "p_holm": pair.p_holm,
                "told_apart": pair.significant,
            }
            for pair in found.pairs
        ],
    }


def in_words(found: comparison.Comparison, *, mean: str) -> str:
    """The comparison as text: scores, best first, and a sentence for each pair."""
    lines = []
    for measure, by_name in found.scores.items():
        first = next(iter(by_name.values()))
        over = f"{first.queries} queries of {first.patients} patients"
        lines += ["", f"{mean} {vocabulary.metric(measure).title}, {over}"]
        if first.caution:
            lines.append(f"  note: {first.caution}")
        sign = 1 if vocabulary.metric(measure).lower_is_better else -1
        width = max(map(len, by_name))
        for name, score in sorted(by_name.items(), key=lambda item: sign * item[1].value):
            line = f"  {name:<{width}}  {score.value:.3f} {_range(score)}"
            if len(score.by_seed) > 1:
                line += f"  {len(score.by_seed)} seeds, spread {score.spread:.3f}"
            lines.append(line)
        lines += [f"  {sentence(pair)}" for pair in found.pairs if pair.measure == measure]
    return "\n".join(lines)


def sentence(pair: comparison.Pair) -> str:
    """The difference of one pair in words."""
    gap = pair.difference
    verdict = "more than chance" if pair.significant else "not distinguishable from chance"
    if gap.value == 0:
        return f"{pair.ahead} and {pair.behind} are equal"
    if gap.value < 0:  # the one ahead has the smaller error
        gap = dataclasses.replace(gap, value=-gap.value, low=-gap.high, high=-gap.low)
    return (
        f"{pair.ahead} is ahead of {pair.behind} by {gap.value:.3f} {_range(gap)}, "
        f"p = {gap.p_value:.2g}, corrected {pair.p_holm:.2g}: {verdict}"
    )


def _range(interval: intervals.Interval) -> str:
    if math.isnan(interval.low):
        return "[no interval: one patient]"
    return f"[{interval.low:.3f}, {interval.high:.3f}]"
