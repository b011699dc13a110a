import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.learning.neighbourhood import neighbourhood, similarity_of

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.mark.parametrize("spread", [0.0, 0.25])
def test_the_loss_is_that_of_a_loop_over_pairs(spread):
    rng = np.random.default_rng(1)
    f = rng.normal(size=(9, 5)).astype(np.float32)
    labels = np.array([0, 0, 1, 1, 1, 4, 0, 2, 3])
    diameters = np.array([0, 0, 4.0, 4.4, np.nan, 40, 0, 4.9, 8.0], np.float32)
    items = np.array([5, 6, 7, 8, 9, 10, 5, 11, 12])  # one is drawn twice
    want = []
    for i in range(9):
        similar, p = [], []
        for j in range(9):
            if items[i] == items[j]:
                continue
            near = float(labels[i] == labels[j])
            if spread and diameters[i] > 0 and diameters[j] > 0:
                near *= np.exp(-abs(np.log(diameters[i] / diameters[j])) / spread)
            similar.append(near)
            p.append(np.exp(-8 / 5 * np.sum((f[i].astype(float) - f[j]) ** 2)))
        if any(similar):  # an image without a similar one does not count
            want.append(-np.log(np.dot(similar, p) / np.sum(p)))
    assert len(want) == 6
    similarity = similarity_of(labels, diameters, spread=spread)
    both = jax.jit(jax.value_and_grad(neighbourhood))
    got, slope = both(f, similarity, items)
    assert got == pytest.approx(np.mean(want), rel=1e-4)
    assert np.isfinite(slope).all()


def test_the_loss_is_finite_where_no_images_are_similar_or_all_are_equal():
    f = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    both = jax.jit(jax.value_and_grad(neighbourhood))
    for items in (np.arange(9), np.zeros(9, int)):  # no similar images, and draws of one item
        got, slope = both(f, jnp.eye(9), items)
        assert got == 0.0
        assert (slope == 0).all()
    assert np.isfinite(both(np.ones_like(f), jnp.ones((9, 9)), np.arange(9))[1]).all()
