"""The search by weighted properties equals brute force in float64, whatever the blocks."""

import numpy as np
import pytest

from inres.searching import weighted


def brute(values, query, weights, k, visible):
    """(distance, row) of the K nearest items, by sorting."""
    used = weights > 0
    share = weights[used] / weights[used].sum()
    apart = values[used].astype(np.float64) - query[used].astype(np.float64)[:, None]
    distance = np.sqrt((share[:, None] * apart**2).sum(axis=0))
    rows = np.flatnonzero(visible & np.isfinite(distance))
    order = rows[np.lexsort((rows, distance[rows]))]
    return order[:k], distance[order[:k]], len(rows)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_it_equals_brute_force_with_ties_and_unknown_values(rng, block, k):
    # Small integers and weights whose shares are powers of two: exact in float32, with many ties.
    values = rng.integers(-3, 4, (5, 200)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    visible = rng.random(200) < 0.8
    query = np.array([1, -2, 0, np.nan, 3], np.float32)
    weights = np.array([1, 2, 0, 0, 1])
    found = weighted.nearest(values, query, weights, k=k, visible=visible, block=block)
    rows, distance, eligible = brute(values, query, weights, k, visible)
    assert found.rows.tolist() == rows.tolist()
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6)
    assert found.distance.dtype == np.float32
    assert found.eligible == eligible


def test_real_values_are_ranked_to_rounding_and_equal_items_by_lowest_row(rng):
    values = rng.standard_normal((9, 3000)).astype(np.float32)
    values[:, 1500:] = values[:, :1500]  # each item twice, in another block
    query, weights = rng.standard_normal(9).astype(np.float32), rng.random(9)
    found = weighted.nearest(values, query, weights, k=100, block=128)
    _, distance, _ = brute(values, query, weights, 100, np.ones(3000, bool))
    np.testing.assert_allclose(found.distance, distance, rtol=1e-5)
    assert np.array_equal(found.rows[1::2], found.rows[::2] + 1500)
    scaled = weighted.nearest(values, query, weights * 1e300, k=100, block=128)
    assert found.rows.tolist() == scaled.rows.tolist()  # only ratios matter


def test_nothing_is_found_where_nothing_is_visible():
    values = np.zeros((1, 5), np.float32)
    found = weighted.nearest(values, np.zeros(1), np.ones(1), k=3, visible=np.zeros(5, bool))
    assert (len(found.rows), found.eligible) == (0, 0)
    assert len(weighted.nearest(values[:, :0], np.zeros(1), np.ones(1), k=3).rows) == 0


NAMES = ("texture", "margin")


def test_weights_become_an_array_in_the_order_of_the_properties():
    assert weighted.as_array({"margin": np.float32(2)}, NAMES).tolist() == [0, 2]
    assert weighted.as_array({"margin": 2, "texture": 0.5}, NAMES).tolist() == [0.5, 2]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"colour": 1}, "no property 'colour'"),
        ({"texture": -1}, "texture = -1; must be a finite number of 0 or more"),
        ({"texture": float("nan")}, "texture = nan; must be"),
        ({"texture": float("inf")}, "texture = inf; must be"),
        ({"texture": True}, "texture = True; must be"),
        ({"texture": "1"}, "texture = '1'; must be"),
        ({"texture": 0}, "all are 0"),
    ],
)
def test_impossible_weights_are_refused_with_the_properties_there_are(weights, message):
    with pytest.raises(ValueError, match=message) as refusal:
        weighted.as_array(weights, NAMES)
    assert "texture, margin" in str(refusal.value)
    with pytest.raises(ValueError, match="this archive has no properties"):
        weighted.as_array(weights, ())
