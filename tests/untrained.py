"""Random variables of a network, without compiling the program that makes those of a training."""

import jax
import numpy as np


def untrained(model, *inputs):
    """Variables of a module for the inputs of a call; norms change nothing."""
    rng = np.random.default_rng(0)

    def random(path, leaf):
        name = path[-1].key
        if name != "kernel":
            return np.full(leaf.shape, float(name in ("scale", "var")), np.float32)
        return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(random, shapes)
