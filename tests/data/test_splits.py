import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.config import ConfigError, Split
from inres.data import splits
from inres.data.items import Item


def archive(scans=40, each=5, **values):
    return [
        Item("", f"s{s}", f"n{s}.{i}", i % 3, subset=s % 10, **values)
        for s in range(scans)
        for i in range(each)
    ]


@given(st.integers(0, 1000), st.sampled_from([0.1, 0.3, 0.5]))
def test_random_splits_by_scan_share_no_scan(seed, share):
    rows = archive()
    side = splits.split_items(rows, Split(kind="scan", test_share=share, seed=seed))
    assert not splits.overlap(np.array([r.scan for r in rows]), side)
    assert np.mean(side == "test") == pytest.approx(share, abs=0.03)
    assert splits.leaking_share(rows, side) == 0.0


def test_subsets_go_where_they_are_sent():
    rows = archive()
    side = splits.split_items(rows, Split(test_subsets=(9, 1), val_subsets=(8,)))
    for row, name in zip(rows, side, strict=True):
        assert name == {9: "test", 1: "test", 8: "val"}.get(row.subset, "train")


def test_the_papers_split_leaks_and_says_how_much():
    rows = archive()
    side = splits.split_items(rows, Split(kind="slices", test_share=0.3, val_share=0.0))
    assert np.mean(side == "test") == pytest.approx(0.3, abs=0.01)
    by_hand = [
        any(
            o.scan == r.scan and o.label > 0 and s == "train"
            for o, s in zip(rows, side, strict=True)
        )
        for r, own in zip(rows, side, strict=True)
        if own == "test" and r.label > 0
    ]
    assert splits.leaking_share(rows, side) == np.mean(by_hand) > 0.5


def test_a_column_that_splits_a_scan_is_refused():
    rows = archive(split="train")
    rows[3] = dataclasses.replace(rows[3], split="test")
    with pytest.raises(ValueError, match="s0 stands on two sides"):
        splits.split_items(rows, Split(kind="column", val_share=0.0))
    dropped = splits.split_items(rows, Split(kind="column", val_share=0.0, shared_scans="drop"))
    want = ["" if r.scan == "s0" else "train" for r in rows]
    want[3] = "test"
    assert dropped.tolist() == want


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Split(kind="column"), "split column"),
        (Split(test_subsets=(11,), val_subsets=()), "'test'"),
        (Split(kind="scan", test_share=0.0), "'test'"),
    ],
)
def test_an_empty_side_is_named(config, message):
    with pytest.raises(ConfigError, match=message):
        splits.split_items(archive(), config)


def test_items_without_a_subset_are_told_what_to_do():
    rows = [dataclasses.replace(r, subset=-1) for r in archive()]
    with pytest.raises(ConfigError, match="use 'scan' or 'column'"):
        splits.split_items(rows, Split())
