"""Which slices of a nodule the network is trained on."""

import dataclasses

import numpy as np
import pytest

from inres.config import Config, Data
from inres.data.item_store import ItemStore
from inres.data.items import Item
from inres.pipeline import artifacts, evaluate, split

OFFSETS = (0.0, -2.5, 2.5, 0.0, 2.5, 0.0)
SIDES = ("train", "train", "train", "train", "train", "test")


@pytest.mark.parametrize(
    ("kind", "stacked", "rows"),
    [
        ("folder", False, [0, 3]),  # slices beside the central one look smaller than their label
        ("folder", True, [0, 3]),
        ("luna16", False, [0, 1, 2, 3, 4]),  # only those within half a radius were cut
        ("luna16", True, [0, 3]),  # the network sees the others beside the central one
    ],
)
def test_slices_beside_the_central_one(tmp_path, kind, stacked, rows):
    items = tuple(Item("", "s", offset_mm=offset) for offset in OFFSETS)
    images = np.zeros((6, 4, 4), np.uint8)
    store = ItemStore(tmp_path, items, images, None)
    if stacked:
        store = dataclasses.replace(store, neighbours=np.zeros((6, 2, 4, 4), np.uint8))
    data = artifacts.Labelled(items, np.zeros(6, np.int32), np.array(SIDES), ("a", "b"))
    config = Config(data=Data(kind=kind))
    np.testing.assert_array_equal(artifacts.training_rows(config, store, data), rows)
    counts = evaluate.class_counts(config, store, data)
    assert counts == {"train": [len(rows), 0], "val": [0, 0], "test": [1, 0]}


def test_the_split_says_how_many_slices_are_central():
    table = [Item("", "s", offset_mm=offset) for offset in OFFSETS]
    words = split._counts({"train": 5, "val": 0, "test": 1}, table, np.array(SIDES))
    assert words == ["5 train (2 central)", "0 val", "1 test"]
