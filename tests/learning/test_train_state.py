"""The train state before the first step."""

import jax
import numpy as np

from inres import config as lib
from inres.learning import recipe
from inres.learning.train_state import initial_variables


def test_initial_variables_can_be_traced():
    """Restoring a checkpoint traces the state that training starts with."""
    model = recipe.build_model(lib.Config(model=lib.Model(stem=4, fc1=8)), classes=3)
    image = np.zeros((1, 16, 16, 1), np.float32)

    def fresh():
        return initial_variables(model, jax.random.key(0), image)

    made, traced = fresh(), jax.eval_shape(fresh)
    assert jax.tree.map(np.shape, made) == jax.tree.map(lambda leaf: leaf.shape, traced)
