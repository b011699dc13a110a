"""The networks of a run: the trained network and the U-Net, from a workdir or an exported run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from inres import sources
from inres.config import Config
from inres.encoding import encoder
from inres.encoding.in_batches import Encoders, Segmenter
from inres.encoding.segmenter import make_segmenter
from inres.encoding.variables import by_path, nested
from inres.learning import recipe, sight
from inres.learning.checkpoints import RESUME, Checkpoints
from inres.learning.devices import local_mesh
from inres.learning.train_state import TrainState, init_state, initial_variables, restore
from inres.pipeline import artifacts, stages
from inres.system import files

Network = tuple[nn.Module, dict[str, Any]]
"""A module and its trained variables."""


def fresh_state(
    config: Config,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    channels: int,
    mesh: Mesh,
) -> TrainState:
    """The train state before the first step."""
    size = config.items.input_px
    image = jnp.zeros((1, size, size, channels))
    planes, seen = sight.split(image, config.model.planes)
    shown = sight.flatten(planes, seen)
    variables = initial_variables(model, jax.random.key(config.seed), shown, seen)
    return init_state(variables, optimizer, mesh=mesh)


def load_network(config: Config, train: Path, *, classes: int, channels: int) -> Network:
    """The trained network and its variables, from the directory of the stage `train`.

    The variables are on one device of this process, which needs no other to read them.

    Args:
      channels: of the network's inputs.
    """
    scale = artifacts.load_property_scale(train)
    model = recipe.build_model(config, classes=classes, properties=len(scale))
    optimizer, _ = recipe.optimizer(config, steps=1, steps_per_epoch=1)
    mesh = local_mesh()

    def fresh() -> TrainState:
        return fresh_state(config, model, optimizer, channels=channels, mesh=mesh)

    best = config.train.keep == "best"  # the only one of its kind: nothing to resume from
    checkpoints = Checkpoints(train / ("best" if best else "checkpoints"), alone=True)
    remedy = artifacts.TRAIN_AGAIN if best else _resume(train)
    state = restore(fresh, checkpoints, mesh=mesh, remedy=remedy)
    checkpoints.close()
    return model, state.variables


def encoders(
    config: Config, model: nn.Module, variables: dict[str, Any], *, channels: int
) -> Encoders:
    """The encoders of the network of `config`, whose inputs have so many channels."""
    return Encoders(
        encoder.make_encoder(model, variables, planes=config.model.planes),
        encoder.make_unseen_encoder(config, model, variables, channels=channels),
    )


def load_segmenter(config: Config, workdir: Path) -> Segmenter | None:
    """The trained U-Net as a segmenter; None where the archive's lungs are not from a U-Net.

    Cubes from scans have the lungs of the repaired mask.
    """
    of_scans = config.items.view == "cube" and not sources.get(config.data.kind).ready_made
    if of_scans or not (workdir / "segment" / artifacts.MASKS).is_file():
        return None
    return unet_segmenter(config, unet_variables(workdir / "segment"))


def unet_variables(folder: Path) -> dict[str, Any]:
    """The variables of the trained U-Net, from the directory of the stage `segment`.

    Raises:
      FileNotFoundError: there are none.
      ValueError: they are damaged; names the folder.
    """
    return Checkpoints.read_variables(folder / "checkpoints", remedy=_resume(folder))


def _resume(folder: Path) -> str:
    """How a stage that trains, complete or not, resumes before a damaged checkpoint."""
    done = folder / stages.DONE
    if not done.is_file():
        return RESUME
    return f"{RESUME} (remove {done} too, and run the {folder.name} stage again)"


def unet_segmenter(config: Config, variables: dict[str, Any]) -> Segmenter:
    """The U-Net of `config` with trained `variables` as a segmenter."""
    return make_segmenter(
        recipe.build_unet(config.segment, precision=config.train.precision),
        variables,
        size=config.segment.size_px,
        spacing_mm=artifacts.slice_spacing_mm(config),
    )


def write_variables(path: Path, variables: Mapping[str, Any]) -> None:
    """Write the variables of a network as `.npz`, by their paths."""
    flat = {name: np.asarray(value) for name, value in by_path(variables).items()}
    with files.atomic_path(path) as part:
        np.savez(part, **flat)  # type: ignore[arg-type]


def read_variables(path: Path, remedy: str) -> dict[str, Any]:
    """The variables that `write_variables` wrote.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
    """
    return nested(files.load_arrays(path, remedy=remedy))


def read_network(
    path: Path, config: Config, *, classes: int, properties: int, remedy: str
) -> Network:
    """The trained network of `config` with the variables in a file of `write_variables`.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
    """
    model = recipe.build_model(config, classes=classes, properties=properties)
    return model, read_variables(path, remedy)
