import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.models import blocks, pooling
from inres.models.head import HashHead
from inres.models.networks.alexnet import AlexNet
from inres.models.networks.inres_net import InResNet
from inres.models.unet import UNet, max_pool_2x2

pytestmark = pytest.mark.usefixtures("quick_programs")


def parameters(model, size):
    """Number of trainable parameters for images of size x size x 1; nothing is computed."""
    image = jnp.zeros((1, size, size, 1))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image))
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


def conv(inputs, outputs, kernel):
    """Parameters of a convolution without bias, with the scale and bias of batch norm."""
    return inputs * outputs * kernel**2 + 2 * outputs


def middle(n):
    """Parameters of inV2 on n channels and inRed on 2n."""
    q, c = n // 4, 2 * n
    inv2 = 3 * conv(n, q, 1) + 3 * conv(q, q, 3) + conv(q, n // 2, 3)
    r = c // 4
    return inv2 + 3 * conv(c, r, 1) + 2 * conv(r, r, 3) + conv(r, c // 2, 3)


def layers(inputs, fc1, bits, classes):
    return (inputs + 1) * fc1 + (fc1 + 1) * bits + (bits + 1) * classes


PAPER = dict(stem=64, stem_kernel=7, stem_stride=2, stem_pool=True)


def test_paper_width_has_its_parameters():
    convolutions = conv(1, 64, 7) + sum(middle(n) for n in (64, 128, 256))
    assert convolutions == 1_346_816
    assert layers(7 * 7 * 512, 4096, 48, 8) + convolutions == 104_308_408
    model = InResNet(HashHead(8, 48, 4096, "flatten"), **PAPER)
    assert parameters(model, 224) == 104_308_408


def test_light_width_has_its_parameters():
    assert parameters(InResNet(HashHead(8, 48, 1024), **PAPER), 224) == 1_921_720
    light = conv(1, 32, 3) + sum(middle(n) for n in (32, 64, 128)) + layers(256, 256, 48, 8)
    assert parameters(InResNet(HashHead(8, 48)), 64) == light


def test_plain_convolutions_have_their_parameters():
    down = [conv(n, 2 * n, 3) for n in (32, 64, 128)]
    same = [conv(2 * n, 2 * n, 3) for n in (32, 64, 128)]
    ends = conv(1, 32, 3) + layers(256, 256, 48, 8)
    both = InResNet(HashHead(8, 48), compression="plain", residual="plain")
    assert parameters(both, 64) == ends + sum(down) + sum(same)
    whole = ends + sum(middle(n) for n in (32, 64, 128))
    only_down, only_same = (
        parameters(InResNet(HashHead(8, 48), **{name: "plain"}), 64) - ends
        for name in ("compression", "residual")
    )
    assert only_down + only_same == whole - ends + sum(down) + sum(same)


def test_alexnet_has_its_parameters():
    widths = [(1, 96, 11), (96, 256, 5), (256, 384, 3), (384, 384, 3), (384, 256, 3)]
    by_hand = sum(conv(*layer) for layer in widths) + layers(7 * 7 * 256, 4096, 48, 8)
    assert parameters(AlexNet(HashHead(8, 48, 4096, "flatten")), 224) == by_hand


def test_unet_has_its_parameters():
    def level(inputs, outputs):
        return conv(inputs, outputs, 3) + conv(outputs, outputs, 3)

    by_hand = level(1, 4) + level(4, 8) + level(8, 16)
    by_hand += conv(16, 8, 3) + level(16, 8) + conv(8, 4, 3) + level(8, 4) + 5
    assert parameters(UNet(width=4, depth=2), 16) == by_hand


def drawn(model, images, **options):
    """Random weights of the model's shapes, without compiling its initialisation."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, **options))
    stats = jax.tree.map(lambda x: rng.uniform(0.5, 1.5, x.shape), shapes)
    params = jax.tree.map(lambda x: rng.normal(0, 0.05, x.shape), shapes["params"])
    return jax.tree.map(np.float32, stats | {"params": params})


@pytest.mark.parametrize(
    "model", [InResNet(HashHead(5, 12)), AlexNet(HashHead(5, 12, 32, "flatten"))]
)
@pytest.mark.parametrize("train", [False, True])
def test_both_networks_have_one_interface(model, train):
    images = jax.random.uniform(jax.random.key(1), (3, 64, 64, 1))
    variables = drawn(model, images)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=train, mutable=["batch_stats"])[0])
    out = apply(variables, images)
    assert out.fc1.shape == (3, model.head.fc1)
    assert out.u.shape == out.h.shape == (3, 12)
    assert out.fc3.shape == (3, 5)
    np.testing.assert_allclose(out.h, 1 / (1 + np.exp(-np.asarray(out.u))), rtol=1e-5)
    assert (np.asarray(out.fc1) >= 0).all()
    kernel, bias = (variables["params"]["head"]["fc3"][k] for k in ("kernel", "bias"))
    np.testing.assert_allclose(out.fc3, np.asarray(out.h) @ kernel + bias, rtol=1e-4, atol=1e-5)


def slopes(weights, *functions):
    """Gradient of the weighted sum of the output of each function, computed in one program."""
    return jax.jit(
        lambda x: [jax.grad(lambda v, f=f: jnp.sum(f(v) * weights))(x) for f in functions]
    )


@pytest.mark.parametrize("size", [1, 2, 5, 8, 13])
def test_max_pool_equals_that_of_the_library(size):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, size, size + 1, 3)).astype(np.float32)
    theirs = lambda v: nn.max_pool(v, (3, 3), (2, 2), "SAME")  # noqa: E731
    ours, want = jax.jit(lambda v: (pooling.max_pool_3_s2(v), theirs(v)))(x)
    np.testing.assert_array_equal(ours, want)
    weights = rng.normal(size=want.shape).astype(np.float32)
    ours, want = slopes(weights, pooling.max_pool_3_s2, theirs)(x)
    np.testing.assert_allclose(ours, want, atol=1e-6)


def test_space_compression_doubles_channels_and_keeps_the_pooled_input():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 16))
    module = blocks.InV2()
    variables = drawn(module, x, train=False)
    out, pooled = jax.jit(lambda v, x: (module.apply(v, x, train=False), pooling.max_pool_3_s2(x)))(
        variables, x
    )
    assert out.shape == (2, 4, 4, 32)
    np.testing.assert_array_equal(out[..., :16], pooled)


def test_a_residual_module_of_scale_zero_is_relu():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    module = blocks.InRed(scale=0.0)
    variables = drawn(module, x, train=False)
    out, whole = jax.jit(
        lambda v, x: [m.apply(v, x, train=False) for m in (module, blocks.InRed())]
    )(variables, x)
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    residual = whole - out
    assert float(residual.min()) < 0 < float(residual.max())


def test_the_max_pool_of_the_unet_equals_that_of_the_library():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 10, 3)).astype(np.float32)
    weight = rng.normal(size=(2, 3, 5, 3)).astype(np.float32)
    theirs = lambda v: nn.max_pool(v, (2, 2), (2, 2))  # noqa: E731
    np.testing.assert_array_equal(*jax.jit(lambda v: (max_pool_2x2(v), theirs(v)))(x))
    slope = slopes(weight, max_pool_2x2, theirs)
    np.testing.assert_array_equal(*slope(x))
    equal = np.asarray(slope(np.zeros_like(x))[0])
    np.testing.assert_array_equal(equal[:, ::2, ::2], weight)
    assert np.count_nonzero(equal) == weight.size


def test_unet_gives_one_logit_per_pixel_and_sees_far():
    model = UNet(width=4, depth=2)
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 1))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    assert jax.eval_shape(model.apply, variables, x).shape == (2, 16, 16)
    moved = jax.jit(jax.grad(lambda v: model.apply(variables, v)[0, 2, 2]))(x)[0, :, :, 0]
    assert float(jnp.abs(moved[6:, 6:]).max()) > 0


def test_an_unknown_pooling_is_named():
    with pytest.raises(ValueError, match="'max'"):
        parameters(InResNet(HashHead(2, 4, pooling="max")), 32)


def test_group_norm_equals_its_formula_and_ignores_other_images():
    x = jax.random.normal(jax.random.key(0), (3, 5, 5, 4))
    module = blocks.ConvNorm(12, kernel=1, relu=False, norm="group")
    variables = jax.jit(lambda x: module.init(jax.random.key(1), x, train=True))(x)
    assert set(variables) == {"params"}
    out = jax.jit(lambda v, x: module.apply(v, x, train=True))(variables, x)
    y = np.asarray(x, np.float64) @ np.asarray(variables["params"]["conv"]["kernel"])
    grouped = y.reshape(3, 25, 3, 4)  # gcd(12, 8) channels a group
    mean, std = grouped.mean((1, 3), keepdims=True), grouped.std((1, 3), keepdims=True)
    np.testing.assert_allclose(out, ((grouped - mean) / std).reshape(out.shape), atol=1e-4)
    model = InResNet(HashHead(3, 4, 8), stem=4, norm="group")
    images = np.random.default_rng(0).random((4, 16, 16, 1), np.float32)
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True).fc3)
    variables = drawn(model, images)
    first, among_others = (np.asarray(apply(variables, images[c])) for c in ([0, 1, 2], [3, 1, 0]))
    np.testing.assert_allclose(first[1], among_others[1], atol=1e-5)
    assert (first[::2] != among_others[::2]).any(axis=1).all()
