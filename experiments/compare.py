"""Compare finished runs: which is ahead, by how much, and whether it is more than chance.

    python -m experiments.compare runs/a runs/b runs/c --out=runs/comparison

All workdirs must hold the same test queries; otherwise the difference is named. Workdirs whose
configs differ only in the seed, among the fields that can change a score, are seeds of one recipe
and are averaged; --group=NAME=DIR,DIR groups them explicitly. DIR:RANKING selects another ranking
of a run, so that a run can be compared with its own baselines:

    python -m experiments.compare runs/a runs/a:predicted_class runs/a:pixels

--unit=nodules compares searches for whole nodules. --measure takes any measure of per_query.npz:
average_precision, precision, ndcg, diameter_error_mm, similarity, difference_texture, ndcg_margin;
class_diameter_error_mm and other class_... measures are within the query's own class, where the
ranking `chance` is a random order.

Prints, and writes to --out as comparison.json, scores.csv, scores.tex, differences.csv and
differences.tex: the mean of each recipe with its interval over patients and its spread over seeds;
the paired difference of each pair, its interval, and the p-value of a sign-flip test by patient
(null hypothesis: the two could be exchanged within every patient), corrected for all pairs by
Holm's method. Takes seconds.
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres.evaluation import comparison, intervals
from inres.studies import run_comparison
from inres.system import files, tables

OUT = flags.DEFINE_string("out", "runs/comparison", "Folder of the results.")
RANKING = flags.DEFINE_string("ranking", "two_stage", "Ranking of runs that name none.")
MEASURES = flags.DEFINE_list(
    "measure", ["average_precision"], "Per-query measures, as in per_query.npz."
)
MEAN = flags.DEFINE_enum("mean", "macro", ["macro", "micro"], "Over classes, or over queries.")
UNIT = flags.DEFINE_enum("unit", "items", list(run_comparison.UNITS), "What a query is.")
GROUPS = flags.DEFINE_multi_string("group", [], "NAME=DIR,DIR: seeds of one recipe.")
LEVEL = flags.DEFINE_float("level", intervals.LEVEL, "Level of the intervals and of the verdict.")
RESAMPLES = flags.DEFINE_integer("resamples", intervals.RESAMPLES, "Resamples, and sign flips.")

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


def compare(arguments: list[str]) -> None:
    """Compare the workdirs in `arguments` and in --group."""
    if not 0 < LEVEL.value < 1 or RESAMPLES.value < 100:
        raise ValueError("--level must be between 0 and 1, --resamples at least 100")
    found = comparison.compare(
        recipes(arguments),
        MEASURES.value,
        macro=MEAN.value == "macro",
        level=LEVEL.value,
        resamples=RESAMPLES.value,
    )
    out = Path(OUT.value)
    tables.write_table(out / "scores", SCORE_COLUMNS, comparison.score_rows(found.scores))
    tables.write_table(out / "differences", PAIR_COLUMNS, comparison.pair_rows(found.pairs))
    described = run_comparison.as_json(
        found, mean=MEAN.value, level=LEVEL.value, resamples=RESAMPLES.value
    )
    files.write_json(out / "comparison.json", described)
    print(run_comparison.in_words(found, mean=MEAN.value))
    print(f"\n  tables   {out}")


def recipes(arguments: list[str]) -> list[comparison.Recipe]:
    """The recipes of --group and of the workdirs in `arguments`."""
    found = []
    for group in GROUPS.value:
        name, _, members = group.partition("=")
        if not name or not members:
            raise ValueError(f"--group={group}: must be NAME=DIR,DIR")
        entries = [_entry(text) for text in members.split(",")]
        found.append(run_comparison.load_recipe(name, entries, unit=UNIT.value))
    entries = [_entry(text) for text in arguments]
    return found + run_comparison.group_seeds(entries, unit=UNIT.value)


def _entry(text: str) -> run_comparison.Entry:
    return run_comparison.parse_entry(text, ranking=RANKING.value)


if __name__ == "__main__":
    common.launch_with_arguments(compare)
