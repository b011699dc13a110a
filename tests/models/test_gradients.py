"""Layers with gradients written by hand, compared with automatic gradients of library layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.models.batch_norm import BatchNorm
from inres.models.convolution import pointwise

pytestmark = pytest.mark.usefixtures("quick_programs")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(4, 5, 3, 6), (7, 2)])
def test_batch_norm_equals_that_of_the_library(shape, relu):
    x, weights, at = normal(0, *shape) * 3 + 1, normal(1, *shape), shape[-1]
    variables = {
        "params": {"scale": normal(2, at), "bias": normal(3, at)},
        "batch_stats": {"mean": normal(4, at), "var": np.exp(normal(5, at))},
    }
    ours = BatchNorm(relu)
    library = nn.BatchNorm(momentum=0.9)
    fresh = jax.tree.map(np.asarray, ours.init(jax.random.key(0), x, train=True))
    expected = library.init(jax.random.key(0), x, use_running_average=False)
    jax.tree.map(np.testing.assert_array_equal, fresh, expected)

    def theirs(variables, x, *, train):
        y, new = library.apply(variables, x, use_running_average=not train, mutable=["batch_stats"])
        return (nn.relu(y) if relu else y), new

    def mine(variables, x, *, train):
        return ours.apply(variables, x, train=train, mutable=["batch_stats"])

    for train in (False, True):
        results = jax.jit(lambda v, x, t=train: [f(v, x, train=t) for f in (mine, theirs)])(
            variables, x
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *results)
    gradients = [
        jax.jit(
            jax.grad(
                lambda params, x, f=f: jnp.sum(
                    weights * f({**variables, "params": params}, x, train=True)[0]
                ),
                (0, 1),
            )
        )(variables["params"], x)
        for f in (mine, theirs)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *gradients)


@pytest.mark.parametrize("shape", [(3, 1, 1, 5), (2, 5, 7, 4), (3, 8, 9, 4)])
def test_pointwise_equals_a_1x1_convolution(shape):
    x, kernel = normal(0, *shape), normal(1, shape[-1], 6)
    weights = normal(2, *shape[:-1], 6)

    def convolution(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel[None, None], (1, 1), "SAME", dimension_numbers=layout
        )

    got, want = (
        jax.value_and_grad(lambda x, k, f=f: jnp.sum(weights * f(x, k)), (0, 1))(x, kernel)
        for f in (pointwise, convolution)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, want)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_one_product(platform):
    gradient = jax.jit(jax.grad(lambda k, x: jnp.sum(pointwise(x, k) ** 2)))
    traced = gradient.trace(normal(0, 4, 6), normal(1, 2, 8, 8, 4))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "batching_dims" not in text
    assert "batching_dims" in traced.lower(lowering_platforms=("cpu",)).as_text()
