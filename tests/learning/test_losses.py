"""Losses of the codes against NumPy loops over pairs, triplets and items, and closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from inres.learning.losses.csq import csq
from inres.learning.losses.dpsh import dpsh
from inres.learning.losses.dtsh import dtsh
from inres.learning.losses.greedyhash import greedyhash, straight_through_bits
from inres.learning.losses.hashnet import beta_at, hashnet
from inres.learning.losses.nll import nll
from inres.learning.losses.orthohash import orthohash
from inres.learning.losses.paper import balance, independence, quantization
from inres.learning.terms import to_code

pytestmark = pytest.mark.usefixtures("quick_programs")

RNG = np.random.default_rng(0)
U = RNG.normal(size=(6, 8)).astype(np.float32)
LABELS = np.array([0, 1, 0, 2, 1, 0])
GAP = np.mean((U - np.sign(U)) ** 2)


def softplus(x):
    return np.log1p(np.exp(-abs(x))) + max(x, 0.0)


def test_dpsh_is_the_likelihood_of_the_pairs():
    pairs = list(itertools.permutations(range(6), 2))
    t = {(i, j): float(U[i].astype(float) @ U[j]) / 2 for i, j in pairs}
    want = np.mean([softplus(t[i, j]) - (LABELS[i] == LABELS[j]) * t[i, j] for i, j in pairs])
    got = dpsh(U, LABELS, quantization=0.3)
    assert got == pytest.approx(want + 0.3 * GAP, rel=1e-5)


def test_hashnet_gives_similar_and_other_pairs_equal_weight():
    g = np.tanh(2.0 * U.astype(float))
    costs = {True: [], False: []}
    for i, j in itertools.permutations(range(6), 2):
        t, same = 0.4 * g[i] @ g[j], LABELS[i] == LABELS[j]
        costs[bool(same)].append(softplus(t) - same * t)
    got = hashnet(U, LABELS, beta=jnp.float32(2.0), alpha=0.4)
    assert got == pytest.approx(np.mean(costs[True]) + np.mean(costs[False]), rel=1e-5)
    alone = hashnet(U, np.arange(6), beta=jnp.float32(2.0), alpha=0.4)
    assert np.isfinite(alone)


def test_the_beta_of_hashnet_grows_from_one_to_the_last():
    betas = [float(beta_at(jnp.float32(p), last=10.0)) for p in (0, 0.25, 1)]
    assert betas == pytest.approx([1.0, (1 + 99 / 4) ** 0.5, 10.0])


def test_dtsh_is_the_likelihood_of_the_triplets():
    costs = []
    for a, p, n in itertools.permutations(range(6), 3):
        if LABELS[a] == LABELS[p] != LABELS[n]:
            near, far = (float(U[a].astype(float) @ U[x]) / 2 for x in (p, n))
            costs.append(softplus(4.0 - (near - far)))
    got = dtsh(U, LABELS, margin=4.0, quantization=0.2)
    assert got == pytest.approx(np.mean(costs) + 0.2 * GAP, rel=1e-5)
    without = dtsh(U, np.zeros(6, int), margin=4.0, quantization=0.0)
    assert without == 0.0


def test_greedyhash_uses_the_code_and_its_gradient_reaches_u():
    bits = straight_through_bits(U)
    np.testing.assert_array_equal(bits, U >= 0)
    slope = jax.grad(lambda u: (straight_through_bits(u) * U).sum())(jnp.asarray(U))
    np.testing.assert_allclose(slope, U / 2, rtol=1e-6)
    logits = RNG.normal(size=(6, 3)).astype(np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    want = log_loss(LABELS, p) + 0.5 * np.mean(np.abs(np.abs(U) - 1) ** 3)
    assert greedyhash(U, logits, LABELS, penalty=0.5) == pytest.approx(want, rel=1e-5)


def test_csq_is_the_log_loss_of_each_bit():
    centres = RNG.integers(0, 2, U.shape).astype(np.float32)
    p = 1 / (1 + np.exp(-U.astype(float)))
    gap = np.mean((np.abs(2 * p - 1) - 1) ** 2)
    want = log_loss(centres.ravel(), p.ravel()) + 0.7 * gap
    assert csq(U, centres, quantization=0.7) == pytest.approx(want, rel=1e-5)
    soft = np.full_like(centres, 0.25)  # least where the bit's chance is the target
    slope = jax.grad(lambda u: to_code(u, soft))(jnp.full(U.shape, np.log(1 / 3)))
    np.testing.assert_allclose(slope, 0.0, atol=1e-7)


def test_orthohash_is_a_softmax_of_cosines_with_a_margin():
    centres = np.sign(RNG.normal(size=(3, 8)))
    cosine = (U / np.linalg.norm(U, axis=1, keepdims=True)) @ centres.T / 8**0.5
    logits = 8.0 * (cosine - 0.3 * (LABELS[:, None] == np.arange(3)))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    got = orthohash(U, centres, LABELS, scale=8.0, margin=0.3)
    assert got == pytest.approx(log_loss(LABELS, p), rel=1e-5)
    # A code that is its centre, of orthogonal ones: log(1 + (C - 1) exp(-s (1 - m))).
    own = np.array([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]])
    got = orthohash(own, own, np.arange(3), scale=8.0, margin=0.3)
    assert got == pytest.approx(np.log1p(2 * np.exp(-8 * 0.7)), rel=1e-4)
    zero = jax.jit(jax.grad(lambda u: orthohash(u, own, np.arange(3), scale=8.0, margin=0.3)))
    assert np.isfinite(zero(jnp.zeros((3, 4)))).all()


def test_nll_is_the_log_loss():
    logits, labels = RNG.normal(size=(20, 5)).astype(np.float32), RNG.integers(0, 5, 20)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert nll(logits, labels) == pytest.approx(log_loss(labels, p, labels=range(5)), rel=1e-5)


def test_quantization_is_least_at_bits():
    assert quantization(jnp.array([[0.0, 1.0], [1.0, 1.0]])) == -0.25
    assert quantization(jnp.full((3, 2), 0.5)) == 0.0
    assert quantization(jnp.array([[0.25]])) == pytest.approx(-0.0625)


def test_balance_is_zero_for_bits_on_half_the_time():
    assert balance(jnp.array([[0.0, 1.0], [1.0, 0.0]])) == 0.0
    assert balance(jnp.array([[1.0, 0.5], [1.0, 0.5]])) == pytest.approx(0.125)


def test_independence_is_zero_for_orthogonal_projections():
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))
    assert independence(jnp.asarray(3.0 * q, jnp.float32)) == pytest.approx(0, abs=1e-10)
    same = jnp.ones((6, 3))  # off-diagonal entries are all 1
    assert independence(same) == pytest.approx(6 / 9, rel=1e-5)
