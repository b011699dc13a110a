"""Time of a training step: our jitted step against the same network in PyTorch.

Called by `experiments.bench`. First checks that the networks are the same: with the same weights
and batch, both must give the same logits, loss and gradients of all parameters, and the same losses
over several steps. Writes to the workdir training.json, training.md (the table) and loop/, the log
of a real training loop with its input pipeline. Leave the machine idle otherwise.

The peer has no augmentation. Our step is compared without it, and also timed with it.
"""

import functools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from inres import config as config_lib
from inres.config import Config
from inres.data import batches
from inres.learning import devices, loop, recipe, sight
from inres.learning.logs import MetricLog, read_log
from inres.learning.step import make_train_step
from inres.learning.train_state import TrainState, init_state
from inres.system import files, processes, tables
from inres.system.memory import keep_freed_memory

COLUMNS = {
    "rival": "",
    "ms": "ms a step",
    "images_per_second": "images/s",
    "ratio": "times as long as ours",
    "compile_s": "first step, s",
    "disturbed": "disturbed",
}
CHECKED_STEPS = 5

Snapshot = tuple[np.ndarray, float, dict[str, np.ndarray]]
"""(logits [B, classes], loss, gradients by path) with the weights before the first step."""


def flat(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a parameter tree by path, such as `stem/conv/kernel`."""
    paths = flax.traverse_util.flatten_dict(jax.device_get(tree), sep="/")
    return {path: np.asarray(value) for path, value in paths.items()}


class Ours:
    """The network of a config, its jitted training step, and one batch.

    The state is donated to each step, as in training. `compile_s` is the duration of the first step
    in seconds, nearly all of it compilation.
    """

    def __init__(
        self,
        config: Config,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        classes: int,
        steps: int,
        warm: bool = True,
    ):
        """Make the network and its step.

        Args:
          config: the experiment.
          images: uint8 [B, S, S, C].
          labels: int32 [B].
          classes: number of classes.
          steps: total number, for the schedules.
          warm: compile the step by making one.
        """
        self.config = config
        self.model = recipe.build_model(config, classes=classes)
        self.loss = recipe.hash_loss(self.model, config, steps=steps, classes=classes)
        self.optimizer, _ = recipe.optimizer(config, steps=steps, steps_per_epoch=steps)
        self.mesh = devices.data_mesh(1)
        augment = np.full(len(images), True)
        self.batch = {"image": images, "label": labels, "augment": augment}
        self.on_device = devices.put_batch(self.batch, self.mesh)
        one = np.zeros((1, *images.shape[1:]), np.float32)
        variables = jax.jit(self.model.init)(jax.random.key(config.seed), one)
        self.variables: dict[str, Any] = jax.device_get(dict(variables))
        self.advance = make_train_step(
            self.loss, self.optimizer, key=jax.random.key(1), mesh=self.mesh
        )
        self.state = self.fresh()
        self.compile_s = 0.0
        if warm:
            self.compile_s = timing.seconds_of(self.step)
            self.state = self.fresh()

    def trace(self) -> jax.stages.Traced:
        """The step, traced but not compiled."""
        step: Any = self.advance  # its type does not say that it is jitted
        return step.trace(self.state, self.on_device)

    def fresh(self) -> TrainState:
        """The state before the first step."""
        return init_state(self.variables, self.optimizer, mesh=self.mesh)

    def step(self) -> float:
        """Make one step; returns the loss before it."""
        self.state, metrics = self.advance(self.state, self.on_device)
        jax.block_until_ready(self.state)
        return float(metrics["loss"])

    def snapshot(self) -> Snapshot:
        """Logits, loss and gradients with the initial weights, in training mode."""

        def logits(params: Any) -> jax.Array:
            images = sight.to_input(self.on_device["image"])
            variables = {"params": params, "batch_stats": self.variables.get("batch_stats", {})}
            keys = {"dropout": jax.random.key(0)}
            apply = functools.partial(self.model.apply, train=True, mutable=["batch_stats"])
            return apply(variables, images, rngs=keys)[0].fc3

        def loss(params: Any) -> jax.Array:
            stats = self.variables.get("batch_stats", {})
            return self.loss(params, stats, self.on_device, jax.random.key(0), jnp.int32(0))[0]

        params = self.variables["params"]
        value, gradients = jax.jit(jax.value_and_grad(loss))(params)
        return np.asarray(jax.jit(logits)(params)), float(value), flat(gradients)

    def loop(self, images: np.ndarray, labels: np.ndarray, steps: int, out: Path) -> dict[str, Any]:
        """Run the real training loop and input pipeline; returns the last row of its log.

        images: uint8 [N, S, S, 1]; labels: int32 [N].
        """
        source = batches.batches(
            {"image": images, "label": labels},
            weights=batches.draw_weights(labels, self.config.train.balance_power),
            batch=len(self.batch["label"]),
            seed=self.config.seed,
            start=0,
            steps=steps,
            augmented=steps,
        )
        with MetricLog(out) as log:
            loop.fit(
                self.fresh(),
                self.advance,
                source,
                steps=steps,
                steps_per_epoch=steps,
                mesh=self.mesh,
                log=log,
            )
        return read_log(out / "log.jsonl")[-1]


def bare(config: Config) -> Config:
    """A copy of `config` without augmentation and with a constant learning rate, like the peer."""
    config = config_lib.checked(config)
    t = config.train
    t.flips = t.quarter_turns = False
    t.shift_px = 0
    t.schedule = "constant"
    return config


def relative_distance(a: Any, b: Any) -> float:
    """Norm of a - b divided by the norm of b."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), 1e-12))


def check(ours: Snapshot, peer: Snapshot, *, logits: float = 1e-4, gradients: float = 1e-2) -> None:
    """Check that both implementations agree on the same weights and batch, up to rounding.

    Args:
      logits: allowed `relative_distance` of logits and of the loss.
      gradients: allowed `relative_distance` of the gradient of each parameter; larger, because
        rounding is amplified on the way through many normalized layers.

    Raises:
      RuntimeError: they do not; says what differs and by how much.
    """
    our_logits, our_loss, our_gradients = ours
    peer_logits, peer_loss, peer_gradients = peer
    distances = {
        "logits": relative_distance(our_logits, peer_logits) / logits,
        "loss": relative_distance(our_loss, peer_loss) / logits,
    }
    if our_gradients.keys() != peer_gradients.keys():
        different = sorted(our_gradients.keys() ^ peer_gradients.keys())
        raise RuntimeError(f"parameters differ: {different}")
    for path, gradient in our_gradients.items():
        distance = relative_distance(gradient, peer_gradients[path])
        distances[f"the gradient of {path}"] = distance / gradients
    worst = max(distances, key=lambda name: distances[name])
    if not distances[worst] <= 1:
        raise RuntimeError(
            f"{worst} differs from the peer's by {distances[worst]:.3g} times the tolerance: not "
            "the same network or loss, so nothing is timed"
        )


def import_peer() -> Any:
    """`experiments.bench.torch_network`.

    Raises:
      RuntimeError: PyTorch is not installed.
    """
    try:
        from experiments.bench import torch_network
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"{error}; install the peer of training: pip install -e '.[bench]'"
        ) from None
    return torch_network


def random_data(config: ConfigDict) -> tuple[np.ndarray, np.ndarray]:
    """Random images, uint8 [N, S, S, 1], and labels, int32 [N]."""
    rng = np.random.default_rng(config.seed)
    size, count = config.experiment.items.size_px, config["items"]
    images = rng.integers(0, 256, (count, size, size, 1), np.uint8)
    return images, rng.integers(0, config.classes, count).astype(np.int32)


def trainers(config: ConfigDict, ours: Ours, peer: Any) -> dict[str, Any]:
    """The peer with our weights in each of its variants, by name, after checking it.

    Raises:
      RuntimeError: it disagrees with ours.
    """
    snapshot = ours.snapshot()
    losses = [ours.step() for _ in range(CHECKED_STEPS)]
    made = {}
    for variant in peer.variants("cpu", compiled=config.compiled):
        trainer = peer.Trainer(
            ours.config,
            flat(ours.variables["params"]),
            ours.batch["image"],
            ours.batch["label"],
            classes=config.classes,
            variant=variant,
        )
        begin = time.perf_counter()
        try:
            theirs = trainer.snapshot()
        except RuntimeError as error:
            if not variant.compiled:
                raise
            print(f"{variant} is left out: {str(error).splitlines()[0]}")
            continue
        if variant.compiled:
            trainer.compile_s = time.perf_counter() - begin
        check(snapshot, theirs)
        later = [trainer.step() for _ in range(CHECKED_STEPS)]
        if not np.allclose(losses, later, rtol=1e-2):
            raise RuntimeError(f"losses of the first steps: {losses} here, {later} in the peer")
        made[str(variant)] = trainer
    return made


def measure(
    config: ConfigDict, sides: Mapping[str, Ours], peers: Mapping[str, Any], workdir: Path
) -> dict[str, Any]:
    """Measure everything; returns the rows of the table and the results of the real loop.

    Args:
      config: the benchmark's config.
      sides: our trainers by name; times are divided by that of the first, and the last runs the
        real loop.
      peers: the peer's trainers by name.
    """
    first, *_, last = [*sides, *sides]
    batch = len(sides[first].batch["label"])
    rivals = {name: rival.step for name, rival in {**sides, **peers}.items()}
    times = timing.interleaved(rivals, rounds=config.rounds, round_seconds=config.round_seconds)
    real = sides[last].loop(*random_data(config), config.loop_steps, workdir / "loop")
    return {
        "rows": [
            {
                "rival": name,
                **measured.summary(),
                "images_per_second": round(batch / measured.median, 1),
                "ratio": measured.median / times[first].median,
                "compile_s": {**sides, **peers}[name].compile_s,
            }
            for name, measured in times.items()
        ],
        "loop": {name: real[name] for name in ("input_wait_share", "images_per_second", "step")},
    }


def summary(result: Mapping[str, Any], workdir: Path) -> str:
    """Write the table; returns it with a sentence on the input pipeline."""
    rows = [{**row, "disturbed": "yes" if row["disturbed"] else "no"} for row in result["rows"]]
    table = tables.write_markdown(workdir / "training.md", COLUMNS, rows)
    loop = result["loop"]
    return (
        f"{table}\nThe real loop trains {loop['images_per_second']:.0f} images/s and waits "
        f"{100 * loop['input_wait_share']:.2f} % of its time for input.\n"
    )


def compare_with_pytorch(config: ConfigDict, workdir: Path) -> None:
    """Measure against PyTorch with one thread per core.

    Raises:
      RuntimeError: PyTorch is not installed, or network, loss or optimizer differ.
      ConfigError: the peer does not support a setting.
    """
    peer = import_peer()
    keep_freed_memory()
    cores = processes.cores()
    environment = {
        "jax": jax.__version__,
        **peer.set_threads(cores),
        "cores": cores,
        "devices": [str(device) for device in jax.devices()],
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
    experiment = config_lib.checked(config.experiment)
    peer.check(bare(experiment))
    images, labels = (values[: experiment.train.batch] for values in random_data(config))
    make = functools.partial(
        Ours, images=images, labels=labels, classes=config.classes, steps=config.loop_steps
    )
    sides = {"inres": make(bare(experiment)), "inres, with augmentation": make(experiment)}
    result = measure(config, sides, trainers(config, sides["inres"], peer), workdir)
    settings = {**config.to_dict(), "experiment": config_lib.to_dict(config.experiment)}
    record = {"environment": environment, "config": settings, **result}
    files.write_json(workdir / "training.json", record)
    print(summary(result, workdir))
    print(workdir / "training.json", workdir / "training.md", sep="\n")
