"""Compare finished runs: who is ahead, by how much, and whether it is more than chance.

    python -m experiments.compare runs/a runs/b runs/c --out=runs/comparison

Every workdir must hold the same test queries, else the difference is named. Workdirs whose
configs differ in the seed alone, of all that can change a score, are seeds of one recipe and are
averaged; --group=NAME=DIR,DIR says so by hand. DIR:RANKING takes another ranking of a run, so that
a run can be held against its own baselines:

    python -m experiments.compare runs/a runs/a:predicted_class runs/a:pixels

--unit=nodules compares searches for whole nodules. --measure takes any measure of
per_query.npz: average_precision, precision, ndcg, diameter_error_mm; class_diameter_error_mm and
other class_... are those within the query's own class, for which the ranking `chance` is a random
order.

Prints, and writes to --out as comparison.json, scores.csv, scores.tex, differences.csv and
differences.tex: the mean of each recipe with its interval over patients and its spread over
seeds; the paired difference of each two, its interval, and the p-value of a sign-flip test by
patient (null hypothesis: the two could be exchanged within every patient), corrected for all
pairs by Holm's method. Takes seconds.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from absl import flags

from experiments import common
from inres import config as config_lib
from inres import vocabulary
from inres.evaluation import comparison, intervals, nodules, runs
from inres.system import files, tables

OUT = flags.DEFINE_string("out", "runs/comparison", "Folder of the results.")
RANKING = flags.DEFINE_string("ranking", "two_stage", "Ranking of runs that name none.")
MEASURES = flags.DEFINE_list(
    "measure", ["average_precision"], "Per-query measures, as in per_query.npz."
)
MEAN = flags.DEFINE_enum("mean", "macro", ["macro", "micro"], "Over classes, or over queries.")
UNIT = flags.DEFINE_enum("unit", "items", ["items", "nodules"], "What a query is.")
GROUPS = flags.DEFINE_multi_string("group", [], "NAME=DIR,DIR: seeds of one recipe.")
LEVEL = flags.DEFINE_float("level", intervals.LEVEL, "Of the intervals and of the verdict.")
RESAMPLES = flags.DEFINE_integer("resamples", intervals.RESAMPLES, "Resamples, and flips.")

SCORE_COLUMNS = {
    "measure": "measure",
    "recipe": "recipe",
    "seeds": "seeds",
    "value": "mean",
    "low": "low",
    "high": "high",
    "spread": "spread over seeds",
    "queries": "queries",
    "patients": "patients",
}
NO_SCORE = {
    "": ("name", "pdf"),
    "data": ("workers", "expect_counts"),
    "search": ("k", "rank", "min_pool", "nearest", "same_class", "distinct", "where"),
}
"""Fields of a config, by section, that change no score; `data.root` can, with the images there."""
PAIR_COLUMNS = {
    "measure": "measure",
    "ahead": "ahead",
    "behind": "behind",
    "difference": "difference",
    "low": "low",
    "high": "high",
    "p": "p",
    "p_holm": "p (Holm)",
    "verdict": "verdict",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One workdir on the command line, as DIR or DIR:RANKING."""

    name: str
    root: Path
    ranking: str


def run(arguments: list[str]) -> None:
    """Compare the workdirs that `arguments` and --group name."""
    if not 0 < LEVEL.value < 1 or RESAMPLES.value < 100:
        raise ValueError("--level must be between 0 and 1, --resamples at least 100")
    recipes = [_recipe(*group.partition("=")) for group in GROUPS.value]
    recipes += grouped([_entry(text) for text in arguments])
    found = comparison.compare(
        recipes,
        MEASURES.value,
        macro=MEAN.value == "macro",
        level=LEVEL.value,
        resamples=RESAMPLES.value,
    )
    out = Path(OUT.value)
    scores, pairs = comparison.score_rows(found.scores), comparison.pair_rows(found.pairs)
    tables.write_table(out / "scores", SCORE_COLUMNS, scores)
    tables.write_table(out / "differences", PAIR_COLUMNS, pairs)
    files.write_json(out / "comparison.json", as_json(found))
    print(words(found))
    print(f"\n  tables   {out}")


def _entry(text: str) -> Entry:
    """DIR or DIR:RANKING."""
    root, _, ranking = text.partition(":")
    return Entry(text, Path(root), ranking or RANKING.value)


def _recipe(name: str, equals: str, members: str) -> comparison.Recipe:
    """NAME=DIR,DIR."""
    if not name or not members:
        raise ValueError(f"--group={name}{equals}{members}: must be NAME=DIR,DIR")
    return _loaded(name, [_entry(text) for text in members.split(",")])


def _loaded(name: str, entries: list[Entry]) -> comparison.Recipe:
    rankings = {entry.ranking for entry in entries}
    if len(rankings) > 1:
        raise ValueError(f"{name}: one recipe, but rankings {', '.join(sorted(rankings))}")
    folder = "evaluation" if UNIT.value == "items" else f"evaluation/{nodules.FOLDER}"
    for entry in entries:
        path = entry.root / folder
        if (entry.root / "evaluation" / runs.FILE).is_file() and not path.is_dir():
            raise ValueError(
                f"{path}: no nodules to compare, as none has several slices there, or slices of "
                "one differ in class; use --unit=items"
            )
    loaded = [runs.read(entry.root / folder) for entry in entries]
    return comparison.Recipe(name, loaded, entries[0].ranking)


def grouped(entries: list[Entry]) -> list[comparison.Recipe]:
    """Workdirs of one `scored_config` and of different seeds become one recipe."""
    groups: dict[str, list[tuple[int, Entry]]] = {}
    for entry in entries:
        path = entry.root / "config.json"
        if (entry.root / "evaluation" / runs.JUDGED).is_file():  # whose seeds are unknown
            groups[f"{entry.ranking} {entry.root}"] = [(0, entry)]
            continue
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; {entry.root} is no workdir of a run")
        config = common.read_config(path)
        key = f"{entry.ranking} {scored_config(config)}"
        groups.setdefault(key, []).append((config.seed, entry))
    recipes = []
    for members in groups.values():
        if len({seed for seed, _ in members}) == len(members):
            many = f" ({len(members)} seeds)" if len(members) > 1 else ""
            recipes.append(_loaded(members[0][1].name + many, [entry for _, entry in members]))
        else:  # the same run twice, say before and after a change of the code
            recipes += [_loaded(entry.name, [entry]) for _, entry in members]
    return recipes


def scored_config(config: config_lib.Config) -> dict[str, Any]:
    """The config without its seed and without fields that change no score."""
    values = config_lib.to_dict(config)
    del values["seed"]
    for section, names in NO_SCORE.items():
        part = values[section] if section else values
        for name in names:
            del part[name]
    return values


def as_json(found: comparison.Comparison) -> dict[str, Any]:
    """Everything that was found, and how."""
    return {
        "mean": MEAN.value,
        "level": LEVEL.value,
        "resamples": RESAMPLES.value,
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


def words(found: comparison.Comparison) -> str:
    """What the command prints."""
    lines = []
    for measure, by_name in found.scores.items():
        score = next(iter(by_name.values()))
        over = f"{score.queries} queries of {score.patients} patients"
        lines += ["", f"{MEAN.value} {vocabulary.metric(measure).title}, {over}"]
        if score.caution:
            lines.append(f"  note: {score.caution}")
        best_first = -1 if vocabulary.metric(measure).lower_is_better else 1
        width = max(map(len, by_name))
        for name, score in sorted(by_name.items(), key=lambda item: -best_first * item[1].value):
            line = f"  {name:<{width}}  {score.value:.3f} {_range(score)}"
            if len(score.by_seed) > 1:
                line += f"  {len(score.by_seed)} seeds, spread {score.spread:.3f}"
            lines.append(line)
        for pair in found.pairs:
            if pair.measure == measure:
                lines.append(f"  {sentence(pair)}")
    return "\n".join(lines)


def sentence(pair: comparison.Pair) -> str:
    """One pair in words."""
    gap = pair.difference
    verdict = "more than chance" if pair.significant else "not told apart from chance"
    if gap.value == 0:
        return f"{pair.ahead} and {pair.behind} are equal"
    if gap.value < 0:  # of an error: ahead is who has less
        gap = dataclasses.replace(gap, value=-gap.value, low=-gap.high, high=-gap.low)
    return (
        f"{pair.ahead} is ahead of {pair.behind} by {gap.value:.3f} {_range(gap)}, "
        f"p = {gap.p_value:.2g}, corrected {pair.p_holm:.2g}: {verdict}"
    )


def _range(interval: intervals.Interval) -> str:
    if math.isnan(interval.low):
        return "[no interval: one patient]"
    return f"[{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    common.launch_with_arguments(run)
