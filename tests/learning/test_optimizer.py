import jax
import jax.numpy as jnp
import optax
import pytest

from inres.learning.optimizer import sgd


def test_the_cosine_schedule_warms_up_and_ends_at_zero():
    _, rate = sgd(learning_rate=0.2, steps=100, warmup_steps=10)
    assert float(rate(0)) == pytest.approx(0.02)
    assert float(rate(10)) == pytest.approx(0.2)
    assert float(rate(55)) == pytest.approx(0.1, rel=1e-3)
    assert float(rate(100)) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="'linear'"):
        sgd(learning_rate=0.2, steps=100, schedule="linear")


def test_weight_decay_does_not_act_on_biases():
    opt, _ = sgd(learning_rate=1.0, steps=2, schedule="constant", weight_decay=0.5)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    updates, _ = opt.update(jax.tree.map(jnp.zeros_like, params), opt.init(params), params)
    new = optax.apply_updates(params, updates)
    assert float(new["kernel"].max()) == 0.5
    assert float(new["bias"].min()) == 1.0
