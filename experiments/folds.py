"""Test every item once: a run for each fold, their queries pooled (8 train, 1 validates, 1 tests).

    python -m experiments.folds --config=experiments/configs/luna16.py \\
        --config.data.root=LUNA16 --workdir=runs/luna16_folds

The largest class of LUNA16 has 19 nodules, so one fold tests two of them. Folds are the official
subsets, or --config.split.folds drawn at random (--config.split.kind=patient). Fold i tests on
subset i and validates on the one before it, where the config validates at all. The items are
prepared once and shared; everything that learns, the U-Net too, is made anew for each fold, in
<workdir>/folds/<i>, a workdir like any other. Interrupted, it goes on where it stopped; --only=2,3
makes some folds alone, say on another machine, whose folders folds/2 and folds/3 are then copied.

Leaves <workdir>/evaluation: per_query.npz (as one run, for `experiments.compare`), folds.json,
rankings.csv and rankings.tex, with intervals over patients; nodules/, the searches for whole
nodules, where no nodule is in two folds. A query is searched in its own fold's archive by its own
fold's network; only its scores are pooled. Takes as long as the folds.
"""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from experiments import common, evaluate, index, prepare, segment, split, train
from inres import vocabulary
from inres.config import Config, ConfigError
from inres.data import duplicates, items, splits
from inres.evaluation import intervals, nodules, runs
from inres.pipeline import stages
from inres.system import files, tables

ONLY = flags.DEFINE_list("only", [], "Folds to make; empty: all, and pool them.")

SHARED = ("scans", "prepare")
"""Stages that know nothing of the split."""
MEASURES = ("average_precision", "precision", "ndcg", "recall")
"""Metrics of the pooled table, as macro means."""


def run(config: Config, workdir: Path) -> None:
    """Make the folds and pool them."""
    prepare.run(config, workdir)
    count = fold_count(config, workdir)
    check_folds(config, workdir, count)
    chosen = _only(count) or list(range(count))
    for fold in chosen:
        print(f"fold {fold}, {chosen.index(fold) + 1} of {len(chosen)}")
        run_fold(config, workdir, fold, count)
    if len(chosen) == count:
        pool(config, workdir, count)


def check_folds(config: Config, workdir: Path, count: int) -> None:
    """Refuse at once what the last fold would be refused for.

    Raises:
      ConfigError: a fold has an empty side, or tests a class that it does not train, or a patient,
        a scan or a picture stands on two sides of it.
    """
    table = items.open_store(workdir / "prepare")
    small = duplicates.thumbnails(table.slices)  # as images they are their own thumbnails
    for fold in range(count):
        try:
            rule = fold_config(config, fold, count).split
            side, _ = splits.split_items(table.items, rule, small)
            splits.require_trained(table.column("label"), side, table.root / "items.csv")
        except ValueError as error:
            raise ConfigError(f"fold {fold} of {count}: {error}") from None


def fold_count(config: Config, workdir: Path) -> int:
    """How many folds there are.

    Raises:
      ConfigError: the split has no folds, or fewer than it needs.
    """
    kind, least = config.split.kind, fewest(config)
    if kind == "subset":
        table = items.open_store(workdir / "prepare").items
        present = sorted(set(splits.subsets(table, config.split).tolist()))
        count = present[-1] + 1
        if len(present) != count:
            raise ConfigError(
                f"{workdir / 'prepare'}: subsets {present} are there, but folds need all of "
                f"0..{count - 1}; draw them with --config.split.kind=patient "
                "--config.split.folds=10"
            )
    elif kind == "column" or not config.split.folds:
        raise ConfigError(
            f"config.split.kind = {kind!r} without config.split.folds has no folds; use 'subset', "
            "or 'patient' with --config.split.folds=10"
        )
    else:
        count = config.split.folds
    if count < least:
        raise ConfigError(f"config.split: {count} folds, at least {least} are needed")
    return count


def fewest(config: Config) -> int:
    """Folds that are needed: one tests, one validates where the config does, one trains."""
    return 3 if _validates(config) else 2


def _validates(config: Config) -> bool:
    return bool(config.split.val_subsets) or config.split.val_share > 0


def fold_config(config: Config, fold: int, count: int) -> Config:
    """The config of one fold: it tests on one subset and validates on the one before."""
    validating = ((fold - 1) % count,) if _validates(config) else ()
    part = dataclasses.replace(config.split, test_subsets=(fold,), val_subsets=validating)
    return dataclasses.replace(config, split=part)


def fold_root(workdir: Path, fold: int) -> Path:
    """The workdir of one fold."""
    return workdir / "folds" / str(fold)


def run_fold(config: Config, workdir: Path, fold: int, count: int) -> None:
    """All stages of one fold, in its own workdir, on the shared items."""
    root, own = fold_root(workdir, fold), fold_config(config, fold, count)
    with stages.lock(root):
        common.redo(root)
        share_stages(workdir, root)
        for stage in (split, segment, train, index, evaluate):
            stage.run(own, root)
        common.describe(root, own)


def share_stages(source: Path, root: Path) -> None:
    """Let the workdir `root` use the scans and items of the workdir `source`, by links."""
    root.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        link, target = root / name, source / name
        if target.is_dir() and not link.is_symlink():
            link.symlink_to(os.path.relpath(target.resolve(), root.resolve()))


def pool(config: Config, workdir: Path, count: int) -> dict[str, Any]:
    """Put the folds' queries together; write and print what they say as one."""
    roots = [fold_root(workdir, fold) for fold in range(count)]
    pooled = runs.pool([runs.read(root / "evaluation") for root in roots])
    out = workdir / "evaluation"
    rows = ranking_rows(pooled)
    columns = {"ranking": "ranking"} | {
        f"{measure}{end}": f"{vocabulary.mean_title(measure, macro=True)}{words}"
        for measure in MEASURES
        for end, words in (("", ""), ("_low", ", low"), ("_high", ", high"))
    }
    tables.write_table(out / "rankings", columns, rows)
    result = {
        "folds": count,
        "queries": len(pooled),
        "patients": len(set(intervals.patient_rows(pooled.patients).tolist())),
        "queries_by_class": {
            str(label): int((pooled.labels == label).sum())
            for label in sorted(set(pooled.labels.tolist()))
        },
        "leaks": [files.read_json(root / "split" / "leaks.json") for root in roots],
        "rankings": rows,
    }
    files.write_json(out / "folds.json", result)
    runs.write(out, pooled)
    note = pool_nodules(roots, out / nodules.FOLDER)
    print(f"\n{len(pooled)} test queries of {result['patients']} patients in {count} folds")
    for row in rows:
        value, low, high = (row[f"average_precision{end}"] for end in ("", "_low", "_high"))
        print(f"  {row['ranking']:<20} macro mAP {value:.3f} [{low:.3f}, {high:.3f}]")
    if note:
        print(f"  note: {note}")
    print(f"\n  tables   {out}")
    return result


def pool_nodules(roots: Sequence[Path], out: Path) -> str:
    """Put the folds' searches for whole nodules together in the folder `out`.

    Where a nodule has slices in several folds (`split.kind` = `slices`), each holds but a part of
    it, and where a fold has no such search there is nothing to pool: then there is no `out`.

    Returns:
      Why there is none, in words, where folds have such searches; else empty.
    """
    shutil.rmtree(out, ignore_errors=True)
    there = [root / "evaluation" / nodules.FOLDER for root in roots]
    missing = [root.name for root, path in zip(roots, there, strict=True) if not path.is_dir()]
    if len(missing) == len(roots):
        return ""
    if missing:
        return f"whole nodules are not pooled: fold {missing[0]} has no search for them"
    found = [runs.read(path) for path in there]
    names, counts = np.unique(np.concatenate([run.names for run in found]), return_counts=True)
    if (counts > 1).any():
        return (
            f"whole nodules are not pooled: {(counts > 1).sum()} have slices in several folds "
            f"(first: {names[counts > 1][0]})"
        )
    runs.write(out, runs.pool(found))
    return ""


def ranking_rows(run: runs.Run) -> list[dict[str, Any]]:
    """A row for each ranking: the macro mean of each measure, and its interval."""
    named = {
        f"{ranking}/{measure}": run.measure(ranking, measure)
        for ranking, measures in run.values.items()
        for measure in MEASURES
        if measure in measures
    }
    found = intervals.mean_intervals(named, run.patients, run.labels)
    rows: dict[str, dict[str, Any]] = {}
    for name, interval in found.items():
        ranking, measure = name.split("/", 1)
        plain = interval.as_json()
        rows.setdefault(ranking, {"ranking": ranking}).update(
            {
                measure: plain["value"],
                f"{measure}_low": plain["low"],
                f"{measure}_high": plain["high"],
            }
        )
    return list(rows.values())


def _only(count: int) -> list[int]:
    """The folds that --only names."""
    bad = [text for text in ONLY.value if not text.isdigit() or int(text) >= count]
    if bad:
        raise ValueError(f"--only={','.join(ONLY.value)}: {bad[0]!r} is no fold of 0..{count - 1}")
    return sorted({int(text) for text in ONLY.value})


if __name__ == "__main__":
    common.launch(run)
