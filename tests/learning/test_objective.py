"""Every loss trains through the same network, step and batch."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from inres import config as lib
from inres.learning import losses, objective, recipe
from inres.learning.neighbourhood import neighbourhood, similarity_of
from inres.models.head import HashHead, Outputs

pytestmark = pytest.mark.usefixtures("quick_programs")

CLASSES, BITS = 4, 8
RNG = np.random.default_rng(0)
LABELS = np.tile(np.arange(CLASSES), 3).astype(np.int32)
DIAMETERS = np.where(LABELS > 0, 4.0 * LABELS, 0.0) + np.linspace(0, 0.5, 12) * (LABELS > 0)
TRUTH = losses.Truth(LABELS, DIAMETERS)
IMAGES = RNG.integers(0, 255, (12, 8, 8, 1)).astype(np.uint8)


def setting(name, **fields):
    return lib.Config(
        hash=lib.Hash(bits=BITS),
        model=lib.Model(stem=4, fc1=8),
        loss=lib.Loss(name=name, **fields),
        train=lib.Train(flips=False, quarter_turns=False, shift_px=0),
    )


def batch(config):
    made = {"image": IMAGES, "label": LABELS, "augment": np.zeros(12, bool)}
    made |= {"diameter_mm": DIAMETERS.astype(np.float32), "item": np.arange(12, dtype=np.int32)}
    code = objective.target_codes(config, TRUTH, classes=CLASSES)
    return made if code is None else made | {"code": code}


def test_every_loss_of_the_codes_has_a_gradient():
    u, fc3 = (RNG.normal(size=(12, n)).astype(np.float32) for n in (BITS, CLASSES))
    outputs = Outputs(
        fc1=u,
        u=u,
        h=1 / (1 + np.exp(-u)),
        fc3=fc3,
        properties=np.zeros((12, 0)),
        views=np.zeros((12, 1, 0)),
    )
    shapes = {"fc2": (8, BITS), "fc3": (BITS, CLASSES)}
    head = {n: {"kernel": RNG.normal(size=s), "bias": np.zeros(s[1])} for n, s in shapes.items()}
    for name in losses.names():
        config = setting(name)
        of_codes = objective.code_loss(config, classes=CLASSES)
        if name == "nll":
            assert of_codes is None
            continue
        made = batch(config)

        def cost(u, of_codes=of_codes, made=made):
            changed = outputs.replace(u=u, h=jax.nn.sigmoid(u))
            return of_codes(changed, head, made, 0.5)

        slope = jax.jit(jax.grad(cost))(u)
        assert np.isfinite(slope).all(), name
        assert np.abs(slope).max() > 0, name


class Bare(nn.Module):
    """A network that consists of its head."""

    head: HashHead

    def __call__(self, images, seen=None, *, train):
        return self.head(images, seen, train=train)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    config = setting(
        "paper",
        weight=2.0,
        classification=3.0,
        fine=1.5,
    )
    config.loss.settings.paper.quantization = 0.5
    config.loss.settings.paper.independence = 0.0
    model = Bare(HashHead(CLASSES, BITS, fc1=8))
    params = jax.jit(lambda k: model.init(k, np.zeros((1, 8, 8, 1)), train=False))(
        jax.random.key(0)
    )["params"]
    loss_fn = jax.jit(recipe.hash_loss(model, config, steps=10, classes=CLASSES))
    loss, (_, metrics) = loss_fn(params, {}, batch(config), jax.random.key(1), 3)
    mean = IMAGES.mean(axis=(1, 2)) / 255.0
    layers = [jax.device_get(params)["head"][name] for name in ("fc1", "fc2", "fc3")]
    fc1 = np.maximum(mean @ layers[0]["kernel"] + layers[0]["bias"], 0)
    h = 1 / (1 + np.exp(-(fc1 @ layers[1]["kernel"] + layers[1]["bias"])))
    logits = h @ layers[2]["kernel"] + layers[2]["bias"]
    nll = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), LABELS])
    codes = -0.5 * np.mean((h - 0.5) ** 2) + np.mean((h.mean(axis=0) - 0.5) ** 2)
    similarity = similarity_of(LABELS, DIAMETERS, spread=0.25)
    near = float(neighbourhood(fc1.astype(np.float32), similarity, np.arange(12)))
    assert float(metrics["fine_loss"]) == pytest.approx(near, rel=1e-3)
    assert float(loss) == pytest.approx(3.0 * nll + 2.0 * codes + 1.5 * near, rel=1e-4)
    assert float(metrics["code_loss"]) == pytest.approx(codes, rel=1e-3)


def test_target_codes_are_those_of_class_and_diameter():
    by_class = batch(setting("csq"))["code"]
    for label in range(CLASSES):
        assert len(np.unique(by_class[label == LABELS], axis=0)) == 1
    assert len(np.unique(by_class, axis=0)) == CLASSES
    ordinal = batch(setting("ordinal"))["code"]
    order = np.argsort(DIAMETERS[LABELS > 0])
    ones = ordinal[LABELS > 0].sum(axis=1)[order]
    assert (np.diff(ones) >= 0).all()
    assert ones[0] < ones[-1]
    assert "code" not in batch(setting("dpsh"))


def test_greedyhash_classifies_the_code_by_fc3():
    config = setting("greedyhash")
    config.loss.settings.greedyhash.penalty = 0.0
    u = RNG.normal(size=(12, BITS)).astype(np.float32)
    kernel = RNG.normal(size=(BITS, CLASSES)).astype(np.float32)
    cost = objective.code_loss(config, classes=CLASSES)
    head = {"fc3": {"kernel": kernel, "bias": np.zeros(CLASSES, np.float32)}}
    logits = (u >= 0) @ kernel
    want = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), LABELS])
    outputs = Outputs(
        fc1=u, u=u, h=u, fc3=logits, properties=np.zeros((12, 0)), views=np.zeros((12, 1, 0))
    )
    assert float(cost(outputs, head, {"label": LABELS}, 0.5)) == pytest.approx(want, rel=1e-5)


def test_bits_that_cannot_tell_the_classes_apart_are_named():
    config = setting("orthohash")
    config.hash.bits = 3
    with pytest.raises(lib.ConfigError, match=r"config\.hash\.bits = 3: .*balanced codes"):
        objective.code_loss(config, classes=8)


def test_batch_norm_before_the_sigmoid_balances_the_bits():
    assert recipe.build_model(setting("orthohash"), classes=CLASSES).head.hash_norm
    assert not recipe.build_model(setting("csq"), classes=CLASSES).head.hash_norm
    head = HashHead(CLASSES, BITS, fc1=8, pooling="flatten", hash_norm=True)
    images = RNG.normal(size=(12, 2, 2, 3)).astype(np.float32)

    @jax.jit
    def run(key):
        variables = head.init(key, images, train=False)
        return variables, head.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    variables, outputs = run(jax.random.key(0))
    assert "bias" not in variables["params"]["fc2"]
    np.testing.assert_allclose(outputs.u.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(outputs.u.std(axis=0), 1.0, atol=0.05)


def test_two_classes_have_no_order():
    two = setting("ordinal")
    assert objective.code_loss(two, classes=2) is None
    assert objective.target_codes(two, losses.Truth(LABELS % 2, DIAMETERS), classes=2) is None
