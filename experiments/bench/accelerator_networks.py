"""Training steps, encoding and segmentation for the accelerator benchmark."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import compiled, training
from experiments.bench.accelerator_case import Case, Rival
from inres import config as config_lib
from inres.config import Config, ConfigError
from inres.learning import recipe
from inres.learning.sight import to_input
from inres.learning.train_state import initial_variables

CHECKED_STEPS = 3


def random_batch(config: Config, *, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, uint8 [B, S, S, C], and labels, int32 [B], of an experiment's shapes."""
    rng = np.random.default_rng(seed)
    side = config.items.input_px
    channels = 2 * side if config.items.view == "cube" else 1
    shape = config.train.batch, side, side, channels
    return rng.integers(0, 256, shape, np.uint8), rng.integers(0, classes, shape[0], np.int32)


def with_precision(config: Config, precision: str) -> Config:
    """A copy of an experiment that computes in a precision (`train.precision`)."""
    config = config_lib.checked(config)
    config.train.precision = precision
    return config_lib.checked(config)


def training_cases(config: ConfigDict, messages: list[str]) -> Iterator[Case]:
    """A step of every network in every precision; the first also in PyTorch.

    Appends to `messages` what is left out, and why.
    """
    for name, given in config.networks.items():
        for precision in config.precisions:
            experiment = with_precision(training.bare(given), precision)
            images, labels = random_batch(experiment, classes=config.classes, seed=config.seed)
            ours = training.Ours(
                experiment, images, labels, classes=config.classes, steps=1000, warm=False
            )
            step, cost = compiled.compiled(ours.trace)

            def queue(ours: training.Ours = ours, step: Any = step) -> Any:
                ours.state, metrics = step(ours.state, ours.on_device)
                return metrics

            losses = [float(queue()["loss"]) for _ in range(CHECKED_STEPS)]
            if not np.isfinite(losses).all():
                raise RuntimeError(f"{name}, {precision}: losses of the first steps are {losses}")
            rivals: dict[str, Rival] = {}
            if precision == "float32":
                rivals = _in_pytorch(name, config, ours, losses, messages)
            yield Case(
                part="training step",
                name=name,
                amount=len(images),
                ours=Rival(queue, compile_s=cost.compile_s, dtype=precision),
                cost=cost,
                rivals=rivals,
                checked="losses of PyTorch" if rivals else "losses are finite",
            )


def _in_pytorch(
    name: str, config: ConfigDict, ours: training.Ours, losses: list[float], messages: list[str]
) -> dict[str, Rival]:
    """The step in PyTorch, in every variant that works on this device and learns the same."""
    if not config.pytorch:
        return {}
    try:
        peer = training.import_peer()
        peer.check(ours.config)
    except (RuntimeError, ConfigError) as error:
        messages.append(f"{name} in PyTorch: {error}")
        return {}
    device, wait = "cpu", _nothing
    if jax.default_backend() == "gpu":
        if not peer.use_gpu():
            messages.append(f"{name} in PyTorch: it sees no GPU")
            return {}
        device, wait = "cuda", peer.wait_for_gpu
    made = {}
    for variant in peer.variants(device, compiled=config.compiled):
        trainer = peer.Trainer(
            ours.config,
            training.flat(ours.variables["params"]),
            ours.batch["image"],
            ours.batch["label"],
            classes=config.classes,
            variant=variant,
            device=device,
        )
        try:
            first = training.timing.seconds_of(trainer.snapshot)
            theirs = [trainer.step() for _ in range(CHECKED_STEPS)]
        except RuntimeError as error:  # of PyTorch or its compiler
            messages.append(f"{name} in {variant}: {str(error).splitlines()[0]}")
            continue
        if not np.allclose(losses, theirs, rtol=0.1 if variant.bfloat16 else 0.02):
            messages.append(f"{name} in {variant}: its losses {theirs} are not ours, {losses}")
            continue
        dtype = "bfloat16" if variant.bfloat16 else "float32"
        seconds = first if variant.compiled else None
        made[str(variant)] = Rival(trainer.queue, wait, seconds, dtype)
    return made


def _nothing(value: Any) -> Any:
    return value


def encoding_cases(config: ConfigDict) -> Iterator[Case]:
    """All layers of a batch of images, for the first network."""
    name, given = next(iter(config.networks.items()))
    for precision in config.precisions:
        experiment = with_precision(given, precision)
        images, _ = random_batch(experiment, classes=config.classes, seed=config.seed)
        model = recipe.build_model(experiment, classes=config.classes)
        variables = initial_variables(model, jax.random.key(0), to_input(jnp.asarray(images[:1])))

        def apply(variables: Any, images: jax.Array, model: Any = model) -> Any:
            outputs = model.apply(variables, to_input(images), train=False)
            return outputs.fc1, outputs.h, outputs.fc3

        yield _forward("encoding", name, apply, variables, images, precision)


def segmentation_cases(config: ConfigDict) -> Iterator[Case]:
    """Lung masks of a batch of slices."""
    _, given = next(iter(config.networks.items()))
    for precision in config.precisions:
        experiment = with_precision(given, precision)
        segment = experiment.segment
        rng = np.random.default_rng(config.seed)
        shape = segment.batch, segment.size_px, segment.size_px, 1
        images = rng.integers(0, 256, shape, np.uint8)
        model = recipe.build_unet(segment, precision=precision)
        variables = initial_variables(model, jax.random.key(0), to_input(jnp.asarray(images[:1])))

        def apply(variables: Any, images: jax.Array, model: Any = model) -> jax.Array:
            return model.apply(variables, to_input(images), train=False) > 0

        yield _forward("U-Net", f"width {segment.width}", apply, variables, images, precision)


def _forward(
    part: str, name: str, apply: Any, variables: Mapping, images: np.ndarray, precision: str
) -> Case:
    arguments = jax.device_put((variables, images))
    program, cost = compiled.compiled(lambda: jax.jit(apply).trace(*arguments))
    return Case(
        part=part,
        name=name,
        amount=len(images),
        ours=Rival(lambda: program(*arguments), compile_s=cost.compile_s, dtype=precision),
        cost=cost,
    )
