"""Tables of similarity: values, references and margins against hand-made per-query results."""

import dataclasses

import numpy as np
import pytest

from inres.evaluation import intervals, property_tables, runs

Q = 60
PATIENTS = np.array([f"p{i // 2}" for i in range(Q)])


def run(**changes):
    rng = np.random.default_rng(0)
    texture = rng.random(Q)
    texture[:6] = np.nan  # three patients
    values = {
        "two_stage": {"difference_texture": texture, "similarity": 1 - texture},
        "softmax": {"difference_texture": texture + 0.3, "similarity": 0.7 - texture},
        "chance": {
            "difference_texture": texture + 1,
            "similarity": -texture,
            "class_difference_texture": texture - 0.1,
            "class_similarity": 1.1 - texture,
        },
    }
    for columns in values.values():
        columns["ndcg_texture"] = columns["similarity"] / 2
    return runs.Run(np.arange(Q).astype(str), PATIENTS, np.ones(Q, np.int32), values | changes)


def test_each_ranking_has_its_value_references_and_margin():
    one = run()
    rows = property_tables.property_rows(one, resamples=500)
    assert [row["ranking"] for row in rows] == ["two_stage", "softmax", "chance"]
    texture = one.values["two_stage"]["difference_texture"][6:]
    for row, offset, margin in zip(rows, (0.0, 0.3, 1.0), (0.1, -0.3, -1.0), strict=True):
        assert tuple(row) == property_tables.PROPERTY_COLUMNS
        assert row["property"] == "texture"
        assert row["difference"] == pytest.approx(texture.mean() + offset)
        assert row["ndcg"] == pytest.approx((1 - texture.mean() - offset) / 2)
        assert row["random"] == pytest.approx(texture.mean() + 1)
        assert row["class_random"] == pytest.approx(texture.mean() - 0.1)
        assert row["margin"] == pytest.approx(margin)
        assert row["queries"] == Q - 6
        # The same difference for every query: an interval without width, the least p-value.
        assert row["margin_low"] == pytest.approx(margin) == pytest.approx(row["margin_high"])
        assert row["p_value"] == pytest.approx(1 / 501)
        assert row["low"] < row["difference"] < row["high"]
    overall = property_tables.similarity_rows(one, resamples=500)
    assert [row["margin"] for row in overall] == pytest.approx([-0.1, 0.3, 1.0])


def test_there_are_no_rows_without_properties():
    none = {"similarity": np.full(Q, np.nan)}
    bare = run(two_stage=none, softmax=none, chance=none | {"class_similarity": np.full(Q, np.nan)})
    assert property_tables.property_rows(bare) == []
    assert property_tables.similarity_rows(bare) == []


def test_properties_are_in_the_order_of_tables():
    one = run()
    columns = one.values["two_stage"]
    for name in ("own", "malignancy", "a"):
        columns[f"difference_{name}"] = columns["difference_texture"]
    assert property_tables.property_names(one) == ("malignancy", "texture", "a", "own")


def test_many_differences_are_those_of_one_at_a_time():
    rng = np.random.default_rng(1)
    few = np.where(np.arange(Q) < 10, rng.normal(0.2, 1, Q), np.nan)  # five patients: exact
    gaps = {"many": rng.normal(0.2, 1, Q), "few": few, "none": np.zeros(Q)}
    found = intervals.differences(gaps, PATIENTS, resamples=2000)
    for name, gap in gaps.items():
        alone = intervals.difference(gap, np.zeros(Q), PATIENTS, resamples=2000)
        ours, theirs = (dataclasses.astuple(one) for one in (found[name], alone))
        assert ours == pytest.approx(theirs, rel=1e-12), name
    assert [found[name].exact for name in gaps] == [False, True, True]
