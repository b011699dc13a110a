"""Mistakes of published retrieval code that must not happen here."""

import dataclasses

import numpy as np
import pytest

from inres import vocabulary
from inres.data import items
from inres.evaluation import metrics
from inres.evaluation.embedded import Embedded
from inres.evaluation.protocol import evaluate
from inres.evaluation.settings import Settings


def side(labels, codes, prefix, fc1=None):
    n = len(labels)
    values = np.zeros(n) if fc1 is None else np.asarray(fc1)
    return Embedded(
        np.array(labels, np.int32),
        np.array([f"{prefix}{i}" for i in range(n)]),
        np.full(n, np.nan),
        np.array(codes, bool),
        {"fc1": values.astype(np.float32)[:, None]},
        np.arange(n).astype(str),
    )


def test_ties_are_not_broken_by_the_order_of_the_database():
    """All codes are equal; sorting by index would give AP 1 or 0.25, by storage order."""
    query = side([1], [[0]], "q")
    scores = []
    for labels in ([1, 0, 0, 0], [0, 0, 0, 1]):
        found = evaluate(query, side(labels, [[0]] * 4, "g"), Settings(classes=2, threshold=1))
        scores.append(found.rankings["hamming"]["map_macro"])
    assert scores == [pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)] * 2


def test_average_precision_is_not_divided_by_the_hits_that_were_found():
    """Of four relevant items one is found, at rank 1: over two ranks that is 1/2, not 1."""
    distances = np.arange(8.0)[None]
    relevance = np.array([[1, 0, 0, 0, 0, 1, 1, 1]], bool)
    hits = metrics.find(metrics.rank(distances), relevance)
    assert metrics.average_precision(hits, 2)[0] == pytest.approx(1 / 2)
    assert metrics.average_precision(hits, 4)[0] == pytest.approx(1 / 4)


def test_neither_the_query_nor_its_patient_is_in_the_database():
    labels, codes = [1, 1, 0, 0], [[0, 0], [0, 1], [1, 1], [1, 1]]
    archive = side(labels, codes, "s")
    archive = dataclasses.replace(archive, scans=np.array(["a", "a", "b", "c"]))
    found = evaluate(archive, archive, Settings(classes=2, threshold=3))
    # Queries 0 and 1 are of one patient and the only ones of their class, so have no score.
    assert found.counts["queries_without_relevant"] == 2
    assert set(found.top[0]) == {2, 3, -1}
    assert found.rankings["hamming"]["map_micro"] == 1.0  # queries 2 and 3 find each other


def test_queries_without_a_hit_count_as_zero():
    """Relevant items exist but none is returned: the query counts as 0 in the mean."""
    queries = side([1, 1], [[0, 0, 0], [1, 1, 1]], "q")
    gallery = side([1, 0], [[0, 0, 0], [0, 0, 0]], "g")
    found = evaluate(queries, gallery, Settings(classes=2, threshold=1))
    assert found.pool["empty_share"] == 0.5
    assert found.paper["search_precision"] == pytest.approx((1 / 2 + 0) / 2)
    assert found.lookup["hamming"]["precision_micro"] == pytest.approx((1 / 2 + 0) / 2)
    assert found.lookup["hamming"]["empty_share"] == 0.5


def test_a_real_valued_rerank_is_not_reported_as_the_codes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    codes = rng.random((60, 4)) < 0.5
    found = [
        evaluate(
            side(labels[:20], codes[:20], "q", fc1[:20]),
            side(labels[20:], codes[20:], "g", fc1[20:]),
            Settings(classes=2, threshold=5),
        ).rankings
        for fc1 in (labels, rng.normal(size=60))
    ]
    assert found[0]["two_stage"]["map_macro"] == 1.0  # the features know the class
    assert found[0]["hamming"] == found[1]["hamming"]  # the codes do not depend on it
    assert found[0]["hamming"]["map_macro"] < 0.8


def test_supervised_codes_are_reported_with_the_classifier_and_chance():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 40)
    both = []
    for rows in (slice(0, 10), slice(10, 40)):
        one = side(labels[rows], rng.random((40, 4))[rows] < 0.5, f"{rows.start}")
        features = {**one.features, "fc3": rng.normal(size=(len(one), 3)).astype(np.float32)}
        both.append(dataclasses.replace(one, features=features))
    found = evaluate(*both, Settings(classes=3, threshold=2))
    assert {"predicted_class", "softmax", "chance"} < set(found.rankings)
    for key in (mean.key.format(k=10) for _, mean in vocabulary.means()):
        assert all(key in row for row in found.rankings.values())


def test_the_choice_of_an_epoch_does_not_use_test_items(monkeypatch):
    """Evaluation during training encodes only validation and training items."""
    from inres.encoding import encoder as encoding
    from inres.encoding.encoded import Encoded
    from inres.pipeline import artifacts, train

    seen = []

    def encoder(model, variables, *, planes, quiet):
        def encoded(images):
            seen.extend(images)
            n = len(images)
            return Encoded(*(np.zeros((n, width)) for width in (1, 4, 2, 0)))

        return encoded

    monkeypatch.setattr(encoding, "make_encoder", encoder)
    labels = np.array([0, 1] * 5, np.int32)
    parts = np.array(["train"] * 4 + ["val"] * 2 + ["test"] * 4)
    rows = tuple(items.Item("", f"s{i}") for i in range(10))
    data = artifacts.Labelled(rows, labels, parts, ("0", "1"))
    state = type("State", (), {"variables": {}})()
    train.make_validation(None, data, np.arange(10))(state)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
