"""The state that a training starts from."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from inres.learning.checkpoints import Checkpoints
from inres.learning.devices import data_mesh
from inres.learning.train_state import begin, init_state, initial_variables, restore
from inres.models.blocks import he_normal

IMAGE = np.zeros((1, 32, 32, 1), np.float32)


class Small(nn.Module):
    """One parameter of each kind of initializer that the networks have."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), kernel_init=he_normal)(x).mean((1, 2))
        x = nn.Dense(16, kernel_init=nn.initializers.lecun_normal())(x)
        return nn.Dense(24, kernel_init=nn.initializers.normal(0.01))(x)


def test_initial_variables_are_those_of_the_fully_optimized_program():
    key = jax.random.key(3)
    found = initial_variables(Small(), key, IMAGE)
    expected = dict(jax.jit(Small().init)(key, IMAGE))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("key_inside", [False, True])
def test_a_state_is_restored_by_the_shapes_of_its_initial_variables(tmp_path, key_inside):
    """Restoring traces `fresh`, whose key may come from outside, as that of the U-Net does."""
    mesh, outside = data_mesh(), jax.random.key(3)

    def fresh():
        key = jax.random.key(3) if key_inside else outside
        return init_state(initial_variables(Small(), key, IMAGE), optax.sgd(0.1), mesh=mesh)

    checkpoints = Checkpoints(tmp_path)
    state = begin(fresh, checkpoints, mesh=mesh)
    checkpoints.save(1, state)
    checkpoints.wait()
    jax.tree.map(np.testing.assert_array_equal, restore(fresh, checkpoints, mesh=mesh), state)
    checkpoints.close()
