"""Properties of queries and items: records before estimates, and nothing of what is not there."""

import numpy as np
import pytest

from inres.data.properties import PropertyScale
from inres.searching import properties
from inres.storage import store

NAMES = ("diameter_mm", "texture", "lung_height")
SCALE = PropertyScale(NAMES, np.array([np.log(8.0), 4.0, 0.5]), np.array([0.5, 2.0, 0.25]))


def test_a_record_knows_neither_nan_nor_a_diameter_of_nothing():
    record = {"diameter_mm": 0.0, "texture": float("nan"), "lung_height": 0.0, "item": 3}
    assert properties.known(record, NAMES) == {"lung_height": 0.0}
    assert properties.known({"texture": 4, "diameter_mm": None}, NAMES) == {"texture": 4.0}


def test_estimates_are_in_units_and_within_the_limits_of_the_property():
    row = np.array([1.0, 1.5, -1.0], np.float32)
    found = properties.estimated(row, SCALE)
    assert found == pytest.approx(
        {"diameter_mm": 8 * np.exp(0.5), "texture": 5, "lung_height": 0.25}
    )
    assert [*properties.estimated(row, SCALE, has_nodule=False)] == ["lung_height"]


def test_differences_are_in_standard_deviations_of_the_logarithm_for_sizes():
    found = properties.differences(
        {"diameter_mm": 10.0, "texture": 5.0}, {"diameter_mm": 5.0, "lung_height": 1.0}, SCALE
    )
    assert found == pytest.approx({"diameter_mm": np.log(2) / 0.5}, rel=1e-6)
    nothing = PropertyScale((), np.zeros(0), np.zeros(0))
    assert properties.differences({}, {}, nothing) == {}


def test_archived_items_have_their_records_values_or_else_estimates(tmp_path, monkeypatch):
    records = {
        "item": [4, 0, 2, 3],
        "label": [3, 0, 4, 0],
        "diameter_mm": [16.0, 0.0, np.nan, 0.0],
        "texture": [np.nan, np.nan, 2.0, 1.0],
        "scan": ["a", "b", "c", "d"],
    }  # no column lung_height
    codes, features = np.zeros((4, 1), np.uint32), np.zeros((4, 1), np.float32)
    store.save(tmp_path / "a", codes, features, records, bits=8, model="m", shard_rows=3)
    estimates = np.arange(15, dtype=np.float32).reshape(5, 3) / 20 - 0.3
    estimates[4, 1] = 10  # above the highest texture
    monkeypatch.setattr(properties, "BLOCK", 3)
    opened = store.load(tmp_path / "a").records
    found = properties.archived(opened, estimates, SCALE, no_nodule=0)
    assert found.dtype == np.float32
    nan = np.nan
    want = [
        [np.log(2) / 0.5, nan, estimates[2, 0], nan],
        [0.5, nan, -1.0, -1.5],
        estimates[[4, 0, 2, 3], 2],
    ]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
    every = properties.archived(opened, estimates, SCALE, no_nodule=-1)
    np.testing.assert_allclose(every[0, [1, 3]], estimates[[0, 3], 0], rtol=1e-5)
