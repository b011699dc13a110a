import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres import encode, recipe
from inres.config import Config, Model, Train
from inres.linear_codes import Hyperplanes
from inres.models.head import HashHead
from inres.models.inres_net import InResNet


@pytest.fixture(scope="module")
def network():
    model = InResNet(HashHead(3, 10, 16), stem=8)
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))


def test_an_item_is_encoded_alike_alone_and_in_any_batch(network):
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 1)).astype(np.uint8)
    model, variables = network
    want = jax.jit(model.apply)(variables, images / np.float32(255))
    got = encode.make_encoder(model, variables, batch=4)(images)
    one = encode.make_encoder(model, variables)(images[7:8])
    for name in ("fc1", "h", "fc3"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(
            getattr(one, name)[0], getattr(got, name)[7], rtol=2e-4, atol=1e-5
        )


def test_a_fingerprint_sees_one_changed_weight(network):
    _, variables = network
    mark = encode.fingerprint(variables)
    assert encode.fingerprint(jax.tree.map(np.array, variables)) == mark
    changed = jax.tree.map(np.array, variables)
    changed["params"]["head"]["fc3"]["bias"][0] += 1e-7
    assert encode.fingerprint(changed) != mark


def test_bits_of_h_are_the_papers_or_turned():
    h = np.float32([[0.5, 0.2, 0.9], [0.4999, 0.7, 0.5], [0.1, 0.1, 0.1]])
    encoded = encode.Encoded(np.zeros((3, 4)), h, np.zeros((3, 2)))
    np.testing.assert_array_equal(encode.to_bits(encoded, None), h >= 0.5)  # Eq. 1
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    planes = Hyperplanes(h.mean(axis=0), turn)
    want = [[float((row - h.mean(axis=0)) @ turn[:, j]) >= 0 for j in range(3)] for row in h]
    np.testing.assert_array_equal(encode.to_bits(encoded, planes), want)


def test_joined_features_weigh_both_layers_alike():
    rng = np.random.default_rng(0)
    encoded = encode.Encoded(
        100 * rng.normal(size=(400, 6)), rng.random((400, 4)), rng.normal(size=(400, 3))
    )
    joined = encode.FineScale.of(encoded).join(encoded)
    assert joined[:, :6].var(0).sum() == pytest.approx(1.0)
    assert joined[:, 6:].var(0).sum() == pytest.approx(1.0)


def test_a_segmenter_keeps_the_slices_size():
    class Bright(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return x[..., 0] - 0.5

    slices = np.zeros((5, 48, 48), np.uint8)
    slices[:, 12:36, 12:36] = 255
    masks = encode.make_segmenter(Bright(), {}, size=24, batch=2)(slices)
    assert masks.shape == slices.shape
    assert masks.dtype == np.uint8
    assert np.abs(masks.astype(int) - (slices > 0)).mean() < 0.02


def test_the_papers_initial_weights():
    config = Config(model=Model(stem=16, fc1=64), train=Train(init="gaussian"))
    model = recipe.build_model(config, classes=8)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))["params"]
    assert float(jnp.std(params["head"]["fc1"]["kernel"])) == pytest.approx(0.01, rel=0.05)
    assert float(jnp.std(params["inred_2"]["squeeze"]["conv"]["kernel"])) == pytest.approx(
        0.01, rel=0.1
    )
    projection = np.asarray(params["head"]["fc2"]["kernel"])
    np.testing.assert_allclose(np.linalg.norm(projection, axis=0), 1.0, rtol=1e-5)


def test_small_holes_are_filled_and_large_ones_kept():
    mask = np.ones((40, 40), np.uint8)
    mask[[0, -1]] = mask[:, [0, -1]] = 0
    mask[5:10, 5:10] = 0  # a nodule: 25 of some 1,200 pixels
    mask[20:35, 20:35] = 0  # the heart between two lungs that touch
    mask[5, 38] = 0  # open to the outside: no hole
    want = mask.copy()
    want[5:10, 5:10] = 1
    np.testing.assert_array_equal(encode.fill_small_holes(mask), want)
