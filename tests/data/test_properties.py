"""Properties of items: which are learned."""

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
