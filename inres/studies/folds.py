"""Cross-validation: a run for each fold, so that every item is tested once; queries are pooled."""

import dataclasses
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres import vocabulary
from inres.config import Config, ConfigError
from inres.data import duplicates, splits
from inres.evaluation import intervals, nodules, runs
from inres.pipeline import artifacts, run, stages, workdir
from inres.system import files, tables

SHARED = ("scans", "prepare")
"""Stages that do not depend on the split."""
MEASURES = ("average_precision", "precision", "ndcg", "recall")
"""Metrics of the pooled table, as macro means."""


POOLED = "folds.json"
"""File of the pooled scores."""


# --- which folds ----------------------------------------------------------------------------------


def fold_count(config: Config, root: Path) -> int:
    """Number of folds of the prepared items in the workdir `root`.

    Raises:
      ConfigError: the split has no folds, or fewer than it needs.
    """
    kind, least = config.split.kind, fewest_folds(config)
    if kind == "subset":
        table = artifacts.open_items(root).items
        present = sorted(set(splits.subsets(table, config.split).tolist()))
        count = present[-1] + 1
        if len(present) != count:
            raise ConfigError(
                f"{root / 'prepare'}: there are subsets {present}, but folds need all of "
                f"0..{count - 1}; draw them with config.split.kind = 'patient' and "
                "config.split.folds = 10"
            )
    elif kind == "column" or not config.split.folds:
        raise ConfigError(
            f"config.split.kind = {kind!r} without config.split.folds has no folds; use 'subset', "
            "or 'patient' with config.split.folds = 10"
        )
    else:
        count = config.split.folds
    if count < least:
        raise ConfigError(f"config.split: {count} folds, at least {least} are needed")
    return count


def fewest_folds(config: Config) -> int:
    """Folds that are needed: one tests, one validates if the config validates, one trains."""
    return 3 if _validates(config) else 2


def _validates(config: Config) -> bool:
    return bool(config.split.val_subsets) or config.split.val_share > 0


def fold_config(config: Config, fold: int, count: int) -> Config:
    """The config of one fold: it tests on one subset and validates on the one before."""
    validating = ((fold - 1) % count,) if _validates(config) else ()
    part = dataclasses.replace(config.split, test_subsets=(fold,), val_subsets=validating)
    return dataclasses.replace(config, split=part)


def fold_workdir(root: Path, fold: int) -> Path:
    """The workdir of one fold."""
    return root / "folds" / str(fold)


def check_folds(config: Config, root: Path, count: int) -> None:
    """Check the splits of all folds before the first is run.

    Raises:
      ConfigError: a fold has an empty side, tests a class that it does not train, or has a
        patient, a scan or an image on two sides.
    """
    table = artifacts.open_items(root)
    small = duplicates.thumbnails(table.slices)  # as images they are their own thumbnails
    for fold in range(count):
        try:
            rule = fold_config(config, fold, count).split
            side, _ = splits.split_items(table.items, rule, small)
            splits.require_trained(table.column("label"), side, table.root / "items.csv")
        except ValueError as error:
            raise ConfigError(f"fold {fold} of {count}: {error}") from None


# --- running them ---------------------------------------------------------------------------------


def request_redo(root: Path, folds: Sequence[int], names: Collection[str]) -> None:
    """Have stages of the given folds computed again; those that folds share are left out."""
    for fold in folds:
        own_root = fold_workdir(root, fold)
        wanted = [stage for stage in stages.to_redo(own_root, names) if stage not in SHARED]
        if wanted:
            with stages.lock(own_root):
                stages.request_redo(own_root, wanted)


def run_fold(config: Config, root: Path, fold: int, count: int, *, command: str) -> None:
    """Run all stages of one fold in its own workdir, on the shared items.

    `command` is recorded in the fold's environment.
    """
    own_root, own = fold_workdir(root, fold), fold_config(config, fold, count)
    with stages.lock(own_root):
        share_stages(root, own_root)
        for name, stage in run.STAGES.items():
            if name not in SHARED:
                stage(own, own_root)
        workdir.describe(own_root, own, command=command)


def share_stages(source: Path, root: Path) -> None:
    """Let the workdir `root` use the scans and items of the workdir `source`, by links."""
    root.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        link, target = root / name, source / name
        if target.is_dir() and not link.is_symlink():
            link.symlink_to(os.path.relpath(target.resolve(), root.resolve()))


# --- pooling --------------------------------------------------------------------------------------


def pool(root: Path, count: int) -> dict[str, Any]:
    """Pool the folds' queries; write and print the scores over all of them.

    Writes `<root>/evaluation`: per_query.npz (as of one run), folds.json, the table `rankings`, and
    nodules/, the searches for whole nodules, if no nodule is in two folds.

    Returns:
      What folds.json holds.
    """
    workdir.require_output(root / "evaluation", POOLED)
    roots = [fold_workdir(root, fold) for fold in range(count)]
    pooled = runs.pool([runs.read(one / "evaluation") for one in roots])
    out = root / "evaluation"
    rows = ranking_rows(pooled)
    columns = {"ranking": "ranking"} | {
        f"{measure}{end}": f"{vocabulary.mean_title(measure, macro=True)}{words}"
        for measure in MEASURES
        for end, words in (("", ""), ("_low", ", low"), ("_high", ", high"))
    }
    result = {
        "folds": count,
        "queries": len(pooled),
        "patients": len(set(intervals.patient_rows(pooled.patients).tolist())),
        "queries_by_class": {
            str(label): int((pooled.labels == label).sum())
            for label in sorted(set(pooled.labels.tolist()))
        },
        "leaks": [artifacts.leaks(one) for one in roots],
        "rankings": rows,
    }
    files.write_json(out / POOLED, result)  # first: it marks the folder as ours
    tables.write_table(out / "rankings", columns, rows)
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
    """Pool the folds' searches for whole nodules in the folder `out`.

    If a nodule has slices in several folds (`split.kind` = `slices`), each fold holds only a part
    of it, and if a fold has no such search there is nothing to pool: then `out` does not exist.

    Returns:
      The reason why they are not pooled although some folds have them; else empty.
    """
    if out.is_dir():
        shutil.rmtree(out)
    found_at = [root / "evaluation" / nodules.FOLDER for root in roots]
    missing = [root.name for root, path in zip(roots, found_at, strict=True) if not path.is_dir()]
    if len(missing) == len(roots):
        return ""
    if missing:
        return f"whole nodules are not pooled: fold {missing[0]} has no search for them"
    found = [runs.read(path) for path in found_at]
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
