"""Everything that a training step changes, and where it starts from."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from inres.learning.checkpoints import RESUME, Checkpoints
from inres.learning.devices import replicated
from inres.system import together


@flax.struct.dataclass
class TrainState:
    """State of a training; a checkpoint holds exactly this."""

    step: jax.Array
    """int32 [], number of steps done."""
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What a Linen module is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def initial_variables(
    model: nn.Module, key: jax.Array, image: ArrayLike, *more: Any
) -> dict[str, Any]:
    """Return the variables of `model` before training, for calls like those with `image` [1, ...].

    The program runs once, so it is compiled with few optimizations. This takes a third of the
    time of a full compilation and gives the same values bit for bit.

    Args:
      more: further arguments of the call.
    """
    init = jax.jit(model.init, compiler_options={"xla_backend_optimization_level": 1})
    return dict(init(key, image, *more))


def init_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, *, mesh: Mesh
) -> TrainState:
    """The state before the first step, on every device of `mesh`."""
    params = variables["params"]
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
    )
    return jax.device_put(state, replicated(mesh))


def begin(fresh: Callable[[], TrainState], checkpoints: Checkpoints, *, mesh: Mesh) -> TrainState:
    """The newest checkpoint or, if there is none, the state that `fresh` makes."""
    if together.agreed(checkpoints.latest()) is None:
        return fresh()
    return restore(fresh, checkpoints, mesh=mesh)


def restore(
    fresh: Callable[[], TrainState], checkpoints: Checkpoints, *, mesh: Mesh, remedy: str = RESUME
) -> TrainState:
    """The newest checkpoint, which must have the shapes and dtypes of the state `fresh` makes.

    `fresh` is traced but not run, because the program that initialises weights takes long to
    compile.

    Args:
      remedy: as of `Checkpoints.restore`.

    Raises:
      ValueError, FileNotFoundError: as `Checkpoints.restore`.
    """
    everywhere = replicated(mesh)
    with jax.disable_jit():  # a traced program may not hold one with options for the compiler
        shapes = jax.eval_shape(fresh)
    return checkpoints.restore(
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes
        ),
        remedy=remedy,
    )
