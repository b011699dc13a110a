"""What a training step costs: ours, jitted, against the same network in PyTorch eager.

Called by `experiments.bench`. Before anything is timed both make one step from the same weights on
the same batch, and must agree on the loss and on the weights after it.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.configs import load
from inres import benchmark, files, recipe, tables, training
from inres.config import Config, ConfigError
from inres.data import batches
from inres.logs import MetricLog, read_log
from inres.memory import keep_freed_memory
from inres.models.inres_net import InResNet

CLASSES = 8
COLUMNS = {
    "network": "network",
    "batch": "batch",
    "size": "pixels",
    "ours_ms": "ours, ms a step",
    "peer_ms": "PyTorch, ms a step",
    "ratio": "PyTorch / ours",
    "images_per_second": "images/s",
    "peer_layout": "PyTorch's faster layout",
    "whole_ms": "with augmentation, ms",
    "compile_s": "compilation, s",
    "input_wait_share": "waiting for input",
    "disturbed": "disturbed",
}


class Ours:
    """The network, its state and a step on one batch."""

    def __init__(self, config: Config, images: np.ndarray, labels: np.ndarray):
        self.config, self.batch = config, len(images)
        self.model = recipe.build_model(config, classes=CLASSES)
        self.optimizer, _ = recipe.optimizer(config, steps=10**6, steps_per_epoch=10**3)
        self.mesh = training.data_mesh(1)
        self.loss = recipe.hash_loss(self.model, config, steps=10**6)
        batch = {"image": images, "label": labels, "augment": np.full(len(images), True)}
        self.fixed = training.put_batch(batch, self.mesh)
        size = images.shape[1]
        image = np.zeros((1, size, size, 1), np.float32)
        self.variables = dict(jax.jit(self.model.init)(jax.random.key(0), image))
        self.state = self.fresh()
        self.advance = training.make_train_step(
            self.loss, self.optimizer, key=jax.random.key(1), mesh=self.mesh
        )

    def fresh(self) -> training.TrainState:
        """The state before the first step."""
        variables = jax.tree.map(np.asarray, self.variables)
        return training.init_state(variables, self.optimizer, ema=False, mesh=self.mesh)

    def step(self) -> float:
        """One step on the batch; the loss before it."""
        self.state, metrics = self.advance(self.state, self.fixed)
        jax.block_until_ready(self.state)
        return float(metrics["loss"])

    def waiting(self, images: np.ndarray, labels: np.ndarray, steps: int, out: Path) -> float:
        """Share of the time that the real loop, with its pipeline, waits for input."""
        source = batches.batches(
            {"image": images, "label": labels},
            weights=batches.draw_weights(labels, self.config.train.balance_power),
            batch=self.batch,
            seed=0,
            start=0,
            steps=steps,
            augmented=steps,
        )
        with MetricLog(out, step=0) as log:
            training.fit(
                self.fresh(),
                self.advance,
                source,
                steps=steps,
                steps_per_epoch=steps // 2,
                mesh=self.mesh,
                log=log,
            )
        rows = [row for row in read_log(out / "log.jsonl") if row["kind"] == "train"]
        return rows[-1]["input_wait_share"]  # the second half: the first has the pipeline's start


def run(config: ConfigDict, workdir: Path) -> None:
    """Measure every case; results so far are written after each."""
    peer = _peer()
    keep_freed_memory()
    cores = len(os.sched_getaffinity(0))
    peer.torch.set_num_threads(cores)
    environment = {
        "jax": jax.__version__,
        "torch": peer.torch.__version__,
        "torch_threads": peer.torch.get_num_threads(),
        "cores": cores,
        "devices": [str(device) for device in jax.devices()],
    }
    rows: list[dict[str, Any]] = []
    for name, batch in itertools.product(config.networks, config.batches):
        rows.append(measure(config, name, batch, peer, workdir))
        files.write_json(
            workdir / "training.json",
            {"environment": environment, "config": config.to_dict(), "rows": rows},
        )
        text = tables.write_markdown(workdir / "training.md", COLUMNS, rows)
    print(text)
    print(workdir / "training.json", workdir / "training.md", sep="\n")


def _peer() -> Any:
    try:
        from experiments import bench_torch
    except ImportError as error:
        raise ConfigError(
            f"config.run = 'training': PyTorch is missing ({error}); install the package with "
            "its extra: pip install -e '.[test,bench]'"
        ) from None
    return bench_torch


def case_config(name: str, batch: int) -> Config:
    """The config of a network: `light`, the default one, or `paper`."""
    if name not in ("light", "paper"):
        raise ConfigError(f"config.training.networks = {name!r}: must be 'light' or 'paper'")
    config = load("paper") if name == "paper" else Config()
    config.loss.name, config.loss.fine = "nll", 0.0
    config.train.init = "he"
    config.train.batch = batch
    return config


def still(config: Config) -> Config:
    """`config` without augmentation, which the peer does not have."""
    config.train.flips = config.train.quarter_turns = False
    config.train.shift_px = 0
    config.train.brightness = config.train.contrast = config.train.noise = 0.0
    return config


def measure(config: ConfigDict, name: str, batch: int, peer: Any, workdir: Path) -> dict[str, Any]:
    """One network at one batch size."""
    size = case_config(name, batch).items.size_px
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(config.images, batch), size, size), np.uint8)
    labels = rng.integers(0, CLASSES, len(images)).astype(np.int32)
    ours = Ours(still(case_config(name, batch)), images[:batch], labels[:batch])
    whole = Ours(case_config(name, batch), images[:batch], labels[:batch])
    begin = time.perf_counter()
    first = ours.step()
    compile_seconds = time.perf_counter() - begin
    trainers = {
        layout: _trainer(peer, ours, images[:batch], labels[:batch], layout == "channels last")
        for layout in ("channels first", "channels last")
    }
    for layout, trainer in trainers.items():
        check(ours, first, trainer.step(), trainer.kernels(), layout)
    rivals: dict[str, Callable[[], Any]] = {"ours": ours.step, "whole": whole.step}
    rivals |= {layout: trainer.step for layout, trainer in trainers.items()}
    times = benchmark.interleaved(rivals, rounds=config.rounds, round_seconds=config.round_seconds)
    faster = min(trainers, key=lambda layout: times[layout].median)
    wait = whole.waiting(images, labels, config.loop_steps, workdir / f"loop-{name}-{batch}")
    return {
        "network": name,
        "batch": batch,
        "size": size,
        "ours_ms": 1e3 * times["ours"].median,
        "peer_ms": 1e3 * times[faster].median,
        "ratio": times[faster].median / times["ours"].median,
        "images_per_second": round(batch / times["ours"].median),
        "peer_layout": faster,
        "whole_ms": 1e3 * times["whole"].median,
        "compile_s": compile_seconds,
        "input_wait_share": wait,
        "disturbed": any(timing.disturbed for timing in times.values()),
        "timings": {rival: timing.summary() for rival, timing in times.items()},
    }


def _trainer(peer: Any, ours: Ours, images: np.ndarray, labels: np.ndarray, last: bool) -> Any:
    """The peer with our weights as they were before the first step."""
    assert isinstance(ours.model, InResNet)
    t = ours.config.train
    rate = float(recipe.optimizer(ours.config, steps=10**6, steps_per_epoch=10**3)[1](0))
    return peer.Trainer(
        jax.device_get(ours.variables["params"]),
        images.astype(np.float32) / 255.0,
        labels,
        channels_last=last,
        learning_rate=rate,
        momentum=t.momentum,
        weight_decay=t.weight_decay,
        stem_stride=ours.model.stem_stride,
        stem_pool=ours.model.stem_pool,
        flatten=ours.model.head.pooling == "flatten",
    )


def check(
    ours: Ours, mine: float, theirs: float, kernels: dict[str, np.ndarray], layout: str
) -> None:
    """Both must have lost the same and stand at the same weights after one step.

    Raises:
      RuntimeError: they do not: it is not the same network, loss or optimizer.
    """
    params = jax.device_get(ours.state.params)
    before = jax.device_get(ours.variables["params"])
    if not np.isclose(mine, theirs, rtol=1e-4):
        raise RuntimeError(f"{layout}: the first loss is {mine} here and {theirs} in PyTorch")
    for name, value in kernels.items():
        after, start = (functools.reduce(dict.get, name.split("/"), p) for p in (params, before))
        leaf = "kernel" if "kernel" in after else "conv"
        after, start = after[leaf], start[leaf]
        if leaf == "conv":
            after, start = after["kernel"], start["kernel"]
        moved, also = after - start, value - start
        # Rounding grows on the way back through the batch norms: the angle is what tells.
        cosine = np.sum(moved * also) / (np.linalg.norm(moved) * np.linalg.norm(also))
        if cosine < 0.999:
            raise RuntimeError(
                f"{layout}: {name} moves otherwise in PyTorch (cosine {cosine:.4f}); no fair rival"
            )
