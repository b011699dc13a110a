import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.learning.segmentation import dice_loss, segmentation

pytestmark = pytest.mark.usefixtures("quick_programs")


@given(st.integers(0, 2**31 - 1))
def test_the_dice_loss_is_that_of_numpy(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 4, 5)).astype(np.float32)
    masks = (rng.random((3, 4, 5)) < 0.3).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    inter, total = (p * masks).sum((1, 2)), (p + masks).sum((1, 2))
    want = np.mean(1 - (2 * inter + 1) / (total + 1))
    assert dice_loss(logits, masks) == pytest.approx(want, rel=1e-4, abs=1e-6)


def test_a_sure_right_mask_costs_nothing_and_an_empty_one_has_a_gradient():
    masks = jnp.zeros((1, 4, 4)).at[:, :2].set(1)
    assert segmentation(40 * masks - 20, masks, dice_weight=1.0) == pytest.approx(0, abs=1e-6)
    empty = np.zeros((1, 4, 4), np.float32)
    slope = jax.jit(jax.grad(lambda x: dice_loss(x, empty)))(empty)
    assert float(slope.min()) > 0
