"""Inflation by a leaking split: planted differences are recovered, and the figure is stable."""

import numpy as np
import pytest

from inres.evaluation import runs
from inres.figures import style
from inres.studies import leakage


def protocols(archive=0.1, training=0.05, queries=90):
    """Scores of the same queries, to which each leak adds the given amount."""
    rng = np.random.default_rng(0)
    names = np.array([f"q{i}" for i in range(queries)])
    scans = np.array([f"s{i // 3}" for i in range(queries)])
    labels = np.arange(queries) % 4
    base = rng.uniform(0.2, 0.7, queries)
    made = {}
    for name, add in (
        ("slices", archive + training),
        ("slices_other_scans", training),
        ("patient", 0.0),
    ):
        values: dict = {}
        for m in leakage.MEASURES:
            noise = rng.normal(0, 0.02, queries)
            values.setdefault(m.ranking, {})[m.column] = base + add + noise
        order = rng.permutation(queries)
        made[name] = runs.Run(names, scans, labels, values).take(order)
    return made


def test_planted_inflation_is_recovered():
    found = leakage.inflations(protocols())
    for one in found:
        gaps = one.gaps
        for part, planted in (("archive", 0.1), ("training", 0.05), ("all", 0.15)):
            assert gaps[part].low - 0.005 < planted < gaps[part].high + 0.005
            assert gaps[part].p_value < 0.01
        assert gaps["archive"].value + gaps["training"].value == pytest.approx(gaps["all"].value)
        scores = one.scores
        assert scores["slices"].value - scores["patient"].value == pytest.approx(gaps["all"].value)
    row = leakage.rows(found)[0]
    assert row["all_gap"] == found[0].gaps["all"].value
    assert row["patient_low"] < row["patient"] < row["patient_high"]


def test_no_leak_is_no_inflation():
    found = leakage.inflations(protocols(0.0, 0.0))
    assert all(one.gaps["all"].low < 0 < one.gaps["all"].high for one in found[:2])


def test_the_figure_is_written_in_three_formats_with_stable_bytes(tmp_path):
    found = leakage.inflations(protocols())
    written = []
    for name in ("a", "b"):
        paths = style.save(leakage.figure(found, title="t"), tmp_path / name / "inflation")
        assert sorted(path.suffix for path in paths) == [".pdf", ".png", ".svg"]
        written.append({path.suffix: path.read_bytes() for path in paths})
    assert written[0] == written[1]
