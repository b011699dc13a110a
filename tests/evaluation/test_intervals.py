"""Intervals and tests against SciPy, enumeration, closed forms and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inres.evaluation import intervals, metrics


def queries(seed=0, patients=12, classes=3):
    """Values with some NaN, patients with 1 to 4 queries, labels."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, patients)
    scans = np.repeat([f"s{p}" for p in range(patients)], sizes)
    values = rng.normal(size=patients).repeat(sizes) + rng.normal(size=len(scans))
    values[rng.random(len(scans)) < 0.1] = np.nan
    order = rng.permutation(len(scans))
    return values[order], scans[order], rng.integers(0, classes, len(scans))


def resampled(values, scans, labels, drawn):
    """The mean of a resample, computed by copying queries."""
    rows = np.concatenate([np.flatnonzero(scans == s) for s in drawn])
    mean = (
        metrics.micro(values[rows]) if labels is None else metrics.macro(values[rows], labels[rows])
    )
    return np.nan if mean is None else mean


@pytest.mark.parametrize("macro", [False, True])
def test_interval_is_that_of_all_resamples_of_patients(macro):
    """Enumerate the 256 equally likely resamples of four patients."""
    values, scans, labels = queries(seed=3, patients=4)
    labels = labels if macro else None
    every = [
        resampled(values, scans, labels, drawn)
        for drawn in itertools.product(np.unique(scans), repeat=4)
    ]
    found = intervals.mean_interval(values, scans, labels, level=0.8)
    assert found.value == pytest.approx(resampled(values, scans, labels, np.unique(scans)))
    low, high = np.percentile(every, [10, 90])
    spread = np.std(every)
    assert found.low == pytest.approx(low, abs=0.1 * spread)
    assert found.high == pytest.approx(high, abs=0.1 * spread)
    assert (found.patients, found.queries) == (4, np.isfinite(values).sum())


def test_interval_agrees_with_scipy():
    rng = np.random.default_rng(1)
    values = rng.exponential(size=60)
    found = intervals.mean_interval(values, np.arange(60).astype(str))
    scipy_ = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=rng, vectorized=True
    )
    error = scipy_.standard_error
    assert found.low == pytest.approx(scipy_.confidence_interval.low, abs=0.08 * error)
    assert found.high == pytest.approx(scipy_.confidence_interval.high, abs=0.08 * error)
    # Normal theory, for a mean of equal clusters.
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 60**0.5, rel=0.05)


def test_a_macro_mean_is_that_of_the_drawn_queries():
    """Compared with the mean over classes in every resample, by weights of single queries."""
    values, scans, labels = queries(seed=5)
    patients = intervals.patient_rows(scans)
    drawn = np.concatenate(list(intervals._draws(patients.max() + 1, 500, 7)))[:, patients]
    known, total, there = np.isfinite(values), 0.0, 0
    for label in np.unique(labels):
        weights = drawn * (known & (labels == label))
        count = weights.sum(axis=1)
        total = total + weights @ np.nan_to_num(values) / np.maximum(count, 1)
        there = there + (count > 0)
    found = intervals.mean_interval(values, scans, labels, resamples=500, seed=7)
    assert (found.low, found.high) == pytest.approx(np.percentile(total / there, [2.5, 97.5]))
    means = [values[known & (labels == label)].mean() for label in np.unique(labels[known])]
    assert found.value == pytest.approx(np.mean(means))


def test_patients_are_drawn_instead_of_queries():
    """Ten copies of every query do not change the interval."""
    rng = np.random.default_rng(2)
    values, scans = rng.normal(size=40), np.arange(40).astype(str)
    once = intervals.mean_interval(values, scans)
    tenfold = intervals.mean_interval(values.repeat(10), scans.repeat(10))
    assert vars(tenfold) == pytest.approx({**vars(once), "queries": 400})
    unknown = intervals.mean_interval(values.repeat(10), np.full(400, ""))
    assert unknown.patients == 400
    assert unknown.high - unknown.low < 0.5 * (once.high - once.low)


def test_coverage():
    """About 95 of 100 intervals at 95 % contain the true value with clustered queries."""
    rng = np.random.default_rng(4)
    patients, each, rounds = 40, 5, 400
    scans = np.repeat(np.arange(patients), each).astype(str)
    means = rng.normal(size=(rounds, patients, 1))
    values = (means + rng.normal(size=(rounds, patients, each))).reshape(rounds, -1)
    named = {str(i): row for i, row in enumerate(values)}
    found = intervals.mean_intervals(named, scans, resamples=1000).values()
    covered = np.mean([i.low <= 0 <= i.high for i in found])
    # Percentile intervals with 40 clusters cover about 1 % less; plus three binomial errors.
    assert 0.90 <= covered <= 0.975
    naive = intervals.mean_intervals(named, np.full(len(scans), ""), resamples=1000).values()
    assert np.mean([i.low <= 0 <= i.high for i in naive]) < 0.80


@given(st.integers(0, 10_000), st.booleans())
def test_intervals_are_consistent(seed, macro):
    values, scans, labels = queries(seed, patients=6)
    labels = labels if macro else None
    kept = dict(resamples=200, seed=seed)
    found = intervals.mean_interval(values, scans, labels, **kept)
    assert found.low <= found.high
    assert found == intervals.mean_interval(values, scans, labels, **kept)
    moved = intervals.mean_interval(3.0 - 2.0 * values, scans, labels, **kept)
    assert (moved.value, moved.low, moved.high) == pytest.approx(
        (3 - 2 * found.value, 3 - 2 * found.high, 3 - 2 * found.low)
    )
    wide = intervals.mean_interval(values, scans, labels, **kept, level=0.99)
    assert wide.low <= found.low <= found.high <= wide.high


def test_one_patient_and_none():
    alone = intervals.mean_interval(np.array([0.2, 0.4]), np.array(["a", "a"]))
    assert alone.value == pytest.approx(0.3)
    assert math.isnan(alone.low)
    assert alone.as_json()["low"] is None
    undefined = intervals.mean_interval(np.full(3, np.nan), np.array(["a", "b", "c"]))
    assert math.isnan(undefined.value)
    assert undefined.queries == 0
    with pytest.raises(ValueError, match="no queries"):
        intervals.mean_interval(np.zeros(0), np.zeros(0, str))
    with pytest.raises(ValueError, match=r"ours has shape \(2,\), but there are 3"):
        intervals.difference(np.zeros(2), np.zeros(3), np.array(["a", "b", "c"]))


def test_difference_agrees_with_scipys_permutation_test():
    rng = np.random.default_rng(6)
    ours, theirs = rng.normal(0.4, 1, 10), rng.normal(size=10)
    found = intervals.difference(ours, theirs, np.arange(10).astype(str))
    oracle = stats.permutation_test(
        (ours, theirs), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples"
    )
    assert found.exact
    assert found.p_value == pytest.approx(oracle.pvalue)
    assert found.value == pytest.approx(oracle.statistic)


def test_flips_are_those_of_whole_patients():
    """Enumerate every exchange of the runs within patients, for a clustered macro difference."""
    values, scans, labels = queries(seed=8, patients=7)
    other = queries(seed=9, patients=7)[0]
    other = np.resize(other, len(values))
    both = np.isfinite(values) & np.isfinite(other)
    names = np.unique(scans)

    def macro(flipped):
        swap = np.isin(scans, names[list(flipped)])
        a, b = np.where(swap, other, values), np.where(swap, values, other)
        return metrics.macro(np.where(both, a - b, np.nan), labels)

    subsets = itertools.chain.from_iterable(itertools.combinations(range(7), n) for n in range(8))
    every = np.abs([macro(subset) for subset in subsets])
    found = intervals.difference(values, other, scans, labels)
    assert found.value == pytest.approx(macro(()))
    assert found.p_value == pytest.approx(np.mean(every >= every[0] - 1e-12))
    drawn = intervals.difference(values, other, scans, labels, resamples=100)
    assert not drawn.exact
    assert drawn.p_value == pytest.approx(found.p_value, abs=0.15)


def test_p_values_of_equal_runs_are_uniform():
    rng = np.random.default_rng(10)
    p = np.array(
        [
            intervals.sign_flip(shares, flips=200, seed=i)[0]
            for i, shares in enumerate(rng.normal(size=(400, 15)))
        ]
    )
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert intervals.sign_flip(np.zeros(5)) == (1.0, True)
    assert intervals.sign_flip(np.ones(100), flips=99)[0] == 0.01


def test_seeds_are_averaged_query_by_query():
    values, scans, labels = queries(seed=11)
    other = values + np.random.default_rng(0).normal(size=len(values))
    found = intervals.over_seeds(np.stack([values, other]), scans, labels)
    each = [metrics.macro(v, labels) for v in (values, other)]
    assert found.by_seed == pytest.approx(each)
    assert found.value == pytest.approx(np.mean(each))
    assert found.spread == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
    mean = intervals.mean_interval((values + other) / 2, scans, labels)
    assert (found.low, found.high) == (mean.low, mean.high)
    assert found.as_json()["by_seed"] == list(found.by_seed)
    assert intervals.over_seeds(values, scans).as_json()["spread"] is None


def test_patients_of_the_smallest_class_are_counted():
    """Class 1 has patients a and c; the second measure is known only for c."""
    scans, labels = np.array(list("aabbccd")), np.array([0, 1, 0, 0, 1, 1, 0])
    values = {"all": np.ones(7), "some": np.array([1, np.nan, 1, 1, 1, 1, np.nan])}
    values["none"] = np.full(7, np.nan)
    found = intervals.mean_intervals(values, scans, labels)
    assert [found[name].fewest_patients for name in values] == [2, 1, 0]
    assert [found[name].patients for name in values] == [4, 3, 0]
    assert intervals.mean_interval(values["all"], scans).fewest_patients == 4
    assert intervals.difference(values["all"], values["some"], scans, labels).fewest_patients == 1


def test_holm_by_hand():
    """0.01 * 4, 0.02 * 3, 0.03 * 2 (at least the previous one), 0.04 * 1."""
    assert intervals.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert intervals.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
