"""Properties of items: which are learned, and which are known."""

import math

import numpy as np
import pytest

from inres import vocabulary
from inres.config import ConfigError
from inres.data import properties
from inres.data.items import Item


def items(names, count=40):
    return [
        Item(f"{n}", "s", properties={name: 1 + 0.1 * (n % 7) for name in names})
        for n in range(count)
    ]


def test_auto_learns_only_what_an_image_shows():
    found = items(["pleura_mm", "margin", "lung_side", "texture", "mine"])
    assert properties.chosen(("auto",), found) == ("texture", "margin")
    assert properties.chosen(("auto", "pleura_mm", "mine"), found) == (
        *("texture", "margin", "pleura_mm", "mine"),
    )
    assert properties.chosen(("lung_side",), found) == ("lung_side",)
    hidden = {one.name for one in vocabulary.PROPERTIES if one.location}
    assert hidden == {"lung_side", "lung_height", "pleura_mm"}
    with pytest.raises(ConfigError, match=r"'spiculation' is known of 0 training items"):
        properties.chosen(("spiculation",), found)


def test_columns_are_all_known_properties_in_the_order_of_tables():
    known = [
        Item("", "a", diameter_mm=0.0, properties={"own": 1.0, "margin_sd": 0.5}),
        Item("", "b", diameter_mm=8.0, properties={"texture": 4.0, "other": math.nan}),
    ]
    found = properties.columns(known)
    assert list(found) == ["diameter_mm", "texture", "own"]  # no rating of malignancy is known
    np.testing.assert_array_equal(found["diameter_mm"], [np.nan, 8.0])
    np.testing.assert_array_equal(found["texture"], [np.nan, 4.0])
    np.testing.assert_array_equal(found["own"], [1.0, np.nan])
