import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from inres.evaluation import agreement

NUMBERS = st.lists(st.integers(0, 5), min_size=2, max_size=12)


@given(first=NUMBERS, seed=st.integers(0, 9))
def test_tau_is_scipys(first, seed):
    a = np.array(first, float)
    b = np.random.default_rng(seed).permutation(a)
    expected = scipy.stats.kendalltau(a, b).statistic
    assert agreement.kendall_tau(a, b) == pytest.approx(expected, nan_ok=True)


def test_a_case_by_hand():
    exact = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    # The third item moves to the last position, and those after it move up by one.
    other = np.array([0.1, 0.2, 0.9, 0.4, 0.5])
    assert agreement.ranking_change(exact, other, 2) == {
        "set_differs": 0, "order_differs": 0, "overlap": 1, "displacement": 0, "tau": 1,
    }  # fmt: skip
    got = agreement.ranking_change(exact, other, 4)
    assert got["tau"] == pytest.approx((5 - 1) / 6)  # one of six pairs is reversed
    del got["tau"]
    assert got == {"set_differs": 1, "order_differs": 1, "overlap": 3 / 4, "displacement": 2}


def test_ties_go_to_the_lowest_item():
    exact = np.array([1.0, 1.0, 1.0, 2.0])
    other = np.array([1.5, 1.5, 1.5, 1.5])
    got = agreement.ranking_change(exact, other, 4)
    assert (got["order_differs"], got["displacement"]) == (0, 0)
    assert np.isnan(got["tau"])
