import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.config import Model
from inres.models import blocks, networks, pooling, volume_blocks
from inres.models.convolution import pointwise
from inres.models.head import HashHead
from inres.models.networks.inres_net_3d import InResNet3D
from inres.models.volume_convolution import volume_convolution

pytestmark = pytest.mark.usefixtures("quick_programs")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shapes_of(module, x, **options):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), x, **options))


def drawn(module, x, **options):
    """Random variables of the module's shapes, without compiling its initialisation."""
    rng = np.random.default_rng(0)
    shapes = shapes_of(module, x, **options)
    stats = jax.tree.map(lambda s: rng.uniform(0.5, 1.5, s.shape), shapes)
    params = jax.tree.map(lambda s: rng.normal(0, 0.1, s.shape), shapes["params"])
    return jax.tree.map(np.float32, stats | {"params": params})


def conv(inputs, outputs, kernel):
    """Weights of a convolution without bias, and the scale and bias of its batch norm."""
    return inputs * outputs * kernel**3 + 2 * outputs


def in_v2(n):
    """N = n, q = n / 4: three times 1x1x1 from n to q, three times 3x3x3 from q to q, one 3x3x3
    from q to n / 2. That is 3 (n q + 2 q) + 3 (27 q^2 + 2 q) + 27 q (2 q) + 2 (2 q)
    = 12 q^2 + 6 q + 81 q^2 + 6 q + 54 q^2 + 4 q = 147 q^2 + 16 q."""
    q = n // 4
    return 3 * conv(n, q, 1) + 3 * conv(q, q, 3) + conv(q, 2 * q, 3)


def in_red(c):
    """C = c, q = c / 4: three times 1x1x1 from c to q, two times 3x3x3 from q to q, one 3x3x3 from
    q to c / 2. That is 12 q^2 + 6 q + 54 q^2 + 4 q + 54 q^2 + 4 q = 120 q^2 + 14 q."""
    q = c // 4
    return 3 * conv(c, q, 1) + 2 * conv(q, q, 3) + conv(q, 2 * q, 3)


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("n", [8, 24])
def test_modules_have_the_parameters_derived_by_hand(n):
    q = n // 4
    assert in_v2(n) == 147 * q**2 + 16 * q
    assert in_red(n) == 120 * q**2 + 14 * q
    x = jnp.zeros((1, 4, 4, 4, n))
    assert count(shapes_of(volume_blocks.VolumeInV2(), x, train=False)) == in_v2(n)
    assert count(shapes_of(volume_blocks.VolumeInRed(), x, train=False)) == in_red(n)


@pytest.mark.parametrize("stem", [16, 24])
def test_the_network_has_the_parameters_derived_by_hand(stem):
    # The stem has 27 weights for each of the two input channels. Level l = 1, 2, 3 has inV2 on
    # stem 2^(l-1) channels and inRed on twice as many. Average pooling leaves 8 stem features.
    levels = sum(in_v2(stem * 2**n) + in_red(stem * 2 ** (n + 1)) for n in range(3))
    head = (8 * stem + 1) * 256 + (256 + 1) * 48 + (48 + 1) * 8
    model = InResNet3D(HashHead(8, 48), stem=stem)
    variables = shapes_of(model, jnp.zeros((1, 32, 32, 64)))
    assert count(variables) == conv(2, stem, 3) + levels + head
    # With q = stem / 4, the first level has 147 q^2 + 16 q and 120 (2 q)^2 + 14 (2 q). The channels
    # double with each level, so the squares add up to 1 + 4 + 16 and the others to 1 + 2 + 4.
    q = stem // 4
    assert levels == 21 * (147 + 4 * 120) * q**2 + 7 * (16 + 2 * 14) * q


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [((4, 6, 8), 3, 1), ((4, 6, 8), 3, 2), ((5, 3, 7), 3, 2), ((8, 8, 8), 7, 2), ((3, 4, 5), 1, 2)],
)
def test_volume_convolution_equals_that_of_the_library(size, kernel, stride):
    x, weights = normal(0, 2, *size, 3), normal(1, kernel, kernel, kernel, 3, 5)

    def library(x, k):
        layout = ("NDHWC", "DHWIO", "NDHWC")
        return jax.lax.conv_general_dilated(x, k, (stride,) * 3, "SAME", dimension_numbers=layout)

    def ours(x, k):
        return volume_convolution(x, k, (stride,) * 3, "SAME")

    want = jax.eval_shape(library, x, weights)
    by = normal(2, *want.shape)
    got, want = jax.jit(
        lambda x, k: [
            jax.value_and_grad(lambda x, k, f=f: jnp.sum(by * f(x, k)), (0, 1))(x, k)
            for f in (ours, library)
        ]
    )(x, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), got, want)


def test_another_padding_is_refused():
    with pytest.raises(ValueError, match="'VALID'"):
        volume_convolution(
            jnp.zeros((1, 3, 3, 3, 1)), jnp.zeros((3, 3, 3, 1, 1)), (1,) * 3, "VALID"
        )


@pytest.mark.parametrize("size", [(4, 4, 4), (5, 2, 7), (1, 3, 6)])
def test_max_pooling_equals_that_of_the_library(size):
    x = normal(sum(size), 2, *size, 3)
    theirs = lambda v: nn.max_pool(v, (3, 3, 3), (2, 2, 2), "SAME")  # noqa: E731
    by = normal(1, *jax.eval_shape(theirs, x).shape)

    def both(f):
        return lambda v: (f(v), jax.grad(lambda w: jnp.sum(f(w) * by))(v))

    got, want = jax.jit(lambda v: (both(pooling.max_pool_3_s2)(v), both(theirs)(v)))(x)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], atol=1e-6)


@pytest.mark.parametrize("size", [(2, 3, 2), (4, 5, 6)])  # below and above LEAST_PIXELS
def test_a_1x1x1_convolution_is_a_product_over_channels(size):
    x, kernel, by = normal(0, 3, *size, 4), normal(1, 4, 6), normal(2, 3, *size, 6)
    got = jax.jit(jax.grad(lambda k, x: jnp.sum(by * pointwise(x, k)), (0, 1)))(kernel, x)
    np.testing.assert_allclose(got[0], np.einsum("bijkc,bijkd->cd", x, by), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        got[1], np.einsum("bijkd,cd->bijkc", by, kernel), rtol=1e-4, atol=1e-4
    )


PAIRS = [(blocks.InV2, volume_blocks.VolumeInV2), (blocks.InRed, volume_blocks.VolumeInRed)]


@pytest.mark.parametrize(("flat", "volume"), PAIRS)
@pytest.mark.parametrize(("axis", "train"), [(1, True), (3, False)])
def test_planes_of_a_volume_are_images(flat, volume, axis, train):
    """Kernels that are zero off their central plane act on each plane as the 2-D module does.

    A volume that is constant along an axis stays so, and max-pooling along it changes nothing.
    With a size of 5 and stride 2, the padding is symmetric, so windows are centred on a plane.
    """
    x = normal(0, 2, 5, 5, 8)
    image, cube = flat(), volume()
    variables = drawn(image, x, train=False)

    def spread(leaf):
        if leaf.ndim != 4:  # a 1x1 convolution, or a vector of batch norm
            return leaf
        kernel = np.zeros((3, *leaf.shape), np.float32)
        kernel[1] = leaf
        return np.moveaxis(kernel, 0, axis - 1)

    spread_out = jax.tree.map(spread, variables)
    blocked = np.repeat(np.expand_dims(x, axis), 5, axis)
    assert jax.tree.map(np.shape, spread_out) == jax.tree.map(
        lambda s: s.shape, dict(shapes_of(cube, blocked, train=False))
    )
    want, got = jax.jit(
        lambda a, b: (
            image.apply(variables, a, train=train, mutable=["batch_stats"])[0],
            cube.apply(spread_out, b, train=train, mutable=["batch_stats"])[0],
        )
    )(x, blocked)
    for plane in np.moveaxis(np.asarray(got), axis, 0):
        np.testing.assert_allclose(plane, want, rtol=1e-4, atol=1e-4)


def test_gradients_agree_with_finite_differences():
    x, by = normal(0, 2, 4, 4, 4, 8), normal(1, 2, 2, 2, 2, 16)
    modules = volume_blocks.VolumeInV2(), volume_blocks.VolumeInRed()
    variables = [
        drawn(m, np.zeros_like(i), train=True) for m, i in zip(modules, (x, by), strict=True)
    ]

    def value(params, x):
        for module, known, new in zip(modules, variables, params, strict=True):
            x = module.apply(known | {"params": new}, x, train=True, mutable=["batch_stats"])[0]
        return jnp.sum(x * by)

    at = [v["params"] for v in variables], x
    towards = jax.tree.map(lambda leaf: normal(leaf.size, *leaf.shape), at)
    slopes = jax.jit(jax.grad(value, (0, 1)))(*at)
    want = sum(jax.tree.leaves(jax.tree.map(np.vdot, slopes, towards)))
    compute, step = jax.jit(value), 1e-3
    up, down = (
        compute(*jax.tree.map(lambda a, b, s=s: a + s * b, at, towards)) for s in (step, -step)
    )
    np.testing.assert_allclose((up - down) / (2 * step), want, rtol=0.02)


def test_the_network_encodes_cubes_and_reads_the_mask():
    settings = Model(name="inres_net_3d", stem=8)
    model = networks.get(settings.name).build(settings, HashHead(5, 12, 16), blocks.he_normal)
    rng = np.random.default_rng(0)
    values, known = rng.random((3, 16, 16, 16), np.float32), np.ones((3, 16, 16, 16), np.float32)
    images = np.concatenate([values, known], axis=-1)
    variables = drawn(model, images)
    assert variables["params"]["stem"]["conv"]["kernel"].shape == (3, 3, 3, 2, 8)
    apply = jax.jit(model.apply)
    out = apply(variables, images)
    assert out.fc1.shape == (3, 16)
    assert out.u.shape == out.h.shape == (3, 12)
    assert out.fc3.shape == (3, 5)
    # Values and mask are channels of one voxel: exchanging y and z in both, and the axes of all
    # kernels, changes nothing.
    turned = np.concatenate([values.swapaxes(1, 3), known.swapaxes(1, 3)], axis=-1)
    kernels = jax.tree.map(lambda k: k.swapaxes(0, 2) if k.ndim == 5 else k, variables)
    np.testing.assert_allclose(apply(kernels, turned).u, out.u, rtol=1e-3, atol=1e-3)
    # The mask is read: the codes of two cubes that differ in nothing else differ.
    images[..., 16:20] = 0
    assert np.abs(apply(variables, images).u / out.u - 1).max() > 0.01
    training = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, images
    )
    assert jax.tree.map(np.shape, training[1]["batch_stats"]) == jax.tree.map(
        np.shape, variables["batch_stats"]
    )
