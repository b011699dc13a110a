"""Comparisons of recipes: which is better, with p-values corrected for their number."""

import numpy as np
import pytest
from scipy import stats

from inres.evaluation import comparison, intervals, metrics, runs

AP, MM = "average_precision", "diameter_error_mm"


def run(shift, *, seed=0, queries=60, order=None):
    """A run whose scores are common noise plus `shift` plus its own noise."""
    base = np.random.default_rng(99)
    names = np.array([f"q{i}" for i in range(queries)])
    labels = np.arange(queries) % 3
    common = base.random(queries)
    own = np.random.default_rng(seed).normal(0, 0.02, queries)
    values = {
        AP: common + shift + own,
        MM: 5 - common - shift - own,
    }
    scans = np.array([f"s{i // 2}" for i in range(queries)])
    made = runs.Run(names, scans, labels, {"two_stage": values, "chance": {AP: 0 * common}})
    return made if order is None else made.take(order)


def recipe(name, *members, ranking="two_stage"):
    return comparison.Recipe(name, members, ranking)


def test_the_better_recipe_is_ahead_and_equal_ones_are_not_significant():
    order = np.random.default_rng(5).permutation(60)
    found = comparison.compare(
        [
            recipe("low", run(0.0)),
            recipe("high", run(0.1, seed=1, order=order), run(0.1, seed=2)),
            recipe("same", run(0.0, seed=3)),
        ],
        [AP],
        resamples=2000,
    )
    pairs = {frozenset((p.ahead, p.behind)): p for p in found.pairs}
    assert len(pairs) == 3
    for other in ("low", "same"):
        pair = pairs[frozenset(("high", other))]
        assert (pair.ahead, pair.significant) == ("high", True)
        assert pair.difference.low < 0.1 < pair.difference.high
    pair = pairs[frozenset(("low", "same"))]
    assert not pair.significant
    assert pair.difference.value >= 0
    p = [q.difference.p_value for q in found.pairs]
    assert [q.p_holm for q in found.pairs] == intervals.holm(p).tolist()
    score = found.scores[AP]["high"]
    each = [run(0.1, seed=s).values["two_stage"][AP] for s in (1, 2)]
    assert score.by_seed == pytest.approx(
        [metrics.macro(v, run(0).labels) for v in each], abs=1e-12
    )
    assert score.value == pytest.approx(np.mean(score.by_seed))


def test_the_smaller_error_is_ahead():
    found = comparison.compare(
        [recipe("worse", run(0.0)), recipe("better", run(0.2, seed=1))],
        [AP, MM],
        macro=False,
        resamples=500,
    )
    assert [(p.ahead, p.behind) for p in found.pairs] == [("better", "worse")] * 2
    by_measure = {p.measure: p.difference for p in found.pairs}
    assert by_measure[MM].value == pytest.approx(-by_measure[AP].value)
    rows = comparison.pair_rows(found.pairs)
    assert [r["verdict"] for r in rows] == ["more than chance"] * 2


def test_equal_runs_are_rarely_significant():
    """The family-wise error rate is about 5 % or less, however many runs are compared."""
    wrong = 0
    for trial in range(60):
        seeds = 10 * trial + np.arange(4)
        found = comparison.compare(
            [recipe(str(s), run(0.0, seed=s, queries=24)) for s in seeds],
            [AP],
            resamples=200,
        )
        wrong += any(p.significant for p in found.pairs)
    assert stats.binomtest(wrong, 60, 0.05, alternative="greater").pvalue > 0.001


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        comparison.compare([recipe("a", run(0))], [AP])
    with pytest.raises(ValueError, match="different queries; 10 are only in a"):
        comparison.compare([recipe("a", run(0)), recipe("b", run(0, queries=50))], [AP])
    unknown = run(0)
    unknown.values["two_stage"][MM][:] = np.nan
    for measures in ([MM], [AP, MM]):
        with pytest.raises(ValueError, match=f"b: '{MM}' is undefined for every query"):
            comparison.compare([recipe("a", run(0)), recipe("b", unknown)], measures)
    halves = [run(0), run(0)]
    for one, part in zip(halves, (slice(0, 30), slice(30, 60)), strict=True):
        one.values["two_stage"][AP][part] = np.nan
    with pytest.raises(ValueError, match=f"a and b together: '{AP}' is undefined for every query"):
        comparison.compare([recipe(n, h) for n, h in zip("ab", halves, strict=True)], [AP])
    with pytest.raises(ValueError, match="no 'fc7' in this run"):
        comparison.compare([recipe("a", run(0)), recipe("b", run(0), ranking="fc7")], [AP])
