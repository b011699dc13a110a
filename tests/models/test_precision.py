"""Computing in bfloat16: which parts do, by the lowered programs, and how far results are off."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from untrained import untrained

from inres import config as lib
from inres.learning import recipe, sight
from inres.models.batch_norm import EPSILON, batch_norm
from inres.models.networks.inres_net import InResNet

pytestmark = pytest.mark.usefixtures("quick_programs")

RNG = np.random.default_rng(0)
_TYPE = r"tensor<(?:\d+x)*([a-z]\w*)>"
PRODUCT = re.compile(rf"stablehlo\.(convolution|dot_general)\b.*: \({_TYPE}, {_TYPE}\) -> {_TYPE}")


def setting(precision, model="inres_net", planes="channels", norm="batch"):
    items = {"view": "cube", "cube_px": 9} if model == "inres_net_3d" else {}
    return lib.Config(
        items=lib.Items(**items),
        model=lib.Model(name=model, planes=planes, stem=4, fc1=8, norm=norm),
        train=lib.Train(precision=precision),
    )


def network(config, shape):
    """The network of a config, and random variables for images of a shape."""
    model = recipe.build_model(config, classes=3, properties=2)
    planes, seen = sight.split(jnp.zeros((1, *shape)), config.model.planes)
    return model, untrained(model, sight.flatten(planes, seen), seen)


def products(text):
    """(operation, types of operands and result) of every convolution and product, in order."""
    found = PRODUCT.findall(text)
    assert len(found) == len(re.findall(r"stablehlo\.(?:convolution|dot_general)\b", text))
    return [(kind, {*types}) for kind, *types in found]


@pytest.mark.parametrize(
    ("model", "norm", "shape"),
    [
        ("inres_net", "batch", (32, 32, 1)),
        ("inres_net", "group", (32, 32, 1)),
        ("alexnet", "none", (32, 32, 1)),
        ("inres_net_3d", "batch", (9, 9, 18)),
    ],
)
def test_convolutions_are_bfloat16_and_the_head_is_float32(model, norm, shape):
    config = setting("bfloat16", model, norm=norm)
    made, variables = network(config, shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    images = jnp.zeros((2, *shape))
    forward = jax.jit(lambda v, x: made.apply(v, x, train=False)).lower(variables, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(forward.out_info)} == {jnp.dtype("float32")}
    found = products(forward.as_text())
    head = 4  # FC1, FC2, FC3, properties
    assert found[-head:] == [("dot_general", {"f32"})] * head
    assert {*map(str, (types for _, types in found[:-head]))} == {"{'bf16'}"}
    assert forward.as_text().count("precision = [HIGHEST, HIGHEST]") == head


def loss_of(made, outputs_only=False):
    def loss(params, stats, x):
        outputs, new = made.apply(
            {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
        )
        return sum(jnp.mean(layer**2) for layer in jax.tree.leaves(outputs) if layer.size), new

    return loss


def test_a_step_keeps_parameters_gradients_and_statistics_in_float32():
    made, variables = network(setting("bfloat16"), (16, 16, 1))
    slope = jax.jit(jax.value_and_grad(loss_of(made), has_aux=True))
    lowered = slope.lower(variables["params"], variables["batch_stats"], jnp.zeros((4, 16, 16, 1)))
    assert {leaf.dtype for leaf in jax.tree.leaves(lowered.out_info)} == {jnp.dtype("float32")}
    found = products(lowered.as_text())
    assert {str(types) for kind, types in found if kind == "convolution"} == {"{'bf16'}"}
    # Forward, with respect to the input, and to the kernel: of FC1, FC2, FC3 and properties.
    full = [kind for kind, types in found if types == {"f32"}]
    assert full == ["dot_general"] * 12


def test_the_precision_of_float32_is_in_no_way_reduced():
    made, variables = network(setting("float32"), (16, 16, 1))
    text = jax.jit(made.apply).lower(variables, jnp.zeros((1, 16, 16, 1))).as_text()
    assert "bf16" not in text
    assert "f64" not in text


def test_the_unet_computes_in_bfloat16_with_float32_logits():
    unet = recipe.build_unet(lib.Segment(width=4, depth=2, size_px=16), precision="bfloat16")
    images = jnp.zeros((1, 16, 16, 1))
    shapes = jax.eval_shape(unet.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    lowered = jax.jit(unet.apply).lower(shapes, images)
    assert lowered.out_info.dtype == jnp.float32
    found = products(lowered.as_text())
    assert found[-1] == ("dot_general", {"f32"})
    assert {str(types) for _, types in found[:-1]} == {"{'bf16'}"}


def test_layers_of_both_precisions_differ_by_the_rounding_of_bfloat16():
    """Eight bits of a number are kept, and errors of some twenty layers add up."""
    images = RNG.random((6, 16, 16, 1)).astype(np.float32)
    made, variables = network(setting("float32"), images.shape[1:])
    coarse = recipe.build_model(setting("bfloat16"), classes=3, properties=2)
    full, half = (jax.jit(m.apply)(variables, images) for m in (made, coarse))
    for name in ("fc1", "u", "fc3", "properties"):
        a, b = (np.asarray(getattr(outputs, name)) for outputs in (full, half))
        assert a.dtype == b.dtype == np.float32
        error = np.abs(a - b).max() / np.abs(a).max()
        assert 0 < error < 0.05


def test_statistics_of_bfloat16_inputs_are_sums_in_float32():
    """Summed in bfloat16, the mean of a thousand numbers near 3 would be off by far."""
    x = jnp.asarray(RNG.normal(3.0, 0.5, (8, 32, 32, 4)), jnp.bfloat16)
    wide = np.asarray(x, np.float64)
    scale, bias = np.float32([1, 2, 0.5, -1]), np.float32([0, 1, -1, 0.5])
    y, (mean, var) = jax.jit(lambda x: batch_norm(True, x, scale, bias))(x)
    assert (y.dtype, mean.dtype, var.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    np.testing.assert_allclose(mean, wide.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, wide.var((0, 1, 2)), rtol=1e-4)
    unit = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + EPSILON)
    want = np.maximum(unit * scale + bias, 0)
    np.testing.assert_allclose(np.asarray(y, np.float64), want, rtol=2**-8, atol=1e-4)


def test_the_gradient_of_bfloat16_inputs_is_computed_in_float32():
    """Against float32 at the same numbers: only the result is rounded."""
    x = jnp.asarray(RNG.normal(3.0, 0.5, (4, 8, 8, 3)), jnp.bfloat16)
    by = jnp.asarray(RNG.normal(size=x.shape), jnp.bfloat16)
    scale, bias = jnp.ones(3), jnp.zeros(3)

    def slopes(x, by):
        return jax.vjp(lambda *a: batch_norm(False, *a)[0], x, scale, bias)[1](by)

    half = jax.jit(slopes)(x, by)
    full = jax.jit(slopes)(x.astype(jnp.float32), by.astype(jnp.float32))
    assert [g.dtype for g in half] == [jnp.bfloat16, jnp.float32, jnp.float32]
    np.testing.assert_allclose(np.asarray(half[0], np.float32), full[0], rtol=2**-8, atol=1e-6)
    for mine, theirs in zip(half[1:], full[1:], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_an_unknown_precision_and_a_network_without_one_are_refused(monkeypatch):
    with pytest.raises(lib.ConfigError, match=r"config\.train\.precision = 'float16'.*bfloat16"):
        lib.Train(precision="float16")

    class Fixed:
        """A network of others, without the field."""

    monkeypatch.setattr(InResNet, "with_settings", lambda *given: Fixed())
    assert isinstance(recipe.build_model(setting("float32"), classes=3), Fixed)
    with pytest.raises(lib.ConfigError, match=r"must be 'float32' for the network 'inres_net'"):
        recipe.build_model(setting("bfloat16"), classes=3)
