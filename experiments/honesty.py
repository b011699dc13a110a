"""The same recipe under the paper's random split of slices and under a split by patient.

    python -m experiments.honesty --config=experiments/configs/honesty.py --workdir=runs/honesty

Both splits are run as folds (`config.split.folds`; three keep near to the paper's 70 : 30), so that
every item is tested once under each, by networks trained on shares of one size; the difference is
then paired query by query. Besides, the queries of the random split are searched with their own
patient left out (where none is known, their scan), which parts what training on a patient adds from
what finding it again adds. Works with any config and data: --config.data.kind=folder
--config.data.root=FOLDER for one's own. Every fold of both splits is checked before the first.

Leaves <workdir>/honesty: inflation.png, .svg, .pdf, inflation.csv, .tex and honesty.json (also how
many items, scans and pictures stand on both sides of each fold); below it a workdir for each split.
About 20 minutes for the phantoms on two cores; interrupted, it goes on where it stopped.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments import common, evaluate, folds, index, prepare, train
from inres.config import Config, ConfigError
from inres.data import items
from inres.evaluation import protocol, runs
from inres.figures import style
from inres.pipeline import assess, stages
from inres.studies import leakage
from inres.system import files, tables

SPLITS = ("slices", "patient")
TABLE = {
    "measure": "measure",
    "slices": "random slices",
    "slices_other_scans": "own patient left out",
    "patient": "by patient",
    "all_gap": "inflation",
    "all_low": "low",
    "all_high": "high",
    "all_p": "p",
}


def run(config: Config, workdir: Path) -> None:
    """Run every fold of both splits, then compare them."""
    count = config.split.folds
    least = folds.fewest(config)
    if count < least:
        raise ConfigError(f"config.split.folds = {count}: must be at least {least}, say 3")
    prepare.run(config, workdir)
    for kind in SPLITS:
        check(config, workdir, kind)
    found: dict[str, list[runs.Run]] = {name: [] for name in leakage.PROTOCOLS}
    leaks: dict[str, list[Any]] = {}
    for kind in SPLITS:
        own, root = split_config(config, kind), workdir / kind
        folds.share_stages(workdir, root)
        for fold in range(count):
            print(f"split by {kind}, fold {fold + 1} of {count}")
            folds.run_fold(own, root, fold, count)
            place = folds.fold_root(root, fold)
            fold_config = folds.fold_config(own, fold, count)
            found[kind].append(judged(fold_config, place, own_patient=kind == "slices"))
            if kind == "slices":
                found["slices_other_scans"].append(judged(fold_config, place, own_patient=False))
            leaks.setdefault(kind, []).append(files.read_json(place / "split" / "leaks.json"))
    protocols = {name: runs.pool(parts) for name, parts in found.items()}
    compare(protocols, leaks, workdir / "honesty", pdf=config.pdf)


def split_config(config: Config, kind: str) -> Config:
    """The same config under another kind of split."""
    return dataclasses.replace(config, split=dataclasses.replace(config.split, kind=kind))


def check(config: Config, workdir: Path, kind: str) -> None:
    """Refuse at once what a fold of this kind of split would be refused for.

    Raises:
      ConfigError: as `folds.check_folds`; names the kind.
    """
    try:
        folds.check_folds(split_config(config, kind), workdir, config.split.folds)
    except ConfigError as error:
        raise ConfigError(f"split by {kind}, {error}") from None


def judged(config: Config, workdir: Path, *, own_patient: bool) -> runs.Run:
    """The test queries of a finished fold, searched with or without their own patient's items."""
    stages.done(workdir, "evaluation")
    table = items.open_store(workdir / "prepare")
    data = train.labelled(config, table)
    images = train.pictures(workdir)
    rows = np.flatnonzero(data.side == "test")
    names, patients = items.item_names(table.items), items.patients(table.items)
    # Another scan of the query's patient leaks as much as its own scan.
    queries, gallery = (
        dataclasses.replace(
            evaluate.embedded(config, workdir, table, images, part), patients=patients[part]
        )
        for part in (rows, index.archived(data))
    )
    settings = dataclasses.replace(
        evaluate.search_settings(config, data.classes), own_group=own_patient
    )
    found = protocol.evaluate(queries, gallery, settings)
    return assess.query_run(found, queries, names=names[rows], patients=patients[rows])


def compare(
    protocols: dict[str, runs.Run], leaks: dict[str, list[Any]], out: Path, *, pdf: bool
) -> None:
    """Write the figure, the table and the numbers; print the numbers."""
    found = leakage.inflations(protocols)
    rows = leakage.rows(found)
    tables.write_table(out / "inflation", TABLE, rows)
    score = found[0].scores["patient"]
    title = (
        f"One recipe, two splits: {score.queries} queries of {score.patients} patients, "
        "each tested once under both"
    )
    style.save(leakage.figure(found, title=title), out / "inflation", pdf=pdf)
    files.write_json(
        out / "honesty.json",
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


if __name__ == "__main__":
    common.launch(run)
