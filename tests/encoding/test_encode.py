import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.config import Config, Model, Train
from inres.data.views import as_is
from inres.encoding import binarize, encoder, in_batches, segmenter
from inres.encoding.encoded import Encoded
from inres.encoding.linear_codes import itq
from inres.encoding.variables import fingerprint
from inres.learning import recipe
from inres.models.head import HashHead, Outputs
from inres.models.networks.inres_net import InResNet

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module")
def network():
    model = InResNet(HashHead(3, 10, 16), stem=8)
    rng = np.random.default_rng(0)  # drawing them as the model does takes long to compile
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    stats = jax.tree.map(lambda x: rng.uniform(0.5, 1.5, x.shape), shapes)
    params = jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape), shapes["params"])
    return model, jax.tree.map(np.float32, stats | {"params": params})


def test_an_item_is_encoded_alike_alone_and_in_any_batch(network):
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 1)).astype(np.uint8)
    model, variables = network
    want = jax.jit(model.apply)(variables, images / np.float32(255))
    got = encoder.make_encoder(model, variables, batch=4)(images)
    one = encoder.make_encoder(model, variables)(images[7:8])
    for name in ("fc1", "h", "fc3"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(
            getattr(one, name)[0], getattr(got, name)[7], rtol=2e-4, atol=1e-5
        )


def test_only_images_of_8_bits_are_encoded(network):
    images = np.zeros((2, 32, 32, 1), np.uint8)
    see = encoder.make_encoder(*network)
    for wrong in (images / np.float32(255), images.astype(np.int16), images[0]):
        with pytest.raises(ValueError, match=r"must be uint8 \[N, S, S, C\]"):
            see(wrong)
    none = see(images[:0])
    assert {len(layer) for layer in (none.fc1, none.h, none.fc3)} == {0}


class OneLayer(nn.Module):
    """Answers that differ from view to view, soon compiled."""

    @nn.compact
    def __call__(self, x, seen=None, *, train=False):
        flat = x.reshape(len(x), -1)
        fc1, u, fc3 = (nn.Dense(n, bias_init=nn.initializers.normal(1.0))(flat) for n in (6, 5, 3))
        return Outputs(
            nn.relu(fc1), u, nn.sigmoid(u), fc3, jnp.zeros((len(u), 0)), jnp.zeros((len(u), 1, 0))
        )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_views_are_averaged_and_the_image_as_it_is_keeps_its_share(weight):
    """Against NumPy's mean over the network's own answers, view by view."""
    images = np.random.default_rng(1).integers(0, 256, (7, 32, 32, 1)).astype(np.uint8)
    model = OneLayer()
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    seen = (as_is, lambda x: x[:, ::-1], lambda x: x[:, :, ::-1])
    answers = [jax.jit(model.apply)(variables, v(images) / np.float32(255)) for v in seen]
    shares = [1.0 - weight + weight / 3, weight / 3, weight / 3]
    ask = dict(views=seen, views_weight=weight, quiet=True)
    got = encoder.make_encoder(model, variables, batch=8, **ask)(images)  # two images a batch
    one = encoder.make_encoder(model, variables, **ask)(images[4:5])
    for name in ("fc1", "h", "fc3"):
        parts = [np.asarray(getattr(answer, name), np.float64) for answer in answers]
        want = sum(share * part for share, part in zip(shares, parts, strict=True))
        np.testing.assert_allclose(getattr(got, name), want, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(getattr(one, name)[0], want[4], rtol=2e-4, atol=1e-5)


def test_a_fingerprint_sees_one_changed_weight(network):
    _, variables = network
    mark = fingerprint(variables)
    assert fingerprint(jax.tree.map(np.array, variables)) == mark
    changed = jax.tree.map(np.array, variables)
    changed["params"]["head"]["fc3"]["bias"][0] += 1e-7
    assert fingerprint(changed) != mark


def encoded_items(n=300):
    rng = np.random.default_rng(0)
    h = rng.random((n, 6)).astype(np.float32)
    return Encoded(
        rng.normal(size=(n, 9)).astype(np.float32) * 50 + 7, h, np.zeros((n, 2)), np.zeros((n, 0))
    )


def test_the_papers_code_is_h_at_one_half():
    h = np.float32([[0.5, 0.2, 0.9], [0.4999, 0.7, 0.5], [0.1, 0.1, 0.1]])
    encoded = Encoded(np.zeros((3, 4)), h, np.zeros((3, 2)), np.zeros((3, 0)))
    np.testing.assert_array_equal(binarize.to_bits(encoded, None), h >= 0.5)  # Eq. 1


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_turned_codes_are_those_of_the_layers_by_their_weight(weight, monkeypatch):
    monkeypatch.setattr(binarize, "_BLOCK", 64)
    encoded = encoded_items()
    code = binarize.fit_hyperplanes(encoded, fc1_weight=weight, seed=3)
    h, fc1 = encoded.h.astype(float), encoded.fc1.astype(float)
    spread = [np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean()) for x in (h, fc1)]
    by_hand = np.hstack([h / spread[0], weight * fc1 / spread[1]])
    turned = itq(by_hand, bits=6, seed=3)
    bits = binarize.to_bits(encoded, code)
    np.testing.assert_array_equal(bits, turned.encode(by_hand))
    assert bits.shape == (300, 6)
    one = encoded.rows(np.array([7]))
    np.testing.assert_array_equal(binarize.to_bits(one, code)[0], bits[7])


def test_fc1_counts_as_much_as_it_is_given():
    encoded = encoded_items()
    same_h = dataclasses.replace(encoded, h=np.broadcast_to(encoded.h[:1], (300, 6)))
    found = []
    for weight in (0.0, 2.0):
        code = binarize.fit_hyperplanes(encoded, fc1_weight=weight, seed=0)
        found.append(len(np.unique(binarize.to_bits(same_h, code), axis=0)))
    assert found[0] == 1
    assert found[1] > 30


def test_joined_features_weigh_both_layers_alike():
    rng = np.random.default_rng(0)
    encoded = Encoded(
        100 * rng.normal(size=(400, 6)),
        rng.random((400, 4)),
        rng.normal(size=(400, 3)),
        np.zeros((400, 0)),
    )
    joined = binarize.FineScale.of(encoded).join(encoded)
    assert joined[:, :6].var(0).sum() == pytest.approx(1.0)
    assert joined[:, 6:].var(0).sum() == pytest.approx(1.0)


def test_a_segmenter_keeps_the_slices_size():
    class Bright(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return x[..., 0] - 0.5

    slices = np.zeros((5, 48, 48), np.uint8)
    slices[:, 12:36, 12:36] = 255
    masks = segmenter.make_segmenter(Bright(), {}, size=24, batch=2)(slices)
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
    np.testing.assert_array_equal(in_batches.fill_small_holes(mask), want)
