"""What training looks at before it starts."""

from pathlib import Path

import numpy as np
import pytest

from inres import config as lib
from inres.pipeline import train


def test_blank_images_are_counted_and_nothing_else_is_refused():
    images = np.zeros((6, 4, 4, 3), np.uint8)
    path = Path("w/inputs.npy")
    with pytest.raises(
        ValueError, match=r"inputs.npy: all 2 training images are blank .*config\.segment"
    ):
        train.blank_notes(images, np.array([0, 3]), path, "crop")
    with pytest.raises(ValueError, match=r"\(segment/examples.png\): use none \(config.items.seg"):
        train.blank_notes(images, np.array([0, 3]), path, "cube")
    images[3, 1, 2, 0] = 1  # a neighbour alone
    (note,) = train.blank_notes(images, np.array([0, 2, 3]), path, "crop")
    assert note.startswith("2 of 3 training images are blank")
    assert train.blank_notes(images, np.array([3]), path, "crop") == []


def test_batches_are_drawn_as_the_config_says():
    labels = np.repeat([0, 1], [90, 10]).astype(np.int32)
    config = lib.Config(train=lib.Train(batch=20, clean_share=0.25, balance_power=1.0))

    def ones(power):
        config.train.balance_power = power
        made = list(train.draw_batches(config, {"label": labels}, start=0, steps=40))
        changed = [bool(batch["augment"].all()) for batch in made]
        assert changed == [True] * 30 + [False] * 10
        assert {len(batch["label"]) for batch in made} == {20}
        return np.mean([batch["label"] for batch in made])

    assert ones(0.0) == pytest.approx(0.1, abs=0.02)
    assert ones(1.0) == pytest.approx(0.5, abs=0.05)
    first = list(train.draw_batches(config, {"label": labels}, start=35, steps=40))
    config.seed = 1
    other = list(train.draw_batches(config, {"label": labels}, start=35, steps=40))
    assert len(first) == 5
    assert any((a["label"] != b["label"]).any() for a, b in zip(first, other, strict=True))
