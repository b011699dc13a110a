"""Every field of the recipe has its effect, also on several devices."""

import dataclasses
import functools
import subprocess
import sys

import jax
import numpy as np
import pytest
import quick
from test_objective import BITS, CLASSES, IMAGES, RNG, Bare, batch, setting

from inres import config as lib
from inres.data import views
from inres.learning import recipe, sight
from inres.learning.devices import data_mesh, require_divisible
from inres.models.head import HashHead

pytestmark = pytest.mark.usefixtures("quick_programs")

STACKS = RNG.integers(1, 255, (12, 8, 8, 6)).astype(np.uint8)


def test_the_optimizer_is_that_of_the_config(monkeypatch):
    given = []
    monkeypatch.setattr(recipe, "sgd", lambda **fields: given.append(fields))
    fields = {
        "learning_rate": 0.3,
        "schedule": "constant",
        "momentum": 0.8,
        "nesterov": False,
        "weight_decay": 0.02,
        "clip_norm": 5.0,
    }
    config = lib.Config(train=lib.Train(warmup_epochs=1.5, **fields))
    recipe.optimizer(config, steps=90, steps_per_epoch=10)
    assert given == [fields | {"steps": 90, "warmup_steps": 15}]


def test_the_network_is_that_of_the_config():
    fields = {
        "stem": 8,
        "stem_kernel": 7,
        "stem_stride": 1,
        "stem_pool": True,
        "compression": "plain",
        "residual": "plain",
        "residual_scale": 0.3,
        "norm": "group",
    }
    model = lib.Model(fc1=24, pooling="flatten", dropout=0.4, **fields)
    config = lib.Config(model=model, hash=lib.Hash(bits=20), loss=lib.Loss("orthohash"))
    made = recipe.build_model(config, classes=5)
    assert {name: getattr(made, name) for name in fields} == fields
    head = made.head
    assert (head.classes, head.bits, head.fc1, head.pooling) == (5, 20, 24, "flatten")
    assert (head.dropout, head.hash_norm) == (0.4, True)
    assert type(recipe.build_model(lib.Config(model=lib.Model("alexnet")), classes=5)).__name__ == (
        "AlexNet"
    )


def losses_of(config, *, images=IMAGES, augment=False, step=0):
    """The loss of one batch in a network of fixed weights: a head that sees every pixel."""
    model = Bare(HashHead(CLASSES, BITS, fc1=8, pooling="flatten"))
    rng = np.random.default_rng(1)
    begin = functools.partial(model.init, train=False)
    planes, seen = sight.split(sight.to_input(images[:1]), config.model.planes)
    shapes = jax.eval_shape(begin, jax.random.key(0), sight.flatten(planes, seen), seen)
    params = jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype("f4"), shapes["params"])
    made = batch(config) | {"image": images, "augment": np.full(12, augment)}
    loss_fn = recipe.hash_loss(model, config, steps=10, classes=CLASSES)
    return float(loss_fn(params, {}, made, jax.random.key(1), step)[0])


@pytest.mark.parametrize(("field", "value"), [("flips", True), ("shift_px", 2)])
def test_images_are_augmented_only_where_the_batch_says_so(field, value):
    config, plain = setting("nll"), setting("nll")
    setattr(config.train, field, value)
    assert losses_of(config, augment=True) != losses_of(plain)
    assert losses_of(config, augment=False) == losses_of(plain)


def test_neighbours_are_dropped_as_often_as_configured():
    config = setting("nll")
    found = {}
    for share in (0.0, 0.5, 1.0):
        config.train.neighbour_dropout = share
        found[share] = losses_of(config, images=STACKS)
    alone = views.alone(STACKS)
    assert len(set(found.values())) == 3
    assert found[1.0] == pytest.approx(losses_of(config, images=alone), rel=1e-6)


CUBES = views.with_known(
    RNG.integers(1, 255, (12, 9, 9, 9)).astype(np.uint8), np.abs(np.arange(9) - 4) <= 2
)


@pytest.mark.parametrize("planes", ["channels", "each", "three"])
def test_cubes_are_augmented_and_dropped_however_the_network_sees_them(planes):
    def setting_of(**train):
        config = setting("nll")
        config.items = lib.Items(view="cube", cube_px=9)
        config.model.planes, config.loss.view = planes, 0.0
        config.train = dataclasses.replace(config.train, planes=0, **train)
        return config

    still = {"flips": False, "quarter_turns": False, "shift_px": 0, "neighbour_dropout": 0.0}
    plain = losses_of(setting_of(**still), images=CUBES, augment=True)
    moves = ({"flips": True, "quarter_turns": True}, {"shift_px": 2})
    for changes in moves:
        config = setting_of(**(still | changes))
        assert losses_of(config, images=CUBES, augment=False) == pytest.approx(plain, rel=1e-6)
        assert losses_of(config, images=CUBES, augment=True) != pytest.approx(plain, rel=1e-4)
    dropped = losses_of(setting_of(**still | {"neighbour_dropout": 1.0}), images=CUBES)
    assert dropped == pytest.approx(losses_of(setting_of(**still), images=views.alone(CUBES)))


def test_views_are_learned_where_planes_of_a_cube_are_seen():
    config = lib.Config(items=lib.Items(view="cube"), model=lib.Model(planes="nine"))
    assert recipe.build_model(config, classes=2).head.views == 9
    config.loss.view = 0.0
    assert recipe.build_model(config, classes=2).head.views == 0
    assert recipe.build_model(lib.Config(), classes=2).head.views == 0


@pytest.mark.parametrize("field", ["classification", "fine", "fine_spread"])
def test_fields_of_the_loss_change_it(field):
    assert losses_of(setting("nll", **{field: 0.2})) != losses_of(setting("nll"))


def test_hashnet_sharpens_as_training_goes_on():
    config = setting("hashnet")
    assert losses_of(config, step=9) != losses_of(config, step=0)
    assert losses_of(setting("csq"), step=9) == losses_of(setting("csq"), step=0)


DEVICES = """
import flax.linen as nn, jax, jax.numpy as jnp, numpy as np
from inres import config as lib
from inres.learning import recipe
from inres.learning.devices import data_mesh, put_batch
from inres.learning.losses.dpsh import dpsh
from inres.learning.losses.dtsh import dtsh
from inres.learning.losses.hashnet import hashnet
from inres.learning.step import make_train_step
from inres.learning.train_state import init_state
from inres.models.blocks import ConvNorm
from inres.models.head import HashHead

class Tiny(nn.Module):
    head: HashHead
    @nn.compact
    def __call__(self, x, seen=None, *, train=False):
        return self.head(ConvNorm(4, 3, 2)(x, train=train), seen, train=train)

config = lib.Config(
    hash=lib.Hash(bits=8), loss=lib.Loss("dtsh"), train=lib.Train(batch=8, shift_px=1)
)
rng = np.random.default_rng(0)
labels = rng.integers(0, 4, 8).astype(np.int32)
batch = {
    "image": rng.integers(0, 255, (8, 16, 16, 6)).astype(np.uint8), "label": labels,
    "diameter_mm": 4 * labels.astype(np.float32), "augment": np.ones(8, bool),
    "item": np.arange(8, dtype=np.int32),
}

def trained(devices):
    mesh = data_mesh(devices)
    model = Tiny(HashHead(4, 8, 8, dropout=0.2, hash_norm=True))
    optimizer, _ = recipe.optimizer(config, steps=10, steps_per_epoch=5)
    variables = dict(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 6))))
    state = init_state(variables, optimizer, mesh=mesh)
    step = make_train_step(
        recipe.hash_loss(model, config, steps=10, classes=4), optimizer,
        key=jax.random.key(1), mesh=mesh,
    )
    for _ in range(2):
        state, _ = step(state, put_batch(batch, mesh))
    return jax.device_get([state.params, state.batch_stats])

# Losses of pairs and triplets see the batch of all devices.
u = rng.normal(size=(6, 8)).astype(np.float32)
y = np.array([0, 1, 0, 2, 1, 0])
spread = put_batch({"u": u, "y": y}, data_mesh(2))

def total(u, y):
    return jnp.stack([
        dpsh(u, y, quantization=0.1),
        dtsh(u, y, margin=4.0, quantization=0.1),
        hashnet(u, y, beta=jnp.float32(2.0), alpha=0.1),
    ])

np.testing.assert_allclose(jax.jit(total)(spread["u"], spread["y"]), total(u, y), rtol=1e-5)
one, two = map(trained, (1, 2))
for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)
"""


@pytest.mark.slow
def test_training_on_two_devices_is_training_on_one():
    """Batch norm, dropout, augmentation and losses, over the batch of all devices.

    A process must ask for CPU devices before jax begins.
    """
    environment = quick.environment("--xla_force_host_platform_device_count=2")
    done = subprocess.run(
        [sys.executable, "-c", DEVICES],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_batch_that_devices_cannot_share_is_named():
    require_divisible(8, data_mesh(1), "config.train.batch")

    class Three:
        size = 3

    with pytest.raises(ValueError, match=r"config\.segment\.batch = 8: .*divisible by 3 devices"):
        require_divisible(8, Three, "config.segment.batch")
