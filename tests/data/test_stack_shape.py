import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.data.stack_shape import equalise, reach


def drawn(seed, sizes, *, step=1.25):
    """Extents that grow with the class, whole slices of `step` mm, and the classes."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(sizes)), sizes)
    extents = np.floor(rng.gamma(2.0, 1.0 + classes)) * step
    return extents, classes


def survival(values, at):
    return (values[:, None] >= at).mean(0)


def test_the_distribution_is_the_same_in_all_classes():
    extents, classes = drawn(0, [50, 50, 50, 50])
    found = equalise(extents, classes, seed=0)
    assert (found.visible <= extents).all()
    by_class = [np.sort(found.visible[classes == c]) for c in range(4)]
    for other in by_class[1:]:
        np.testing.assert_array_equal(other, by_class[0])
    # It is the largest one that all can provide: here each class has 50 ranks, so rank by rank.
    ranks = np.sort(extents.reshape(4, 50), axis=1)
    np.testing.assert_array_equal(by_class[0], ranks.min(axis=0))
    assert found.cap == ranks.max(axis=1).min() == found.visible.max()


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.integers(0, 1000),
    st.integers(1, 50),
)
def test_no_item_shows_more_than_it_has(sizes, seed, least):
    extents, classes = drawn(seed, sizes)
    found = equalise(extents, classes, seed=seed, least=least)
    assert (found.visible <= extents).all()
    assert (found.visible >= 0).all()
    assert found.visible.max() <= found.cap
    large = [n >= least for n in sizes] if max(sizes) >= least else [True] * len(sizes)
    grid = np.unique(extents)
    of_class = [extents[classes == c] for c in range(len(sizes)) if large[c]]
    target = np.min([survival(e, grid) for e in of_class], axis=0)
    for c, n in enumerate(sizes):
        if large[c]:
            shown = survival(found.visible[classes == c], grid)
            assert np.abs(shown - target).max() <= 0.5 / n + 1e-9


def test_more_available_is_never_shown_less_within_a_class():
    extents, classes = drawn(1, [60, 35])
    found = equalise(extents, classes, seed=0)
    for c in range(2):
        of_class = classes == c
        order = np.lexsort((found.visible[of_class], extents[of_class]))
        assert (np.diff(found.visible[of_class][order]) >= 0).all()


def test_the_seed_decides_among_equals_only():
    extents, classes = drawn(2, [40, 40])
    first, again, other = (equalise(extents, classes, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.visible, again.visible)
    assert (first.visible != other.visible).any()
    for c in range(2):
        of_class = classes == c
        np.testing.assert_array_equal(
            np.sort(first.visible[of_class]), np.sort(other.visible[of_class])
        )
    assert first.cap == other.cap


def test_one_short_stack_of_a_small_class_does_not_hide_all_others():
    extents, classes = drawn(3, [80, 80])
    with_small = np.append(extents, [0.0, 30.0]), np.append(classes, [2, 3])
    alone = equalise(extents, classes, seed=0)
    found = equalise(*with_small, seed=0)
    np.testing.assert_array_equal(found.visible[:160], alone.visible)
    assert found.visible[160] == 0
    assert 0 < found.visible[161] <= alone.cap == found.cap
    dozen = np.append(extents, [0.0] + [30.0] * 11), np.append(classes, [2] * 12)
    lowered = equalise(*dozen, seed=0)
    assert np.mean(lowered.visible[:160] < alone.visible) <= 1 / 12 + 1 / 80
    assert lowered.cap == alone.cap
    assert equalise(*with_small, seed=0, least=1).visible.max() == 0


def balanced_accuracy(train, labels, test, truth):
    """Of the rule that knows the frequency of each class at each training extent, the best one.

    Classes are weighted equally; an extent that training lacks counts as the nearest one it has.
    """
    values = np.unique(train)
    rates = np.array(
        [[np.mean(train[labels == c] == v) for c in np.unique(labels)] for v in values]
    )
    nearest = np.abs(test[:, None] - values).argmin(1)
    best = np.isclose(rates, rates.max(1, keepdims=True), atol=1e-9)[nearest]
    right = best[np.arange(len(test)), truth] / best.sum(1)
    return np.mean([right[truth == c].mean() for c in np.unique(truth)])


def test_a_classifier_that_sees_only_the_extent_is_at_chance():
    sizes = [200, 200, 200, 200]
    extents, classes = drawn(4, sizes)
    held_out, truth = drawn(5, [500] * 4)
    leaking = balanced_accuracy(extents, classes, held_out, truth)
    assert leaking > 0.4
    found = equalise(extents, classes, seed=0)
    capped = np.minimum(held_out, found.cap)
    assert balanced_accuracy(found.visible, classes, capped, truth) == pytest.approx(0.25)
    # With unequal numbers the ranks differ by a step, and so does any rule that is learned.
    extents, classes = drawn(6, [37, 200, 91, 153])
    found = equalise(extents, classes, seed=0)
    gap = [survival(found.visible[classes == c], np.unique(extents)) for c in range(4)]
    assert np.ptp(gap, axis=0).max() <= 0.5 / 37 + 0.5 / 91


@pytest.mark.parametrize(
    ("known", "want"),
    [("0111110", 2), ("1111110", 2), ("1011111", 1), ("0001111", 0), ("1111111", 3), ("1", 0)],
)
def test_the_reach_is_that_of_the_shorter_side(known, want):
    planes = np.array([*known]) == "1"
    assert reach(planes) == want
    assert reach(planes[::-1]) == want


@pytest.mark.parametrize("extents", [[], [1.0, np.nan], [-1.0, 2.0]])
def test_extents_that_are_none_are_refused(extents):
    with pytest.raises(ValueError, match="at least 0"):
        equalise(np.array(extents), np.zeros(len(extents), int), seed=0)
