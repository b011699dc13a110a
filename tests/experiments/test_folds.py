"""Folds: every item is tested once, each fold has its own workdir, and queries are pooled."""

import dataclasses
import json

import numpy as np
import pytest

from inres.config import Config, ConfigError, Split
from inres.data import splits
from inres.data.item_table import write_table
from inres.data.items import Item
from inres.evaluation import metrics, runs
from inres.pipeline import run as pipeline
from inres.studies import folds, honesty


def archive(root, subsets=range(4)):
    rows = [
        Item("", f"s{s}", f"n{s}.{i}", i % 3, subset=s % len(subsets))
        for s in range(8)
        for i in "012"
        for i in [int(i)]
    ]
    rows = [dataclasses.replace(row, subset=subsets[row.subset]) for row in rows]
    write_table(root / "prepare" / "items.csv", rows)
    np.save(root / "prepare" / "slices.npy", pictures(len(rows)))
    return rows


def pictures(count):
    """Images that all differ."""
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize(
    "split", [Split(), Split(kind="patient", folds=4, test_subsets=(3,), val_subsets=(1,))]
)
def test_every_item_is_tested_once_and_validates_once(tmp_path, split):
    rows = archive(tmp_path)
    config = Config(split=split)
    assert folds.fold_count(config, tmp_path) == 4
    seen = {name: np.zeros(len(rows), int) for name in splits.SIDES}
    for fold in range(4):
        side = splits.assign(rows, folds.fold_config(config, fold, 4).split)
        for name in seen:
            seen[name] += side == name
    assert {name: set(count) for name, count in seen.items()} == {
        "train": {2},
        "val": {1},
        "test": {1},
    }
    without = Config(split=dataclasses.replace(split, val_subsets=(), val_share=0.0))
    assert folds.fold_config(without, 2, 4).split.val_subsets == ()


@pytest.mark.parametrize(
    ("split", "subsets", "message"),
    [
        (Split(kind="column"), range(4), "has no folds"),
        (Split(kind="patient"), range(4), "has no folds"),
        (Split(), (0, 1, 3), r"there are subsets \[0, 1, 3\]"),
        (Split(), (0, 1), "at least 3"),
    ],
)
def test_a_split_without_folds_is_refused(tmp_path, split, subsets, message):
    archive(tmp_path, subsets)
    with pytest.raises(ConfigError, match=message):
        folds.fold_count(Config(split=split), tmp_path)


def test_a_fold_that_cannot_be_trained_is_refused_before_the_first(tmp_path):
    rows = archive(tmp_path)
    folds.check_folds(Config(), tmp_path, 4)
    rows[-1] = dataclasses.replace(
        rows[-1], label=3
    )  # the only item of its class; fold 0 validates on it
    write_table(tmp_path / "prepare" / "items.csv", rows)
    with pytest.raises(ConfigError, match=r"fold 0 of 4: .*class 3 has 1 val items but none"):
        folds.check_folds(Config(), tmp_path, 4)


@pytest.mark.parametrize(
    ("overlap", "message"),
    [
        ("refuse", r"fold 0 of 4: n7\.2 .* and n0\.0 .* show the same picture"),
        ("drop", "fold 0 of 4: .*class 3 has 1 test items but none to train on"),
    ],
)
def test_what_stands_on_two_sides_of_a_fold_is_seen_before_the_first(tmp_path, overlap, message):
    """The two items of class 3 are one image: when one is tested, the other is dropped."""
    rows, images = archive(tmp_path), pictures(24)
    for row in (0, -1):
        rows[row] = dataclasses.replace(rows[row], label=3)
    write_table(tmp_path / "prepare" / "items.csv", rows)
    images[-1] = images[0]
    np.save(tmp_path / "prepare" / "slices.npy", images)
    split = Split(overlap=overlap, val_subsets=(), val_share=0.0)
    with pytest.raises(ConfigError, match=message):
        folds.check_folds(Config(split=split), tmp_path, 4)


@pytest.mark.parametrize("kind", ["slices", "patient"])
def test_honesty_checks_every_fold_of_both_splits_before_training(tmp_path, monkeypatch, kind):
    rows = archive(tmp_path)
    count = {"slices": 24, "patient": 8}[kind]  # with `slices` each item is a fold
    rows[-1] = dataclasses.replace(rows[-1], label=3)
    write_table(tmp_path / "prepare" / "items.csv", rows)
    split = Split(kind=kind, folds=count, test_subsets=(0,), val_subsets=(), val_share=0.0)
    monkeypatch.setattr(honesty, "SPLITS", (kind,))
    monkeypatch.setattr(honesty, "prepare_items", lambda config, root: None)
    monkeypatch.setattr(folds, "run_fold", lambda *given, **named: pytest.fail("trained"))
    with pytest.raises(ConfigError, match=f"split by {kind}, fold .*class 3 has 1 test items but"):
        honesty.compare_splits(Config(split=split), tmp_path, redo=(), command="")


def test_honesty_leaves_out_other_scans_of_the_patient_too(tmp_path, monkeypatch):
    """The only item near the query belongs to the same patient but to another scan."""
    from inres.pipeline import artifacts, judge

    table = [
        Item("", scan, f"n{i}", label, patient=patient)
        for i, (scan, patient, label) in enumerate(
            [("a", "p", 1), ("b", "p", 1), ("c", "q", 0), ("d", "r", 1)]
        )
    ]
    write_table(tmp_path / "prepare" / "items.csv", table)
    np.save(tmp_path / "prepare" / "slices.npy", pictures(4))
    vectors = np.array([[0.0], [0.1], [1.0], [2.0]], np.float32)
    labels = np.array([item.label for item in table])
    side = np.array(["test", "train", "train", "train"])
    data = artifacts.Labelled(tuple(table), labels, side, ("0", "1"))

    class Encoded:
        @staticmethod
        def side(rows, *, archived):
            path, codes = tmp_path / "x", np.zeros((4, 2), bool)
            given = judge.Given(path, path, path, data.items, vectors, codes, None)
            one = judge._embedded(given, rows, judge.Settings())
            fc3 = np.eye(2, dtype=np.float32)[one.labels]
            named = {"joined": vectors[rows], "fc1": vectors[rows], "fc3": fc3}
            return dataclasses.replace(one, features=named)

    monkeypatch.setattr(honesty.stages, "done", lambda *given: "")
    monkeypatch.setattr(honesty.artifacts, "labelled", lambda *given: data)
    monkeypatch.setattr(honesty.artifacts, "network_inputs", lambda *given: np.zeros((4, 2, 2, 1)))
    monkeypatch.setattr(honesty.EncodedRun, "load", lambda *given: Encoded)
    scores = {
        own: honesty.judge_fold(Config(), tmp_path, own_patient=own).measure(
            "fc1", "average_precision"
        )
        for own in (True, False)
    }
    assert scores[True] == pytest.approx(np.mean([1, 2 / 3]))
    assert scores[False] == pytest.approx(1 / 2)  # behind the item of another class


def test_a_fold_learns_anew_on_shared_items(tmp_path, monkeypatch):
    """Each stage gets the fold's config and workdir, which contains the shared items."""
    archive(tmp_path)
    calls = []
    for name in pipeline.STAGES:
        monkeypatch.setitem(
            pipeline.STAGES,
            name,
            lambda config, root, name=name: calls.append((name, config, root)),
        )
    config = Config()
    for _ in range(2):  # the second time everything is complete
        folds.run_fold(config, tmp_path, 3, 4, command="")
    root = tmp_path / "folds" / "3"
    assert [name for name, *_ in calls[:5]] == ["split", "segment", "train", "index", "evaluation"]
    assert {str(place) for _, _, place in calls} == {str(root)}
    assert {own.split.test_subsets for _, own, _ in calls} == {(3,)}
    assert {own.split.val_subsets for _, own, _ in calls} == {(2,)}
    assert (root / "prepare").samefile(tmp_path / "prepare")
    assert not (root / "scans").exists()
    assert json.loads((root / "config.json").read_text())["split"]["test_subsets"] == [3]


def test_queries_of_all_folds_are_pooled(tmp_path, capsys):
    rng = np.random.default_rng(0)
    made = []
    for fold in range(3):
        names = np.array([f"q{fold}.{i}" for i in range(8)])
        values = {"two_stage": {"average_precision": rng.random(8), "ndcg": rng.random(8)}}
        run = runs.Run(names, names, np.arange(8) % (2 + fold), values)
        root = folds.fold_workdir(tmp_path, fold)
        runs.write(root / "evaluation", run)
        runs.write(root / "evaluation" / "nodules", run.take(np.arange(0, 8, 2)))
        (root / "split").mkdir()
        found = {"items": 8, "test_items_of_shared": {}, "nodule_share": 0.0, "left_out": {}}
        leaks = json.dumps(found | {"shared": {"twins": fold}})
        (root / "split" / "leaks.json").write_text(leaks)
        made.append(run)
    folds.pool(tmp_path, 3)
    values, labels = (
        np.concatenate(parts)
        for parts in (
            [run.measure("two_stage", "average_precision") for run in made],
            [run.labels for run in made],
        )
    )
    found = json.loads((tmp_path / "evaluation" / "folds.json").read_text())
    (row,) = found["rankings"]
    assert row["average_precision"] == pytest.approx(metrics.macro(values, labels))
    assert row["average_precision_low"] < row["average_precision"] < row["average_precision_high"]
    assert (found["queries"], found["patients"]) == (24, 24)
    assert [leak["shared"]["twins"] for leak in found["leaks"]] == [0, 1, 2]
    assert len(runs.read(tmp_path / "evaluation")) == 24
    assert len(runs.read(tmp_path / "evaluation" / "nodules")) == 12
    said = capsys.readouterr().out
    assert "24 test queries of 24 patients in 3 folds" in said
    assert "note" not in said


@pytest.mark.parametrize(
    ("names", "note"),
    [
        ((["s/n0", "s/n1"], ["s/n1", "s/n2"]), r"1 have slices in several folds (first: s/n1)"),
        ((["s/n0", "s/n1"], None), "fold 1 has no search for them"),
        ((None, None), ""),
    ],
)
def test_nodules_that_are_in_two_folds_are_not_pooled(tmp_path, names, note):
    roots, out = [folds.fold_workdir(tmp_path, fold) for fold in range(2)], tmp_path / "nodules"
    for root, mine in zip(roots, names, strict=True):
        if mine:
            values = {"two_stage": {"average_precision": np.ones(2)}}
            run = runs.Run(np.array(mine), np.array(mine), np.arange(2), values)
            runs.write(root / "evaluation" / "nodules", run)
            runs.write(out, run)  # from earlier pooling
    assert note in folds.pool_nodules(roots, out)
    assert bool(folds.pool_nodules(roots, out)) == bool(note)
    assert not out.exists()
