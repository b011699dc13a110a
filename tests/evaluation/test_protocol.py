"""The protocol: exclusions, two-stage order, distances, independence of the gallery's order."""

import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from inres import vocabulary
from inres.evaluation import metrics, pools, relevance
from inres.evaluation.embedded import Embedded
from inres.evaluation.euclidean import Euclidean
from inres.evaluation.protocol import evaluate
from inres.evaluation.settings import Settings

RUNS = settings(max_examples=25, deadline=None)


def embedded(rng, n, *, classes=4, bits=6, scans=5, prefix="s", separation=1.5):
    """Items whose codes and features depend on the class, with many tied distances."""
    labels = rng.integers(0, classes, n).astype(np.int32)
    fc1 = (rng.integers(0, 3, (n, 5)) + separation * labels[:, None]).astype(np.float32)
    fc3 = (rng.normal(size=(n, classes)) + 2.0 * np.eye(classes)[labels]).astype(np.float32)
    codes = (np.arange(bits) % classes == labels[:, None]) ^ (rng.random((n, bits)) < 0.1)
    return Embedded(
        labels=labels,
        scans=np.array([f"{prefix}{i}" for i in rng.integers(0, scans, n)]),
        diameters_mm=np.where(labels > 0, 3.0 * labels + rng.random(n), 0.0),
        bits=codes,
        features={
            "fc1": fc1,
            "fc2": codes.astype(np.float32),
            "fc3": fc3,
            "fc1_fc3": np.concatenate([fc1, fc3], axis=1),
            "joined": np.concatenate([fc3, fc1], axis=1),
            "images": np.concatenate([fc3, 2 * fc1], axis=1),
            "embedding": rng.normal(size=(n, 3)).astype(np.float32),
            "pixels": rng.integers(0, 256, (n, 9)).astype(np.uint8),
            "hog": rng.integers(0, 256, (n, 4)).astype(np.uint8),
        },
        names=np.array([f"{prefix}/{i}" for i in range(n)]),
        codes={
            f"{kind}_{name}": rng.random((n, bits)) < 0.5
            for kind in ("itq", "lsh")
            for name in ("fc1", "embedding", "pixels")
        }
        | {name: rng.random((n, bits)) < 0.5 for name in ("images_code", "latent", "alone")},
        malignancy=np.where(labels > 0, rng.integers(1, 6, n), np.nan),
        properties={"texture": rng.uniform(1, 5, n)},
    )


def taken(side, rows):
    """The items `rows` of one side, in that order."""
    return Embedded(
        side.labels[rows],
        side.scans[rows],
        side.diameters_mm[rows],
        side.bits[rows],
        {name: value[rows] for name, value in side.features.items()},
        side.names[rows],
        {name: value[rows] for name, value in side.codes.items()},
        side.malignancy[rows],
        properties={name: value[rows] for name, value in side.properties.items()},
    )


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    return embedded(rng, 25, prefix="q"), embedded(rng, 80, prefix="g")


@pytest.fixture(scope="module")
def evaluation(sides):
    return evaluate(*sides, Settings(classes=4, threshold=3))


KEYS = {
    "map_macro",
    "map_micro",
    "precision_at_10_macro",
    "precision_at_10_micro",
    "recall_at_10",
    "ndcg_at_10",
    "diameter_error_mm_at_10",
}
"""Keys that must stay."""


def test_every_ranking_has_every_measure(evaluation):
    assert tuple(evaluation.rankings) == vocabulary.ranking_names()
    for name, row in evaluation.rankings.items():
        assert set(row) > KEYS, name
        assert all(value is not None and math.isfinite(value) for value in row.values()), name


def test_chance_is_the_share_of_the_class(sides, evaluation):
    queries, gallery = sides
    shares = [(gallery.labels == label).mean() for label in queries.labels]
    chance = evaluation.rankings["chance"]
    assert chance["precision_at_10_micro"] == pytest.approx(np.mean(shares), rel=1e-12)
    gaps = [
        np.abs(d - gallery.diameters_mm).mean()
        for d, label in zip(queries.diameters_mm, queries.labels, strict=True)
        if label > 0
    ]
    assert chance["diameter_error_mm_at_10"] == pytest.approx(np.mean(gaps), rel=1e-9)


def test_two_stage_is_pool_by_euclid_then_the_rest_by_hamming(sides, evaluation):
    """Compared with a loop over sorted tuples, one query at a time."""
    queries, gallery = sides
    for q in range(len(queries)):
        near = np.linalg.norm(
            gallery.features["fc1"].astype(np.float64) - queries.features["fc1"][q], axis=1
        )
        bits = (queries.bits[q] != gallery.bits).sum(axis=1)
        keys = [(0, near[i]) if bits[i] < 3 else (1, float(bits[i])) for i in range(80)]
        order = sorted(range(80), key=lambda i: (keys[i], i))
        pool = [i for i in order if keys[i][0] == 0][:10]
        assert [i for i in evaluation.top[q] if i >= 0] == pool
        np.testing.assert_array_equal(evaluation.top_hamming[q, : len(pool)], bits[pool])
        np.testing.assert_allclose(
            evaluation.top_distance[q, : len(pool)], near[pool], rtol=1e-9, atol=1e-9
        )
        levels = sorted(set(keys))  # the whole order, with ties, as one distance
        ranking = metrics.rank(np.array([[levels.index(key) for key in keys]]))
        hits = metrics.find(ranking, (gallery.labels == queries.labels[q])[None])
        got = evaluation.per_query["two_stage"]["average_precision"][q]
        assert got == pytest.approx(metrics.average_precision(hits)[0], rel=1e-12)


def test_search_precision_counts_an_empty_pool_as_zero():
    def side(labels, codes, prefix):
        n = len(labels)
        return Embedded(
            np.array(labels, np.int32),
            np.array([f"{prefix}{i}" for i in range(n)]),
            np.full(n, np.nan),
            np.array(codes, bool),
            {"fc1": np.arange(n, dtype=np.float32)[:, None]},
            np.arange(n).astype(str),
        )

    queries = side([1, 1], [[0, 0, 0, 0], [1, 1, 1, 1]], "q")
    gallery = side([1, 0, 1], [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]], "g")
    found = evaluate(queries, gallery, Settings(classes=2, threshold=2))
    assert found.paper["search_precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert found.pool == {
        "mean_size": 1.5,
        "mean_share": 0.5,
        "empty_share": 0.5,
        "mean_threshold": 2.0,
        "neighbours_kept": 0.5,
    }
    assert (found.top[1] == -1).all()
    assert np.isnan(found.top_distance[1]).all()
    assert found.classification is None  # no FC3
    assert "predicted_class" not in found.rankings
    assert found.rankings["chance"]["diameter_error_mm_at_10"] is None


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shuffling_the_gallery_changes_no_digit(seed):
    rng = np.random.default_rng(seed)
    queries, gallery = embedded(rng, 8), embedded(rng, 40)
    offset = rng.normal(size=5).astype(np.float32)
    for side in (queries, gallery):  # real numbers with many digits, in which rounding would show
        side.features["fc1"][:] = side.features["fc1"] * np.float32(0.1) + offset
    shuffled = taken(gallery, rng.permutation(40))
    one, two = (evaluate(queries, g, Settings(classes=4, threshold=3)) for g in (gallery, shuffled))
    assert one.rankings == two.rankings
    assert one.pool == two.pool
    assert one.paper == two.paper
    assert one.classification == two.classification
    assert one.lookup == two.lookup
    assert one.codes == two.codes
    np.testing.assert_array_equal(one.class_hamming, two.class_hamming)
    for name, sweep in one.lookups.items():
        for key, values in sweep.items():
            np.testing.assert_array_equal(values, two.lookups[name][key])
    for name, curve in one.curves.items():
        np.testing.assert_array_equal(curve, two.curves[name])
    for name, values in one.pools.items():
        np.testing.assert_array_equal(values, two.pools[name])
    for name, values in one.per_query.items():
        for measure, value in values.items():
            np.testing.assert_array_equal(value, two.per_query[name][measure])


def test_own_scan_is_returned_only_with_own_group(sides):
    queries, _ = sides
    archive = taken(queries, np.arange(len(queries)))  # every query finds itself at distance 0
    settings = Settings(classes=4, threshold=7, scales={"texture": 1.0})
    found = evaluate(queries, archive, settings)
    for q, row in enumerate(found.top):
        assert all(archive.scans[i] != queries.scans[q] for i in row if i >= 0)
    same = queries.scans[:, None] == archive.scans
    assert found.counts["excluded_pairs"] == same.sum()
    without = taken(archive, np.flatnonzero(archive.scans != queries.scans[0]))
    first = taken(queries, np.array([0]))
    alone = evaluate(first, without, settings)
    for name, values in alone.per_query.items():
        for measure, value in values.items():
            np.testing.assert_allclose(
                found.per_query[name][measure][0], value[0], rtol=1e-9, err_msg=f"{name} {measure}"
            )
    own = evaluate(queries, archive, Settings(classes=4, threshold=7, own_group=True))
    assert own.counts["excluded_pairs"] == 0
    assert (own.top_distance[:, 0] == 0).all()


def test_unknown_scans_exclude_nothing():
    rng = np.random.default_rng(1)
    side = embedded(rng, 10)
    unknown = dataclasses.replace(side, scans=np.array([""] * 10))
    assert (
        evaluate(unknown, unknown, Settings(classes=4, threshold=2)).counts["excluded_pairs"] == 0
    )


def test_queries_without_relevant_items_are_counted_and_left_out():
    rng = np.random.default_rng(2)
    queries, gallery = embedded(rng, 20, prefix="q"), embedded(rng, 60, prefix="g")
    gallery = taken(gallery, np.flatnonzero(gallery.labels != 2))
    found = evaluate(queries, gallery, Settings(classes=4, threshold=3))
    rest = evaluate(
        taken(queries, np.flatnonzero(queries.labels != 2)),
        gallery,
        Settings(classes=4, threshold=3),
    )
    assert found.counts["queries_without_relevant"] == (queries.labels == 2).sum() > 0
    for name in vocabulary.ranking_names():
        assert found.rankings[name]["map_micro"] == pytest.approx(rest.rankings[name]["map_micro"])
        assert found.rankings[name]["map_macro"] == pytest.approx(rest.rankings[name]["map_macro"])


def test_parts_of_the_queries_give_what_the_whole_gives(sides, evaluation, monkeypatch):
    chunks = metrics.chunks
    monkeypatch.setattr(metrics, "chunks", lambda q, n, **_: chunks(q, n, cells=3 * n))
    parts = evaluate(*sides, Settings(classes=4, threshold=3))
    assert parts.rankings == evaluation.rankings
    np.testing.assert_array_equal(parts.top, evaluation.top)


def test_memory_does_not_grow_with_the_queries(monkeypatch):
    chunks = metrics.chunks
    monkeypatch.setattr(metrics, "chunks", lambda q, n, **_: chunks(q, n, cells=20_000))
    rng = np.random.default_rng(4)
    gallery, peaks = embedded(rng, 2000, prefix="g"), []
    for queries in (20, 60):
        side = embedded(rng, queries, prefix="q")
        tracemalloc.start()
        evaluate(side, gallery, Settings(classes=4, threshold=3))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Results take about 20 kB per query; an array [Q, N] kept for each ranking would be 280 kB.
    assert (peaks[1] - peaks[0]) / 40 < 60_000


def test_classification_equals_scikit_learn(sides, evaluation):
    queries, _ = sides
    predicted = queries.features["fc3"].argmax(axis=1)
    scores = precision_recall_fscore_support(
        queries.labels, predicted, labels=range(4), zero_division=0
    )
    for row, precision, recall, f1, support in zip(
        evaluation.classification["per_class"], *scores, strict=True
    ):
        assert row["support"] == support
        assert row["recall"] == pytest.approx(recall)
        assert (row["precision"] or 0) == pytest.approx(precision)
        assert row["f1"] == pytest.approx(f1)
        logits = queries.features["fc3"].astype(np.float64)
        softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected = average_precision_score(queries.labels == row["class"], softmax[:, row["class"]])
        assert row["average_precision"] == pytest.approx(expected)
    assert evaluation.classification["accuracy"] == np.mean(predicted == queries.labels)
    assert evaluation.confusion.sum() == len(queries)


def test_pools_by_threshold(sides, evaluation):
    queries, gallery = sides
    bits = (queries.bits[:, None] != gallery.bits).sum(axis=2)
    np.testing.assert_array_equal(evaluation.pools["threshold"], np.arange(1, 8))
    for threshold, size, empty in zip(
        *(evaluation.pools[k] for k in ("threshold", "mean_size", "empty_share")), strict=True
    ):
        pool = (bits < threshold).sum(axis=1)
        assert size == pool.mean()
        assert empty == (pool == 0).mean()
    assert evaluation.pools["recall"][-1] == 1.0
    assert evaluation.pool["mean_size"] == (bits < 3).sum(axis=1).mean()


@pytest.mark.parametrize("offset", [0.0, 1e3, -3e5])
@pytest.mark.parametrize("width", [1, 7, 300, 4096])
def test_distances_are_right_despite_a_common_offset(offset, width):
    rng = np.random.default_rng(width)
    a, b = ((rng.normal(size=(n, width)) + offset).astype(np.float32) for n in (5, 40))
    b[3] = a[2]
    got = Euclidean(a, b).rows(slice(0, 5))
    exact = cdist(a.astype(np.float64), b.astype(np.float64), "sqeuclidean")
    np.testing.assert_allclose(got, exact, rtol=1e-7, atol=1e-9)
    assert got[2, 3] == 0.0


def test_one_huge_feature_does_not_hide_the_others():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 8)), rng.normal(size=(40, 8))
    b[7, 3] = 1e8
    got = Euclidean(a, b).rows(slice(0, 5))
    exact = cdist(a, b, "sqeuclidean")
    np.testing.assert_allclose(got, exact, rtol=1e-4)
    np.testing.assert_array_equal(got.argsort(axis=1), exact.argsort(axis=1))


@RUNS
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_equal_items_tie_exactly_at_any_position(seed, width):
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(n, width)).astype(np.float32) for n in (4, 33))
    b[rng.integers(0, 33, 20)] = b[0]
    got = Euclidean(a, b).rows(slice(1, 3))
    same = np.flatnonzero((b == b[0]).all(axis=1))
    assert (got[:, same] == got[:, [0]]).all()


def test_integers_are_exact():
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, 256, (n, 4096)).astype(np.float32) for n in (3, 20))
    expected = ((a[:, None].astype(np.int64) - b.astype(np.int64)) ** 2).sum(axis=2)
    np.testing.assert_array_equal(Euclidean(a, b).rows(slice(0, 3)), expected)


def test_gains_grade_by_class_and_separate_normals_from_nodules():
    gains = relevance.size_gains(np.array([[0], [1], [4]]), np.array([0, 1, 2, 3, 4, 7]))
    np.testing.assert_array_equal(
        gains, [[3, 0, 0, 0, 0, 0], [0, 3, 2, 1, 0, 0], [0, 0, 1, 2, 3, 0]]
    )


def test_bad_input_is_refused_by_name(sides):
    queries, gallery = sides
    unknown = dataclasses.replace(queries, labels=np.where(queries.labels == 0, -1, queries.labels))
    with pytest.raises(ValueError, match=r"queries have a class outside 0..3 \(-1 is unknown\)"):
        evaluate(unknown, gallery, Settings(classes=4, threshold=3))
    with pytest.raises(ValueError, match="no features 'fc9' in queries"):
        evaluate(queries, gallery, Settings(classes=4, threshold=3, fine="fc9"))
    with pytest.raises(ValueError, match="threshold is 0"):
        evaluate(queries, gallery, Settings(classes=4, threshold=0))
    with pytest.raises(ValueError, match="codes of 5 bits in queries, 6 in gallery"):
        evaluate(
            dataclasses.replace(queries, bits=queries.bits[:, :5]),
            gallery,
            Settings(classes=4, threshold=3),
        )
    with pytest.raises(ValueError, match="scans must be 1-dimensional with 25 rows"):
        dataclasses.replace(queries, scans=queries.scans[:3])
    with pytest.raises(ValueError, match="bits must be bool"):
        dataclasses.replace(queries, bits=queries.bits.astype(np.float32))
    with pytest.raises(ValueError, match=r"features\['fc1'\] contain NaN"):
        dataclasses.replace(queries, features={"fc1": np.full((25, 2), np.nan)})


def test_chance_is_the_mean_of_shuffled_archives(sides, evaluation):
    """The closed form from class counts, compared with a simulation of random orders."""
    queries, gallery = sides
    rng = np.random.default_rng(0)
    allowed = queries.scans[:, None] != gallery.scans
    relevance = queries.labels[:, None] == gallery.labels
    found = []
    for _ in range(400):
        order = np.where(allowed, rng.random(allowed.shape), np.inf)
        hits = metrics.find(metrics.rank(order), relevance)
        found.append([metrics.average_precision(hits), metrics.recall_at(hits, 10)])
    simulated = np.mean(found, axis=0)
    chance = evaluation.per_query["chance"]
    np.testing.assert_allclose(chance["average_precision"], simulated[0], atol=0.03)
    np.testing.assert_allclose(chance["recall"], simulated[1], atol=0.03)


def test_softmax_ranks_by_the_probability_of_one_class(sides, evaluation):
    """Compared with plain Python: the probability that both items are of one class."""
    queries, gallery = sides
    odds = [np.exp(s.features["fc3"].astype(np.float64)) for s in (queries, gallery)]
    p, q = (o / o.sum(axis=1, keepdims=True) for o in odds)
    for row in range(5):
        scores = [sum(p[row, c] * q[i, c] for c in range(4)) for i in range(len(gallery))]
        relevant = gallery.labels == queries.labels[row]
        expected = average_precision_score(relevant, scores)
        got = evaluation.per_query["softmax"]["average_precision"][row]
        assert got == pytest.approx(expected, rel=1e-9)


def test_lookup_within_the_radius(sides, evaluation):
    queries, gallery = sides
    for name, code in queries.all_codes.items():
        near = (code[:, None] != gallery.all_codes[name]).sum(axis=2) <= pools.RADIUS
        right = near & (queries.labels[:, None] == gallery.labels)
        precision = right.sum(axis=1) / np.maximum(near.sum(axis=1), 1)
        found = evaluation.lookup[name]
        assert found["precision_micro"] == pytest.approx(precision.mean())
        assert found["empty_share"] == (near.sum(axis=1) == 0).mean()
        assert set(evaluation.lookups[name]) == {
            *("threshold", "precision", "recall", "mean_size", "empty_share")
        }


def test_true_neighbours_kept_by_each_pool(sides, evaluation):
    queries, gallery = sides
    near = cdist(queries.features["fc1"], gallery.features["fc1"])
    bits = (queries.bits[:, None] != gallery.bits).sum(axis=2)
    for threshold, got in zip(
        evaluation.pools["threshold"], evaluation.pools["neighbours_kept"], strict=True
    ):
        limit = np.sort(near, axis=1)[:, [9]] + 1e-9
        kept = np.minimum((near <= limit) & (bits < threshold), True).sum(axis=1)
        assert got == pytest.approx(np.minimum(kept, 10).mean() / 10)
    assert evaluation.pools["neighbours_kept"][-1] == 1.0


def test_mean_hamming_distance_between_classes(sides, evaluation):
    queries, gallery = sides
    bits = (queries.bits[:, None] != gallery.bits).sum(axis=2)
    for a in range(4):
        for b in range(4):
            expected = bits[np.ix_(queries.labels == a, gallery.labels == b)].mean()
            assert evaluation.class_hamming[a, b] == pytest.approx(expected)


def test_graded_relevance_by_millimetres_and_malignancy_worked_by_hand():
    known = np.array([0.0, 10.0, np.nan])
    items = np.array([0.0, 10.0, 12.0, 20.0, np.nan])
    np.testing.assert_allclose(
        relevance.diameter_gains(known[:, None], items),
        [[1, 0, 0, 0, 0], [0, 1, 0.6, 0, 0], [0, 0, 0, 0, 0]],
    )
    ratings = np.array([[1.0], [3.0], [5.0], [np.nan]])
    others = np.array([1.0, 2.0, 3.0, 4.5, np.nan])
    nan = np.nan
    np.testing.assert_allclose(
        relevance.malignancy_gains(ratings, others),
        [[1, 0.5, 0, 0, 0], [0, 0.5, 1, 0.25, 0], [0, 0, 0, 0.75, 0], [0, 0, 0, 0, 0]],
    )
    np.testing.assert_array_equal(
        relevance.malignancy_agreement(ratings, others),
        [[1, 1, nan, 0, nan], [nan] * 5, [0, 0, nan, 1, nan], [nan] * 5],
    )


def test_malignancy_of_the_first_ten(sides, evaluation):
    """The embedding never ties, so its first ten are unique."""
    queries, gallery = sides
    near = cdist(queries.features["embedding"], gallery.features["embedding"])
    for q in np.flatnonzero(np.isfinite(queries.malignancy)):
        top = gallery.malignancy[np.argsort(near[q])[:10]]
        gaps = np.abs(top - queries.malignancy[q])
        got = evaluation.per_query["embedding"]["malignancy_error"][q]
        assert got == pytest.approx(np.nanmean(gaps))
    unknown = np.isnan(queries.malignancy)
    assert np.isnan(evaluation.per_query["embedding"]["malignancy_error"][unknown]).all()
    blind = [dataclasses.replace(side, malignancy=None) for side in sides]
    found = evaluate(*blind, Settings(classes=4, threshold=3)).rankings["hamming"]
    assert found["malignancy_error_at_10"] is found["ndcg_malignancy_at_10"] is None


def test_vectors_of_8_bits_are_ranked_exactly(sides):
    queries, gallery = (side.features["pixels"] for side in sides)
    exact = cdist(queries.astype(float), gallery.astype(float), "sqeuclidean")
    np.testing.assert_array_equal(Euclidean(queries, gallery).rows(slice(0, 25)), exact)
