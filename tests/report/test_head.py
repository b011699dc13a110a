"""The line on top of the report that says how was searched."""

import pytest

from inres.config import Config, Items, Model, to_dict
from inres.report import head
from inres.report.run import Run


@pytest.mark.parametrize(
    ("threshold", "least", "words"),
    [
        (1, 0.0, "pools of equal codes, ranked by joined features"),
        (1, 0.11, "pools of equal codes, but at least the nearest 11 %, ranked by"),
        (3, 0.0, "pools of a Hamming distance below 3, ranked by"),
        (3, 0.5, "pools of a Hamming distance below 3, but at least the nearest 50 %, ranked by"),
    ],
)
def test_pools_in_words(tmp_path, threshold, least, words):
    protocol = {
        "queries": 2,
        "gallery": 9,
        "bits": 48,
        "fine": "joined",
        "threshold": threshold,
        "least_pool": least,
    }
    run = Run(tmp_path, {"protocol": protocol}, {}, {}, {}, {})
    assert f"48-bit codes, {words}" in head.summary(run).replace("\xa0", " ")


@pytest.mark.parametrize(
    ("items", "planes", "words"),
    [
        (Items(view="cube", cube_mm=48.0, cube_px=47), "nine", "nine planes of a cube of 48 mm"),
        (Items(view="cube"), "channels", "a cube of 32 mm"),
        (Items(), "channels", "one slice per item"),
        (Items(neighbours=3), "each", "7 slices per item"),
        (Items(view="slice"), "channels", "one whole slice per item"),
    ],
)
def test_what_the_network_sees_in_words(tmp_path, items, planes, words):
    config = to_dict(Config(items=items, model=Model(planes=planes)))
    assert f" · {words}<" in head.summary(Run(tmp_path, {}, {}, [], config, {}))
