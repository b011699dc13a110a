"""A loss or a network is added by one file, without editing anything else."""

import pickle
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from inres import config as lib
from inres.data import batches
from inres.learning import losses, objective, recipe
from inres.learning.devices import data_mesh, put_batch
from inres.learning.step import make_train_step
from inres.learning.train_state import init_state
from inres.models import networks

pytestmark = pytest.mark.usefixtures("quick_programs")

LOSS = """
import dataclasses

import jax.numpy as jnp

from inres.config import Config, Hash, Loss, Model, Train
from inres.learning import losses
from inres.system import checks


@dataclasses.dataclass
class Settings:
    target: float = 1.0

    def __post_init__(self):
        checks.positive("loss.settings.far", self, "target")


@losses.register("far", title="Far from zero", reference="", settings=Settings)
def loss(step, settings):
    return jnp.mean((jnp.abs(step.outputs.u) - settings.target) ** 2)


def get_config():
    model = Model(stem=4, fc1=8, compression="plain", residual="plain")  # compiles faster
    config = Config(hash=Hash(bits=8), model=model)
    config.train = Train(batch=8, learning_rate=0.003, schedule="constant")
    config.loss = Loss(name="far", weight=3.0, fine=0.0)
    return config
"""

NETWORK = """
import flax.linen as nn

from inres.config import Config, Hash, Model, Train
from inres.models import networks
from inres.models.head import HashHead


class Linear(nn.Module):
    head: HashHead
    width: int

    @nn.compact
    def __call__(self, images, seen=None, *, train=False):
        return self.head(nn.Dense(self.width, name="only")(images), seen, train=train)


@networks.register("linear", title="Linear network")
def build(settings, head, kernel_init):
    return Linear(head, settings.stem)


def get_config():
    model = Model(name="linear", stem=4, fc1=8)
    return Config(hash=Hash(bits=8), model=model, train=Train(batch=8))
"""


@pytest.fixture(autouse=True)
def forget():
    """Unregister what a test has registered."""
    yield
    for registry, name in ((losses.REGISTRY, "far"), (networks.REGISTRY, "linear")):
        registry.remove(name)


def parsed(tmp_path, monkeypatch, source, *overrides):
    """The config of a file and of flags, as a command has it."""
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(source))
    argv = ["train", f"--config={path}", *overrides]
    monkeypatch.setattr(sys, "argv", argv)  # ml_collections looks for fields there
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    values(argv)
    return lib.checked(config.value)


def train(config, steps=6):
    """Train on a few random images; the state and the metrics of every step."""
    rng = np.random.default_rng(0)
    labels = np.arange(16, dtype=np.int32) % 4
    diameters = 4.0 * labels.astype(np.float32)
    arrays = {
        "image": rng.integers(0, 256, (16, 16, 16, 1), np.uint8),
        "label": labels,
        "item": np.arange(16, dtype=np.int32),
        "diameter_mm": diameters,
    }
    codes = objective.target_codes(config, losses.Truth(labels, diameters), classes=4)
    if codes is not None:
        arrays["code"] = codes
    mesh = data_mesh(1)
    model = recipe.build_model(config, classes=4)
    optimizer, _ = recipe.optimizer(config, steps=steps, steps_per_epoch=2)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 16, 16, 1), np.float32))
    state = init_state(variables, optimizer, mesh=mesh)
    loss = recipe.hash_loss(model, config, steps=steps, classes=4)
    step = make_train_step(loss, optimizer, key=jax.random.key(1), mesh=mesh)
    source = batches.batches(
        arrays, weights=np.full(16, 1 / 16), batch=8, seed=0, start=0, steps=steps, augmented=0
    )
    found = []
    for batch in source:
        state, metrics = step(state, put_batch(batch, mesh))
        found.append({name: float(value) for name, value in metrics.items()})
    return state, found


def test_a_loss_from_a_config_file_trains(tmp_path, monkeypatch):
    override = "--config.loss.settings.far.target=2"
    config = parsed(tmp_path, monkeypatch, LOSS, override)
    assert config.loss.settings.far.target == 2.0
    assert lib.to_dict(config)["loss"]["settings"]["far"] == {"target": 2.0}
    assert losses.get("far").title == "Far from zero"
    _, found = train(config)
    for row in found:
        assert row["loss"] == pytest.approx(row["nll"] + 3.0 * row["code_loss"], rel=1e-5)
    costs = [row["code_loss"] for row in found]
    assert costs[-1] < 0.9 * costs[0]


def test_settings_of_a_loss_from_a_config_file_are_checked(tmp_path, monkeypatch):
    field = "config.loss.settings.far.target"
    with pytest.raises(lib.ConfigError, match=rf"{field} = -1.0: must be greater than 0"):
        parsed(tmp_path, monkeypatch, LOSS, f"--{field}=-1")
    with pytest.raises(flags.IllegalFlagValueError):
        parsed(tmp_path, monkeypatch, LOSS, f"--{field}=two")
    with pytest.raises(KeyError, match="goal"):
        parsed(tmp_path, monkeypatch, LOSS, "--config.loss.settings.far.goal=1")


def test_other_processes_read_the_config_without_the_loss(tmp_path, monkeypatch):
    """The processes that prepare scans get the config, but do not import the config file."""
    config = parsed(tmp_path, monkeypatch, LOSS)
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(config))
    code = """
import pathlib, pickle, sys
config = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
print(config.loss.name, hasattr(config.loss.settings, "far"), config.loss.settings.csq)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "config.pickle")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said == "far False Settings(quantization=0.0001)\n"


def test_the_name_of_a_published_loss_is_taken(tmp_path, monkeypatch):
    message = "loss 'dpsh' of config_config: inres.learning.losses.dpsh has one of this name"
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        parsed(tmp_path, monkeypatch, LOSS.replace('"far", title', '"dpsh", title'))


def test_a_network_from_a_config_file_trains(tmp_path, monkeypatch):
    config = parsed(tmp_path, monkeypatch, NETWORK)
    assert networks.get("linear").title == "Linear network"
    state, found = train(config)
    assert state.params["only"]["kernel"].shape == (1, 4)
    assert np.isfinite([row["loss"] for row in found]).all()
    with pytest.raises(lib.ConfigError, match=r"config\.model\.name = 'vgg'.*'linear'"):
        lib.Model(name="vgg")
