import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from inres.learning.losses import terms


def test_nll_is_the_log_loss():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 5)).astype(np.float32), rng.integers(0, 5, 20)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    want = log_loss(labels, p, labels=range(5))
    assert terms.nll(logits, labels) == pytest.approx(want, rel=1e-5)
    smooth = 0.9 * want + 0.1 * -np.log(p).mean()
    assert terms.nll(logits, labels, label_smoothing=0.1) == pytest.approx(smooth, rel=1e-5)


def test_neighbour_smoothing_stays_among_sizes():
    by_hand = [[1, 0, 0, 0], [0, 0.9, 0.1, 0], [0, 0.1, 0.8, 0.1], [0, 0, 0.1, 0.9]]
    np.testing.assert_allclose(terms.neighbours(4, 0.2), by_hand, rtol=1e-6)
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 4, 20)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    want = -np.mean(np.sum(np.array(by_hand)[labels] * log_p, axis=1))
    assert terms.nll(logits, labels, neighbour_smoothing=0.2) == pytest.approx(want, rel=1e-5)
    two = np.arange(20) % 2  # nodule or not: one size has no neighbour
    assert terms.nll(logits[:, :2], two, neighbour_smoothing=0.5) == terms.nll(logits[:, :2], two)


@pytest.mark.parametrize(("spread", "across"), [(0.0, 0.0), (0.25, 0.0), (0.25, 0.4)])
def test_neighbours_akin_by_a_loop(spread, across):
    rng = np.random.default_rng(1)
    f = rng.normal(size=(9, 5)).astype(np.float32)
    labels = np.array([0, 0, 1, 1, 1, 4, 0, 2, 3])
    diameters = np.array([0, 0, 4.0, 4.4, np.nan, 40, 0, 4.9, 8.0], np.float32)
    items = np.array([5, 6, 7, 8, 9, 10, 5, 11, 12])  # one drawn twice
    weights = rng.random(9) + 0.5
    want = []
    for i in range(9):
        kin, p = [], []
        for j in range(9):
            if items[i] == items[j]:
                continue
            step = abs(labels[i] - labels[j])
            if step == 0:
                near = 1.0
            elif min(labels[i], labels[j]) > 0 and step <= 2:
                near = across**step
            else:
                near = 0.0
            if spread and diameters[i] > 0 and diameters[j] > 0:
                near *= np.exp(-abs(np.log(diameters[i] / diameters[j])) / spread)
            kin.append(near)
            p.append(weights[j] * np.exp(-8 / 5 * np.sum((f[i].astype(float) - f[j]) ** 2)))
        if any(kin):  # else it stands alone and does not count
            want.append(-np.log(np.dot(kin, p) / np.sum(p)))
    akin = terms.kinship(labels, diameters, spread=spread, across=across)
    both = jax.jit(jax.value_and_grad(terms.neighbourhood))
    got, slope = both(f, akin, items, np.log(weights))
    assert got == pytest.approx(np.mean(want), rel=1e-4)
    assert len(want) == (9 if across else 6)
    assert np.isfinite(slope).all()
    for lonely in (np.arange(9), np.zeros(9, int)):  # without kin, and with no other at all
        got, slope = both(f, np.eye(9, dtype=np.float32), lonely)
        assert got == 0.0
        assert (slope == 0).all()
    assert np.isfinite(both(np.ones_like(f), akin, items)[1]).all()  # twins


def test_quantization_is_least_at_bits():
    assert terms.quantization(jnp.array([[0.0, 1.0], [1.0, 1.0]])) == -0.25
    assert terms.quantization(jnp.full((3, 2), 0.5)) == 0.0
    assert terms.quantization(jnp.array([[0.25]])) == pytest.approx(-0.0625)


def test_balance_is_zero_for_bits_on_half_the_time():
    assert terms.balance(jnp.array([[0.0, 1.0], [1.0, 0.0]])) == 0.0
    assert terms.balance(jnp.array([[1.0, 0.5], [1.0, 0.5]])) == pytest.approx(0.125)


def test_independence_is_zero_for_orthogonal_projections():
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))
    assert terms.independence(jnp.asarray(3.0 * q, jnp.float32)) == pytest.approx(0, abs=1e-10)
    same = jnp.ones((6, 3))  # off-diagonal entries are all 1
    assert terms.independence(same) == pytest.approx(6 / 9, rel=1e-5)


@given(st.integers(0, 2**31 - 1))
def test_dice_loss_is_numpys(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 4, 5)).astype(np.float32)
    masks = (rng.random((3, 4, 5)) < 0.3).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    inter, total = (p * masks).sum((1, 2)), (p + masks).sum((1, 2))
    want = np.mean(1 - (2 * inter + 1) / (total + 1))
    assert terms.dice_loss(logits, masks) == pytest.approx(want, rel=1e-4, abs=1e-6)


def test_a_sure_right_mask_costs_nothing_and_an_empty_one_has_a_gradient():
    masks = jnp.zeros((1, 4, 4)).at[:, :2].set(1)
    assert terms.segmentation(40 * masks - 20, masks, dice_weight=1.0) == pytest.approx(0, abs=1e-6)
    empty = np.zeros((1, 4, 4), np.float32)
    slope = jax.jit(jax.grad(lambda x: terms.dice_loss(x, empty)))(empty)
    assert float(slope.min()) > 0
