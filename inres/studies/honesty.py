"""One recipe under the paper's random split of slices and under a split by patient.

Both splits are run as folds, so every item is tested once under each, by networks trained on shares
of equal size; the difference is then paired query by query. In addition, the queries of the random
split are searched with their own patient left out (or their scan, if the patient is unknown). This
separates what training on a patient adds from what finding the same patient adds.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from inres.config import Config, ConfigError
from inres.data import items, views
from inres.evaluation import protocol, runs
from inres.figures import style
from inres.pipeline import artifacts, assess, stages, workdir
from inres.pipeline.evaluate import EncodedRun, search_settings
from inres.pipeline.prepare import prepare_items
from inres.studies import folds, leakage
from inres.system import files, tables

RESULT = "honesty.json"
SPLITS = ("slices", "patient")
TABLE = {
    "measure": "measure",
    "slices": "random slices",
    "slices_other_scans": "own patient excluded",
    "patient": "by patient",
    "all_gap": "inflation",
    "all_low": "low",
    "all_high": "high",
    "all_p": "p",
}


def compare_splits(config: Config, root: Path, *, redo: Collection[str], command: str) -> None:
    """Run every fold of both splits in workdirs below `root`, then compare the splits.

    Args:
      redo: stages to compute again in every fold.
      command: recorded in the environment of every fold.

    Raises:
      ConfigError: there are too few folds, or a fold of either split would be refused.
    """
    workdir.require_output(root / "honesty", RESULT)
    count = config.split.folds
    least = folds.fewest_folds(config)
    if count < least:
        raise ConfigError(f"config.split.folds = {count}: must be at least {least}, for example 3")
    prepare_items(config, root)
    for kind in SPLITS:
        _check(config, root, kind)
        folds.request_redo(root / kind, range(count), redo)
    found: dict[str, list[runs.Run]] = {name: [] for name in leakage.PROTOCOLS}
    leaks: dict[str, list[Any]] = {}
    for kind in SPLITS:
        own, own_root = split_config(config, kind), root / kind
        folds.share_stages(root, own_root)
        for fold in range(count):
            print(f"split by {kind}, fold {fold + 1} of {count}")
            folds.run_fold(own, own_root, fold, count, command=command)
            place = folds.fold_workdir(own_root, fold)
            fold_config = folds.fold_config(own, fold, count)
            found[kind].append(judge_fold(fold_config, place, own_patient=kind == "slices"))
            if kind == "slices":
                other = judge_fold(fold_config, place, own_patient=False)
                found["slices_other_scans"].append(other)
            leaks.setdefault(kind, []).append(artifacts.leaks(place))
    protocols = {name: runs.pool(parts) for name, parts in found.items()}
    write_comparison(protocols, leaks, root / "honesty", pdf=config.pdf)


def split_config(config: Config, kind: str) -> Config:
    """The same config under another kind of split."""
    return dataclasses.replace(config, split=dataclasses.replace(config.split, kind=kind))


def _check(config: Config, root: Path, kind: str) -> None:
    try:
        folds.check_folds(split_config(config, kind), root, config.split.folds)
    except ConfigError as error:
        raise ConfigError(f"split by {kind}, {error}") from None


def judge_fold(config: Config, root: Path, *, own_patient: bool) -> runs.Run:
    """The test queries of a finished fold, searched with or without their own patient's items."""
    stages.done(root, "evaluation")
    table = artifacts.open_items(root)
    data = artifacts.labelled(table, root)
    images = views.own_slices(artifacts.network_inputs(root / "train"))
    encoded = EncodedRun.load(config, root, data, images)
    rows = data.on("test")
    names, patients = items.item_names(table.items), items.patients(table.items)
    # Another scan of the query's patient leaks as much as its own scan.
    queries, gallery = (
        dataclasses.replace(encoded.side(part, archived=archived), patients=patients[part])
        for part, archived in ((rows, False), (data.archived(), True))
    )
    settings = dataclasses.replace(search_settings(config, data.classes), own_group=own_patient)
    found = protocol.evaluate(queries, gallery, settings)
    return assess.query_run(found, queries, names=names[rows], patients=patients[rows])


def write_comparison(
    protocols: dict[str, runs.Run], leaks: dict[str, list[Any]], out: Path, *, pdf: bool
) -> None:
    """Write the figure, the table and the numbers to the folder `out`; print the numbers."""
    found = leakage.inflations(protocols)
    score = found[0].scores["patient"]
    title = (
        f"One recipe, two splits: {score.queries} queries of {score.patients} patients, "
        "each tested once under both"
    )
    files.write_json(
        out / RESULT,  # first: it marks the folder as ours
        {
            "measures": [
                {
                    "measure": one.measure.title,
                    "scores": {name: score.as_json() for name, score in one.scores.items()},
                    "gaps": {part: gap.as_json() for part, gap in one.gaps.items()},
                }
                for one in found
            ],
            "leaks": leaks,
        },
    )
    tables.write_table(out / "inflation", TABLE, leakage.rows(found))
    style.save(leakage.figure(found, title=title), out / "inflation", pdf=pdf)
    print(f"\n{title}")
    for one in found:
        gap = one.gaps["all"]
        shown = ", ".join(
            f"{words} {one.scores[name].value:.3f}" for name, words in leakage.PROTOCOLS.items()
        )
        print(
            f"  {one.measure.title}: {shown}; inflation {gap.value:+.3f} "
            f"[{gap.low:+.3f}, {gap.high:+.3f}], p = {gap.p_value:.2g}"
        )
    print(f"\n  figure   {out / 'inflation.png'}\n  table    {out / 'inflation.csv'}")
