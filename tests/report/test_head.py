"""The line on top of the report that says how was searched."""

import pytest

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
