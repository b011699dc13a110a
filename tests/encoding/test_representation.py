"""Codes and features from the outputs of a network and, for the archive, from records."""

import dataclasses

import numpy as np
import pytest

from inres.data.properties import PropertyScale
from inres.encoding.binarize import FineScale
from inres.encoding.encoded import Encoded
from inres.encoding.representation import Known, Representation, Weights

SCALE = PropertyScale(("diameter_mm", "margin", "own"), np.zeros(3), np.ones(3))
N = 60


def encoded(seed=0, n=N):
    rng = np.random.default_rng(seed)
    return Encoded(*(rng.normal(size=(n, width)).astype(np.float32) for width in (7, 12, 4, 3)))


def known(seed=1, n=N):
    rng = np.random.default_rng(seed)
    properties = rng.normal(size=(n, 3)).astype(np.float32)
    properties[rng.random((n, 3)) < 0.3] = np.nan
    return Known(rng.integers(-1, 4, n), properties)


def made(no_nodule=0, code="joined", **weights):
    given = {"classes": 2.0, "fc1": 0.5, "size": 5.0, "given": {"own": 0.5}, **weights}
    scale = FineScale.of(encoded())
    return Representation(code, "joined", scale, Weights.of(SCALE, **given), no_nodule)


@pytest.mark.parametrize("no_nodule", [-1, 0])
def test_the_squared_distance_is_the_weighted_sum_of_its_parts(no_nodule):
    query, items, records = encoded(3), encoded(4), known()
    found = made(no_nodule)
    a = found.joined(query).astype(np.float64)
    b = found.joined(items, records).astype(np.float64)
    scale = FineScale.of(encoded())

    def softmax(row):
        exponents = np.exp(row.astype(np.float64))
        return exponents / exponents.sum()

    for i, j in [(0, 0), (5, 17), (31, 2)]:
        p = softmax(query.fc3[i])
        q = softmax(items.fc3[j])
        if records.labels[j] >= 0:
            q = np.arange(4) == records.labels[j]
        x, y = query.properties[i].astype(float), items.properties[j].astype(float)
        y = np.where(np.isnan(records.properties[j]), y, records.properties[j])
        if no_nodule == 0:
            x, y = x * (1 - p[0]), y * (1 - q[0])
        want = 2.0 * ((p - q) ** 2).sum()
        want += ((x - y) ** 2 * np.array([5.0, 1.0, 0.5]) / 6.5).sum()
        want += 0.5 * ((query.fc1[i] - items.fc1[j]) ** 2).sum() / scale.fc1**2
        assert ((a[i] - b[j]) ** 2).sum() == pytest.approx(want, rel=1e-4)


def test_a_query_orders_items_of_known_class_by_the_probability_of_their_class():
    found = made(-1, fc1=0.0, given=dict.fromkeys(SCALE.names, 0.0))
    query = encoded(5)
    features = found.joined(query)
    nothing = np.full((4, 3), np.nan, np.float32)
    items = found.joined(encoded(6, 4), Known(np.arange(4), nothing))
    distances = ((features[:, None] - items) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances.argsort(axis=1), (-query.fc3).argsort(axis=1))


def test_records_change_the_items_of_which_something_is_known():
    found = made().fitted(encoded(), known(), bits=12, fc1_weight=0.5, seed=0)
    items, records = encoded(2), known(3)
    unknown = Known(np.full(N, -1), np.full((N, 3), np.nan, np.float32))
    rows = np.array([4, 2])
    for function in (found.to_features, found.to_bits):
        np.testing.assert_array_equal(function(items, unknown), function(items))
        changed = function(items, records)
        assert (changed != function(items)).any()
        some = function(items.rows(rows), records.rows(rows))
        np.testing.assert_array_equal(some, changed[rows])


def test_joined_codes_keep_the_order_of_the_features():
    """Over random pairs, the Hamming distance grows with the distance of the features."""
    from scipy import stats

    items, records = encoded(7, 400), known(7, 400)
    found = made().fitted(items, records, bits=32, fc1_weight=0.5, seed=0)
    bits, features = found.to_bits(items, records), found.to_features(items, records)
    assert bits.shape == (400, 32)
    first, second = np.random.default_rng(0).integers(0, 400, (2, 2000))
    hamming = (bits[first] != bits[second]).sum(axis=1)
    distance = np.linalg.norm(features[first] - features[second], axis=1)
    assert stats.spearmanr(hamming, distance).statistic > 0.6


def test_other_codes_and_features_ignore_the_records():
    items, records = encoded(), known()
    plain = dataclasses.replace(made(code="latent"), features="fc1")
    assert plain.fitted(items, records, bits=12, fc1_weight=0.5, seed=0) is plain
    np.testing.assert_array_equal(plain.to_bits(items, records), items.h >= 0.5)
    np.testing.assert_array_equal(plain.to_features(items, records), items.fc1)
    rotated = made(code="rotated").fitted(items, records, bits=12, fc1_weight=0.5, seed=0)
    np.testing.assert_array_equal(rotated.to_bits(items, records), rotated.to_bits(items))


def test_without_properties_the_features_are_classes_and_fc1():
    empty = dataclasses.replace(encoded(), properties=np.zeros((N, 0), np.float32))
    scale = PropertyScale((), np.zeros(0), np.zeros(0))
    weights = Weights.of(scale, classes=1.0, fc1=1.0, size=5.0, given={})
    found = Representation("joined", "joined", FineScale.of(empty), weights, -1)
    assert found.joined(empty).shape == (N, 4 + 7)
