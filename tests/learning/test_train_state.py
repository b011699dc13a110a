"""The state that a training starts from."""

import flax.linen as nn
import jax
import numpy as np

from inres.learning.train_state import initial_variables
from inres.models.blocks import he_normal


class Small(nn.Module):
    """One parameter of each kind of initializer that the networks have."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), kernel_init=he_normal)(x).mean((1, 2))
        x = nn.Dense(16, kernel_init=nn.initializers.lecun_normal())(x)
        return nn.Dense(24, kernel_init=nn.initializers.normal(0.01))(x)


def test_initial_variables_are_those_of_the_fully_optimized_program():
    key, image = jax.random.key(3), np.zeros((1, 32, 32, 1), np.float32)
    found = initial_variables(Small(), key, image)
    expected = dict(jax.jit(Small().init)(key, image))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
