"""Codes, similarity and losses of several properties at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from inres import config as lib
from inres.learning import codebooks, losses, objective
from inres.learning.neighbourhood import graded_similarity
from inres.learning.property_error import property_error
from inres.learning.terms import to_code

pytestmark = pytest.mark.usefixtures("quick_programs")

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, 40)
DIAMETERS = np.where(LABELS > 0, 3.0 * LABELS + RNG.random(40), 0.0)
VALUES = np.where((LABELS > 0)[:, None], RNG.uniform(1, 5, (40, 3)), np.nan)
VALUES[RNG.random((40, 3)) < 0.2] = np.nan


def test_quantiles_are_ranks_among_the_known_values():
    found = codebooks.quantiles(np.array([3.0, np.nan, 1.0, 2.0, 2.0]))
    np.testing.assert_allclose(found, [1.0, np.nan, 0.0, 0.5, 0.5])
    assert codebooks.quantiles(np.array([7.0, 7.0])).tolist() == [0.5, 0.5]
    assert np.isnan(codebooks.quantiles(np.full(3, np.nan))).all()


def test_the_distance_of_two_nodules_is_the_weighted_difference_of_their_properties():
    size, positions = RNG.random(30), RNG.random((30, 4))
    codes = codebooks.graded(size, positions, 48, presence=0.2, of_size=0.25)
    assert codes.shape == (30, 48)
    # Without normal items no bits say nodule or not: 12 for the size, 9 for each other.
    for i, j in RNG.integers(0, 30, (20, 2)):
        want = 12 * abs(size[i] - size[j]) + 9 * np.abs(positions[i] - positions[j]).sum()
        assert np.abs(codes[i] - codes[j]).sum() == pytest.approx(want, abs=1e-4)


def test_normal_items_differ_from_all_nodules_and_unknown_bits_are_unknown():
    size = np.where(LABELS > 0, RNG.random(40), np.nan)
    codes = codebooks.graded(size, VALUES / 5, 40, presence=0.2, of_size=0.3)
    normal = LABELS == 0
    assert (codes[normal] == codes[normal][0]).all()
    assert (codes[~normal, :8] == 1).all()
    assert (codes[normal, :8] == 0).all()
    widths = codebooks.shares(20, 3)
    assert widths == [7, 7, 6]
    start = 20
    for at, width in enumerate(widths):
        unknown = np.isnan(codes[:, start : start + width])
        assert (unknown.all(axis=1) == (np.isnan(VALUES[:, at]) & ~normal)).all()
        assert (unknown.any(axis=1) == unknown.all(axis=1)).all()
        start += width


def test_too_few_bits_are_named():
    config = lib.Config(loss=lib.Loss("graded"), hash=lib.Hash(bits=4))
    truth = losses.Truth(LABELS, DIAMETERS, ("a", "b", "c"), VALUES)
    with pytest.raises(lib.ConfigError, match=r"4 bits are too few for 3 properties"):
        objective.target_codes(config, truth, classes=5)


def test_targets_hold_all_properties_but_the_diameter_twice():
    config = lib.Config(loss=lib.Loss("graded"), hash=lib.Hash(bits=32))
    alone = losses.Truth(LABELS, DIAMETERS, ("a", "b", "c"), VALUES)
    both = losses.Truth(LABELS, DIAMETERS, ("diameter_mm", "a", "b", "c"), np.c_[DIAMETERS, VALUES])
    codes = [objective.target_codes(config, truth, classes=5) for truth in (alone, both)]
    np.testing.assert_array_equal(*codes)
    assert np.nanmin(codes[0]) == 0
    assert np.nanmax(codes[0]) == 1


def test_unknown_bits_have_no_cost_and_no_gradient():
    u, code = RNG.normal(size=(6, 8)), RNG.random((6, 8))
    code[RNG.random((6, 8)) < 0.4] = np.nan
    known = np.isfinite(code)
    p = 1 / (1 + np.exp(-u))
    costs = -(code * np.log(p) + (1 - code) * np.log(1 - p))
    cost, slope = jax.value_and_grad(to_code)(jnp.asarray(u), jnp.asarray(code))
    assert float(cost) == pytest.approx(costs[known].mean(), rel=1e-5)
    assert (np.asarray(slope)[~known] == 0).all()
    assert (np.asarray(slope)[known] != 0).all()


def test_similarity_is_the_weighted_mean_over_shared_properties():
    values, weights = RNG.normal(size=(7, 3)), RNG.random((7, 3))
    values[RNG.random((7, 3)) < 0.3] = np.nan
    values[2] = np.nan
    found = np.asarray(graded_similarity(jnp.asarray(values), jnp.asarray(weights)))
    for i in range(7):
        for j in range(7):
            shared = np.isfinite(values[i] + values[j])
            pair = (weights[i] * weights[j])[shared]
            near = np.exp(-np.abs(values[i] - values[j])[shared])
            want = (pair * near).sum() / pair.sum() if shared.any() else 0.0
            assert found[i, j] == pytest.approx(want, abs=1e-5)
    slope = jax.grad(lambda v: graded_similarity(v, jnp.asarray(weights)).sum())(
        jnp.asarray(values)
    )
    assert np.isfinite(np.asarray(slope)).all()


def test_the_error_of_properties_is_huber_s_over_known_values():
    estimates, values = 3 * RNG.normal(size=(9, 4)), RNG.normal(size=(9, 4))
    weights = RNG.random((9, 4))
    values[RNG.random((9, 4)) < 0.3] = np.nan
    known = np.isfinite(values)
    # SciPy's rho has the corner at 1 as well and is e^2 near 0.
    costs = optimize.least_squares(
        lambda x: (estimates - np.nan_to_num(values))[known] + 0 * x,
        [0.0],
        loss="huber",
        max_nfev=1,
    )
    e = (estimates - values)[known]
    rho = np.where(np.abs(e) <= 1, e**2, 2 * np.abs(e) - 1)
    assert costs.cost == pytest.approx(rho.sum() / 2)
    want = (rho * weights[known]).sum() / weights[known].sum()
    found = property_error(*map(jnp.asarray, (estimates, values, weights)))
    assert float(found) == pytest.approx(want, rel=1e-5)
    slope = jax.grad(property_error)(*map(jnp.asarray, (estimates, values, weights)))
    assert (np.asarray(slope)[~known] == 0).all()
    nothing = property_error(jnp.ones((2, 1)), jnp.full((2, 1), jnp.nan), jnp.ones((2, 1)))
    assert float(nothing) == 0.0
