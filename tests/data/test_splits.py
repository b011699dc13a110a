import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from inres.config import Config, ConfigError, Split
from inres.data import leaks, splits
from inres.data.item_table import write_table
from inres.data.items import Item
from inres.pipeline import split as split_stage


def archive(scans=40, each=5, **values):
    return [
        Item("", f"s{s}", f"n{s}.{i}", i % 3, subset=s % 10, **values)
        for s in range(scans)
        for i in range(each)
    ]


def pictures(count, seed=0):
    """Images without twins."""
    noise = np.random.default_rng(seed).normal(size=(count, 16, 16))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    return np.clip(120 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def scans(rows):
    return np.array([row.scan for row in rows])


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.3, 0.5]))
def test_random_splits_by_patient_share_no_scan(seed, share):
    rows = archive()
    side = splits.assign(rows, Split(kind="patient", test_share=share, seed=seed))
    assert not leaks.shared_groups(scans(rows), side)
    assert np.mean(side == "test") == pytest.approx(share, abs=0.03)
    assert leaks.leaking_share(rows, side) == 0.0


@given(st.integers(0, 1000))
def test_scans_of_one_patient_stay_together(seed):
    """Two scans per patient; for some items only the scan tells the patient."""
    rows = [
        dataclasses.replace(row, patient="" if i % 5 else f"p{int(row.scan[1:]) // 2}")
        for i, row in enumerate(archive())
    ]
    side = splits.assign(rows, Split(kind="patient", test_share=0.4, val_share=0.2, seed=seed))
    whose = np.array([f"p{int(row.scan[1:]) // 2}" for row in rows])
    assert not leaks.shared_groups(whose, side)
    assert set(side) == {"train", "val", "test"}


def test_subsets_are_on_the_configured_sides():
    rows = archive()
    side = splits.assign(rows, Split(test_subsets=(9, 1), val_subsets=(8,)))
    for row, name in zip(rows, side, strict=True):
        assert name == {9: "test", 1: "test", 8: "val"}.get(row.subset, "train")


@given(st.integers(0, 100), st.sampled_from(["patient", "slices"]), st.integers(2, 8))
def test_drawn_folds_test_every_item_once(seed, kind, folds):
    rows = archive()
    tested = np.zeros(len(rows), int)
    for fold in range(folds):
        config = Split(
            kind=kind, folds=folds, test_subsets=(fold,), val_subsets=(), val_share=0.0, seed=seed
        )
        side = splits.assign(rows, config)
        assert np.mean(side == "test") == pytest.approx(1 / folds, abs=0.05)
        assert kind == "slices" or not leaks.shared_groups(scans(rows), side)
        tested += side == "test"
    assert (tested == 1).all()


def test_the_papers_split_leaks_and_reports_how_much():
    """Compared with counting item by item; one picture is in two scans."""
    rows, images = archive(), pictures(200)
    config = Split(kind="slices", test_share=0.3, val_share=0.0)
    side = splits.assign(rows, config)
    train, test = np.flatnonzero(side == "train")[:1], np.flatnonzero(side == "test")[-1:]
    images[test] = images[train]
    assert scans(rows)[train] != scans(rows)[test]
    again, found = splits.split_items(rows, config, images)
    assert (again == side).all()
    assert np.mean(side == "test") == pytest.approx(0.3, abs=0.01)
    known = set(scans(rows)[side == "train"])
    by_hand = [row.scan in known for row, own in zip(rows, side, strict=True) if own == "test"]
    assert found["test_items_of_shared"] == {"scans": sum(by_hand), "patients": 0, "twins": 1}
    assert found["examples"] == [[rows[train[0]].nodule, rows[test[0]].nodule]]
    assert found["known"] == {"scan": True, "patient": False, "near-identical image": True}
    by_hand = [
        any(
            o.scan == r.scan and o.label > 0 and s == "train"
            for o, s in zip(rows, side, strict=True)
        )
        for r, own in zip(rows, side, strict=True)
        if own == "test" and r.label > 0
    ]
    assert found["nodule_share"] == leaks.leaking_share(rows, side) == np.mean(by_hand) > 0.5
    assert any("near-identical" in line for line in leaks.leak_lines(found))


def column(rows, side):
    return [dataclasses.replace(row, split=name) for row, name in zip(rows, side, strict=True)]


def left(rows, images, **values):
    config = Split(kind="column", val_share=0.0, overlap="drop", **values)
    side, found = splits.split_items(rows, config, images)
    assert found["shared"] == {"scans": 0, "patients": 0, "twins": 0}
    assert found["left_out"] == np.sum(side == "")
    return side


def test_a_scan_on_two_sides_is_refused_or_its_training_items_dropped():
    images = pictures(200)
    rows = archive()
    sides = ["test" if i == 3 else "train" for i in range(200)]
    rows = column(rows, sides)
    with pytest.raises(ValueError, match="s0 is on two sides"):
        splits.split_items(rows, Split(kind="column", val_share=0.0), images)
    want = ["" if r.scan == "s0" else "train" for r in rows]
    want[3] = "test"
    assert left(rows, images).tolist() == want


@pytest.mark.parametrize("named", [1, 20])
def test_a_patient_on_two_sides_is_refused_or_its_training_items_dropped(named):
    """Also if only the first `named` items of a scan name the patient."""
    images, seen = pictures(200), Counter()
    rows = archive()
    for i, row in enumerate(rows):
        seen[row.scan] += 1
        if row.scan in ("s0", "s9") and seen[row.scan] <= named:
            rows[i] = dataclasses.replace(row, patient="p")
    rows = column(rows, ["test" if r.scan in ("s8", "s9") else "train" for r in rows])
    with pytest.raises(ValueError, match="patient p is on two sides"):
        splits.split_items(rows, Split(kind="column", val_share=0.0), images)
    side = left(rows, images)
    assert {r.scan for r, s in zip(rows, side, strict=True) if not s} == {"s0"}


@pytest.mark.parametrize("sides", [("train", "test"), ("train", "val"), ("val", "test")])
def test_a_picture_on_two_sides_is_refused_or_the_earlier_one_dropped(sides):
    """A copy, shifted by a pixel and brighter by one level, under the name of another scan."""
    rows, images = archive(), pictures(200)
    named = ["train"] * 100 + ["val"] * 50 + ["test"] * 50
    earlier, later = (named.index(side) + 7 for side in sides)
    images[later] = np.minimum(np.roll(images[earlier], 1, axis=0), 254) + 1
    rows = column(rows, named)
    with pytest.raises(ValueError, match=rf"{rows[earlier].nodule}.*show the same picture"):
        splits.split_items(rows, Split(kind="column"), images)
    assert np.flatnonzero(left(rows, images) == "").tolist() == [earlier]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Split(kind="column"), "split column"),
        (Split(test_subsets=(11,), val_subsets=()), r"'test'; there are subsets 0, 1, .*\(11,\)"),
        (Split(kind="patient", test_share=0.0), "'test'; change config"),
    ],
)
def test_an_empty_side_is_named(config, message):
    with pytest.raises(ConfigError, match=message):
        splits.assign(archive(), config)


def test_the_stage_counts_rows_without_a_side_and_checks_classes(tmp_path, capsys):
    rows = column(archive(), ["train"] * 100 + ["test"] * 95 + [""] * 5)
    (tmp_path / "prepare").mkdir()
    np.save(tmp_path / "prepare" / "slices.npy", pictures(200))
    config = Config(split=Split(kind="column", val_share=0.0))
    write_table(tmp_path / "prepare" / "items.csv", rows)
    split_stage._split(config, tmp_path, tmp_path)
    assert "note: 5 items are on no side because their split is blank" in capsys.readouterr().out
    rows[150] = dataclasses.replace(rows[150], label=3)
    write_table(tmp_path / "prepare" / "items.csv", rows)
    with pytest.raises(ConfigError, match="class 3 has 1 test items but none to train on"):
        split_stage._split(config, tmp_path, tmp_path)


def test_a_single_patient_is_named():
    rows = [dataclasses.replace(row, patient="p") for row in archive()]
    with pytest.raises(ConfigError, match=r"'test'; all 200 items belong to one patient \(p\)"):
        splits.assign(rows, Split(kind="patient"))


def test_dropping_a_whole_side_is_refused():
    rows = column(archive(), ["test", "train", "train", "train", "train"] * 40)
    config = Split(kind="column", val_share=0.0, overlap="drop")
    with pytest.raises(ConfigError, match=r"no item on the side 'train': scan s0 is .*\(40 such"):
        splits.split_items(rows, config, pictures(200))


def test_items_without_a_subset_are_refused():
    rows = archive()
    rows[3:5] = [dataclasses.replace(row, subset=-1) for row in rows[3:5]]
    with pytest.raises(ConfigError, match=r"2 of 200.*row 3, n0\.3.*use 'patient' or 'column'"):
        splits.assign(rows, Split())


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (["train", "train", "val", "test"], "class 2 has 1 val items but none to train on"),
        (["train", "", "", "test"], "all training items are of class 0"),
    ],
)
def test_a_class_that_cannot_be_learned_is_named(sides, message):
    labels = np.array([0, 1, 2, 0])
    splits.require_trained(labels, np.array(["train", "train", "train", "test"]), Path("t.csv"))
    with pytest.raises(ConfigError, match=rf"t\.csv: {message}"):
        splits.require_trained(labels, np.array(sides), Path("t.csv"))


def test_items_of_unknown_scans_are_split_one_by_one():
    rows = [dataclasses.replace(r, scan="") for r in archive()]
    side, found = splits.split_items(rows, Split(kind="patient", test_share=0.3), pictures(200))
    assert np.mean(side == "test") == pytest.approx(0.3, abs=0.01)
    assert found["shared"]["scans"] == 0


def test_a_nodule_of_unknown_scan_is_kept_whole_or_refused():
    rows = [
        dataclasses.replace(row, scan="", nodule=f"n{i // 5}" if i < 150 else "")
        for i, row in enumerate(archive())
    ]
    side, found = splits.split_items(rows, Split(kind="patient", test_share=0.3), pictures(200))
    nodules = np.array([row.nodule for row in rows])
    assert not leaks.shared_groups(nodules, side)
    assert len(set(side[150:])) > 1
    assert found["nodule_share"] == 0.0
    rows = column(rows, ["test" if i in (3, 150) else "train" for i in range(200)])
    with pytest.raises(ValueError, match=r"nodule n0 is on two sides of the split \(1 such nod"):
        splits.split_items(rows, Split(kind="column", val_share=0.0), pictures(200))
    assert np.flatnonzero(left(rows, pictures(200)) == "").tolist() == [0, 1, 2, 4]
    named = [dataclasses.replace(row, patient=f"p{i}") for i, row in enumerate(rows)]
    assert splits.assign(named, Split(kind="column", val_share=0.0)).tolist().count("test") == 2
    splits.split_items(named, Split(kind="column", val_share=0.0), pictures(200))


@pytest.mark.parametrize("kind", ["patient", "slices", "subset"])
def test_side_slices_are_for_training_or_left_out(kind):
    central = archive()
    others = [dataclasses.replace(item, offset_mm=mm) for item in central for mm in (-2.0, 2.0)]
    rows = central + others
    side = splits.assign(rows, Split(kind=kind))
    trains = {i.nodule for i, name in zip(rows, side, strict=True) if name == "train"}
    named = dict(zip([i.nodule for i in central], side, strict=False))
    assert {n for n, name in named.items() if name == "train"} == trains
    found = side[len(central) :]
    assert set(found) == {"train", ""}
    for item, name in zip(others, found, strict=True):
        assert name == "" or named[item.nodule] == "train"


def stack_of_three(scan, side):
    """The slices of a nodule; the central one is the second."""
    return [
        Item(f"{scan}{i}.png", scan, "1", 1, offset_mm=2.5 * (i - 1), split=side) for i in range(3)
    ]


@pytest.mark.parametrize(("shared", "of_test"), [(0, 3), (1, 5), (2, 4)])
def test_a_nodule_of_which_one_slice_is_tested_is_left_out_as_a_whole(shared, of_test):
    """A network sees the slices beside the central one, in training and of a query."""
    rows = [*stack_of_three("a", "train"), *stack_of_three("b", "test"), *stack_of_three("c", "")]
    rows += [dataclasses.replace(row, split="train", scan="d") for row in rows[6:]]
    images = pictures(len(rows))
    rule = Split(kind="column", val_share=0.0, overlap="drop")
    side, found = splits.split_items(rows, rule, images)
    assert found["shared"]["twins"] == found["left_out"] == 0
    images[shared] = images[of_test]
    with pytest.raises(
        splits.LeakError, match=rf"a{shared}\.png .*b{of_test - 3}\.png .*same pict"
    ):
        splits.split_items(rows, dataclasses.replace(rule, overlap="refuse"), images)
    assert leaks.examine(rows, side, images)["test_items_of_shared"]["twins"] == 1
    dropped, found = splits.split_items(rows, rule, images)
    assert dropped[:3].tolist() == [""] * 3
    assert dropped[3:].tolist() == side[3:].tolist()
    assert (found["shared"]["twins"], found["left_out"]) == (0, 3)
