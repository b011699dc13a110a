"""Measures compared with enumeration of all orders, scikit-learn, and cases by hand."""

import dataclasses
import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import average_precision_score, ndcg_score

from inres.evaluation import graded, metrics, pools
from inres.evaluation.code_statistics import code_statistics

RUNS = settings(max_examples=60, deadline=None)


def ndcg_at(ranking, gains, k, order=""):
    """nDCG of [Q, N] gains, in the expected, `best` or `worst` order of ties."""
    top = graded.candidates(ranking, k)
    ideal = graded.ideal_gain(np.where(np.isinf(ranking.distances), 0, gains), k)
    values = graded.in_top(top, gains)
    if order:
        rows = graded.tie_order(top, values, descending=order == "best")
        top = dataclasses.replace(top, items=top.items[rows], groups=np.arange(len(rows)))
        values = values[rows]
    return graded.ndcg(top, values, ideal)


def mean_at(ranking, values, k):
    top = graded.candidates(ranking, k)
    return graded.mean_top(top, graded.in_top(top, values))


def plain_measures(order, relevance, gains, values, k):
    """Textbook measures of one untied order of items, in plain Python."""
    hits, precision_sum = 0, 0.0
    for position, item in enumerate(order, start=1):
        if relevance[item]:
            hits += 1
            precision_sum += hits / position
    top = order[:k]
    dcg = sum(gains[item] / math.log2(place + 2) for place, item in enumerate(top))
    best = sorted((gains[item] for item in order), reverse=True)[:k]
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(best))
    found = sum(relevance[item] for item in top)
    total, cut, early = hits, 0, 0.0
    for position, item in enumerate(order[:k], start=1):
        cut += relevance[item]
        early += relevance[item] * cut / position
    return {
        "ap": precision_sum / hits,
        "ap_at_k": early / min(k, total),
        "hits": found,
        "precision": found / k,
        "recall": found / hits,
        "ndcg": dcg / ideal,
        "mean": sum(values[item] for item in top) / len(top),
    }


def all_orders(distances):
    """Every order of the ranked items that the distances allow, each equally likely."""
    levels = sorted({d for d in distances if d < math.inf})
    groups = [[i for i, d in enumerate(distances) if d == level] for level in levels]
    for choice in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield list(itertools.chain(*choice))


def measured(distances, relevance, gains, values, k):
    ranking = metrics.rank(np.array([distances]))
    hits = metrics.find(ranking, np.array([relevance]))
    return {
        "ap": metrics.average_precision(hits)[0],
        "ap_at_k": metrics.average_precision(hits, k)[0],
        "hits": metrics.hits_at(hits, k)[0],
        "precision": metrics.precision_at(hits, k)[0],
        "recall": metrics.recall_at(hits, k)[0],
        "ndcg": ndcg_at(ranking, np.array([gains]), k)[0],
        "mean": mean_at(ranking, np.array([values]), k)[0],
    }


@st.composite
def small_cases(draw):
    n = draw(st.integers(2, 6))
    distances = draw(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, math.inf]), min_size=n, max_size=n).filter(
            lambda d: min(d) < math.inf
        )
    )
    relevance = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    gains = [2 * r + draw(st.sampled_from([0.0, 0.7])) for r in relevance]
    values = draw(st.lists(st.floats(0, 30, width=32), min_size=n, max_size=n))
    return distances, relevance, gains, values, draw(st.integers(1, 7))


@RUNS
@given(small_cases())
def test_ties_are_the_mean_over_all_orders(case):
    distances, relevance = case[:2]
    if not any(r and d < math.inf for r, d in zip(relevance, distances, strict=True)):
        return
    each = [plain_measures(order, *case[1:]) for order in all_orders(distances)]
    got = measured(*case)
    for name, value in got.items():
        expected = sum(one[name] for one in each) / len(each)
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@RUNS
@given(small_cases())
def test_best_and_worst_are_the_extremes_of_all_orders(case):
    distances, relevance, gains, _, k = case
    if not any(r and d < math.inf for r, d in zip(relevance, distances, strict=True)):
        return
    each = [plain_measures(order, *case[1:]) for order in all_orders(distances)]
    ranking = metrics.rank(np.array([distances]))
    hits = metrics.find(ranking, np.array([relevance]))
    for order, one, extreme in (("best", metrics.best, max), ("worst", metrics.worst, min)):
        got = {
            "ap": metrics.average_precision(one(hits))[0],
            "ap_at_k": metrics.average_precision(one(hits), k)[0],
            "precision": metrics.precision_at(one(hits), k)[0],
            "recall": metrics.recall_at(one(hits), k)[0],
            "ndcg": ndcg_at(ranking, np.array([gains]), k, order)[0],
        }
        for name, value in got.items():
            assert value == pytest.approx(extreme(e[name] for e in each), rel=1e-9), name


@RUNS
@given(small_cases())
def test_expected_precision_and_recall_after_each_rank_give_the_curve(case):
    distances, relevance = case[:2]
    total = sum(r for r, d in zip(relevance, distances, strict=True) if d < math.inf)
    if not total:
        return
    orders = list(all_orders(distances))
    points = []
    for rank in range(1, len(orders[0]) + 1):
        hits = sum(sum(relevance[i] for i in order[:rank]) for order in orders) / len(orders)
        points.append((hits / total, hits / rank))
    grid = np.array([0.0, 0.25, 0.5, 1.0])
    expected = [max(p for r, p in points if r >= level - 1e-9) for level in grid]
    hits = metrics.find(metrics.rank(np.array([distances])), np.array([relevance]))
    np.testing.assert_allclose(metrics.precision_recall(hits, grid)[0], expected, rtol=1e-12)


def untied(rng, queries=7, items=40):
    distances = np.stack([rng.permutation(items) for _ in range(queries)]).astype(float)
    relevance = rng.random((queries, items)) < 0.3
    relevance[:, 0] = True
    return distances, relevance


def test_untied_rankings_equal_scikit_learn():
    rng = np.random.default_rng(0)
    distances, relevance = untied(rng)
    gains = rng.integers(0, 4, relevance.shape)
    ranking = metrics.rank(distances)
    hits = metrics.find(ranking, relevance)
    expected = [average_precision_score(r, -d) for r, d in zip(relevance, distances, strict=True)]
    np.testing.assert_allclose(metrics.average_precision(hits), expected, rtol=1e-12)
    for k in (1, 10, 40):
        expected = [ndcg_score([g], [-d], k=k) for g, d in zip(gains, distances, strict=True)]
        np.testing.assert_allclose(ndcg_at(ranking, gains, k), expected, rtol=1e-12)


def test_tied_ndcg_equals_scikit_learn():
    rng = np.random.default_rng(1)
    distances = rng.integers(0, 4, (6, 30)).astype(float)
    gains = rng.integers(0, 4, (6, 30))
    ranking = metrics.rank(distances)
    expected = [ndcg_score([g], [-d], k=10) for g, d in zip(gains, distances, strict=True)]
    np.testing.assert_allclose(ndcg_at(ranking, gains, 10), expected, rtol=1e-12)


def test_all_tied_is_chance_in_closed_form():
    items, relevant, k = 50, 12, 10
    relevance = np.arange(items)[None] < relevant
    hits = metrics.find(metrics.rank(np.zeros((1, items))), relevance)
    # Expected precision at rank i given a hit there: (1 + (i - 1)(R - 1)/(N - 1)) / i.
    ranks = np.arange(1, items + 1)
    chance = np.mean((1 + (ranks - 1) * (relevant - 1) / (items - 1)) / ranks)
    assert metrics.average_precision(hits)[0] == pytest.approx(chance, rel=1e-12)
    assert metrics.precision_at(hits, k)[0] == pytest.approx(relevant / items, rel=1e-12)
    assert metrics.recall_at(hits, k)[0] == pytest.approx(k / items, rel=1e-12)
    np.testing.assert_allclose(metrics.precision_recall(hits)[0], relevant / items, rtol=1e-12)


def test_a_ranking_worked_by_hand():
    # Order: hit, miss, hit, miss; the last item, a hit, is excluded.
    distances = np.array([[1.0, 2.0, 3.0, 4.0, np.inf]])
    relevance = np.array([[True, False, True, False, True]])
    hits = metrics.find(metrics.rank(distances), relevance)
    assert metrics.average_precision(hits)[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert metrics.recall_at(hits, 2)[0] == pytest.approx(1 / 2)
    curve = metrics.precision_recall(hits, np.array([0.0, 0.5, 0.51, 1.0]))[0]
    np.testing.assert_allclose(curve, [1.0, 1.0, 2 / 3, 2 / 3])


def test_a_pool_of_zero_or_of_all_items_counts_its_hits():
    distances = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    relevance = np.array([[True, False, True]] * 3)
    hits = metrics.find(metrics.rank(distances), relevance)
    np.testing.assert_allclose(metrics.hits_at(hits, np.array([0, 1, 9])), [0.0, 0.5, 2.0])


def all_measures(distances, relevance, gains, values):
    ranking = metrics.rank(distances)
    hits = metrics.find(ranking, relevance)
    found = {
        "mean": mean_at(ranking, values, 10),
        "ap_at_r": metrics.average_precision(hits, hits.total),
        "ap_at_7": metrics.average_precision(hits, 7),
    }
    for order in ("", "best", "worst"):
        one = getattr(metrics, order)(hits) if order else hits
        found |= {
            f"ap {order}": metrics.average_precision(one),
            f"precision {order}": metrics.precision_at(one, 10),
            f"recall {order}": metrics.recall_at(one, 10),
            f"curve {order}": metrics.precision_recall(one),
            f"ndcg {order}": ndcg_at(ranking, gains, 10, order),
        }
    return found


@RUNS
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_shuffling_the_gallery_changes_no_digit(seed, levels):
    rng = np.random.default_rng(seed)
    shape = (4, 60)
    distances = rng.integers(0, levels, shape) * 0.1
    distances[rng.random(shape) < 0.1] = np.inf
    relevance = rng.random(shape) < 0.3
    gains = rng.random(shape) * 3  # real gains, whose float sums would depend on the order
    values = np.where(rng.random(shape) < 0.2, np.nan, rng.random(shape) * 30)
    shuffle = rng.permutation(shape[1])
    first = all_measures(distances, relevance, gains, values)
    second = all_measures(*(x[:, shuffle] for x in (distances, relevance, gains, values)))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_excluded_items_have_no_effect():
    rng = np.random.default_rng(3)
    distances = rng.integers(0, 5, (3, 30)).astype(float)
    relevance = rng.random((3, 30)) < 0.4
    gains, values = rng.integers(0, 4, (3, 30)), rng.random((3, 30))
    without = all_measures(*(x[:, :20] for x in (distances, relevance, gains, values)))
    distances[:, 20:] = np.inf
    with_them = all_measures(distances, relevance, gains, values)
    for name, value in without.items():
        np.testing.assert_allclose(with_them[name], value, rtol=1e-12, err_msg=name)


def test_a_query_without_relevant_items_is_undefined_without_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = all_measures(
            np.array([[1.0, 2.0], [np.inf, np.inf]]),
            np.array([[False, False], [True, True]]),
            np.zeros((2, 2)),
            np.full((2, 2), np.nan),
        )
    for name, value in found.items():
        assert np.isnan(value).all(), name


def test_distances_of_any_type_tie_only_if_equal():
    """Distances that differ by one unit in the last place do not tie."""
    for kind in (np.float32, np.float64):
        near = np.array([[np.nextafter(kind(1), kind(2)), kind(1)]], kind)
        hits = metrics.find(metrics.rank(near), np.array([[True, False]]))
        assert metrics.average_precision(hits)[0] == 0.5


def test_unknown_values_are_left_out_of_the_mean():
    ranking = metrics.rank(np.array([[0.0, 1.0, 2.0, 3.0]]))
    values = np.array([[4.0, np.nan, 8.0, 100.0]])
    assert mean_at(ranking, values, 3)[0] == pytest.approx(6.0)
    assert np.isnan(mean_at(ranking, np.full((1, 4), np.nan), 3)[0])


def test_integers_rank_as_floats_do():
    rng = np.random.default_rng(6)
    distances = rng.integers(0, 5, (4, 30))
    excluded, relevance = rng.random((4, 30)) < 0.2, rng.random((4, 30)) < 0.4
    floats = metrics.rank(np.where(excluded, np.inf, distances))
    for kind in (np.int8, np.int16, np.int64):
        whole = np.where(excluded, metrics.far(np.dtype(kind)), distances).astype(kind)
        ranking = metrics.rank(whole)
        np.testing.assert_array_equal(ranking.items, floats.items)
        one, two = (metrics.find(r, relevance) for r in (ranking, floats))
        np.testing.assert_array_equal(
            metrics.average_precision(one), metrics.average_precision(two)
        )


@RUNS
@given(st.integers(0, 2**32 - 1))
def test_neighbours_kept_is_what_a_search_of_the_pool_returns(seed):
    rng = np.random.default_rng(seed)
    n, k, bits = 20, 4, 5
    fine = rng.permutation(n).astype(float)[None]
    fine[0, rng.random(n) < 0.1] = np.inf
    hamming = rng.integers(0, bits + 1, (1, n))
    kept = pools.neighbours_kept(metrics.rank(fine), hamming, k, bits=bits)[0]
    order = [i for i in np.argsort(fine[0]) if np.isfinite(fine[0, i])]
    for threshold in range(1, bits + 2):
        found = [i for i in order if hamming[0, i] < threshold][:k]
        assert kept[threshold - 1] == len(set(found) & set(order[:k])) / min(k, len(order))


def test_true_neighbours_that_tie_are_all_accepted():
    """Any item at the distance of the K-th counts as a neighbour (ANN-Benchmarks)."""
    fine = np.array([[0.0, 1.0, 1.0, 1.0, 2.0]])
    kept = pools.neighbours_kept(metrics.rank(fine), np.array([[0, 1, 0, 1, 0]]), 2, bits=1)
    np.testing.assert_array_equal(kept, [[1.0, 1.0]])
    kept = pools.neighbours_kept(metrics.rank(fine), np.array([[0, 1, 1, 1, 0]]), 2, bits=1)
    np.testing.assert_array_equal(kept, [[0.5, 1.0]])


def test_code_statistics_equal_scipy_and_numpy():
    rng = np.random.default_rng(7)
    bits = rng.random((200, 6)) < [0.5, 0.1, 0.9, 0.5, 0.5, 0.5]
    bits[:, 3] = bits[:, 0] ^ (rng.random(200) < 0.2)
    bits[:, 5] = True
    found = code_statistics(bits)
    share = bits.mean(axis=0)
    expected = np.mean([entropy([p, 1 - p], base=2) for p in share])
    assert found["bit_entropy"] == pytest.approx(expected)
    pairs = np.corrcoef(bits[:, :5].T.astype(float))[np.triu_indices(5, 1)]
    assert found["bit_correlation"] == pytest.approx(np.abs(pairs).mean())
    assert found["constant_bits"] == 1
    assert found["distinct_codes"] == len({tuple(row) for row in bits})
    assert found == code_statistics(bits[rng.permutation(200)])
    assert math.isnan(code_statistics(np.ones((3, 2), bool))["bit_correlation"])


@RUNS
@given(st.integers(0, 2**32 - 1))
def test_lookup_counts_what_a_loop_counts(seed):
    rng = np.random.default_rng(seed)
    bits = 6
    hamming = rng.integers(0, bits + 1, (3, 15))
    relevance, excluded = rng.random((3, 15)) < 0.4, rng.random((3, 15)) < 0.2
    found = pools.lookup(hamming, relevance, excluded, bits=bits)
    for query, threshold in itertools.product(range(3), range(1, bits + 2)):
        pool = [i for i in range(15) if hamming[query, i] < threshold and not excluded[query, i]]
        assert found.sizes[query, threshold - 1] == len(pool)
        assert found.hits[query, threshold - 1] == sum(relevance[query, i] for i in pool)


def test_macro_weighs_classes_and_leaves_out_undefined_queries():
    values = np.array([1.0, 0.0, 0.0, 0.5, np.nan])
    labels = np.array([0, 0, 0, 1, 2])
    assert metrics.macro(values, labels) == pytest.approx((1 / 3 + 0.5) / 2)
    assert metrics.micro(values) == pytest.approx(1.5 / 4)
    assert metrics.macro(np.array([np.nan]), np.array([0])) is None


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_distances_that_cannot_be_sorted_are_refused(bad):
    with pytest.raises(ValueError, match="NaN or -inf"):
        metrics.rank(np.array([[0.0, bad]]))
    with pytest.raises(ValueError, match="items >= 1"):
        metrics.rank(np.zeros((2, 0)))


def test_measures_refuse_arguments_that_do_not_match():
    ranking = metrics.rank(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="does not match"):
        metrics.find(ranking, np.zeros((2, 4), bool))
    with pytest.raises(ValueError, match="at least 1"):
        graded.candidates(ranking, 0)
    hits = metrics.find(ranking, np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="0 or more"):
        metrics.average_precision(hits, -1)


def test_chunks_cover_all_queries_once():
    parts = list(metrics.chunks(10, 300, cells=1000))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(10))
    assert max(part.stop - part.start for part in parts) == 3
