"""The jitted training step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from inres.learning import devices
from inres.learning.train_state import TrainState

Batch = dict[str, Any]
LossFn = Callable[
    [Any, Any, Batch, jax.Array, jax.Array], tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]
]
"""(params, batch_stats, batch, key, steps done) -> (loss, (new batch_stats, metrics))."""

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
"""(state, batch) -> (new state, metrics)."""


def make_train_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation, *, key: jax.Array, mesh: Mesh
) -> TrainStep:
    """The jitted step. It donates the state and draws its randomness from `fold_in(key, step)`.

    The metrics are `loss` (before the update), `finite` (bool [], whether weights and batch
    statistics are finite after it) and those of `loss_fn`.

    Losses and batch statistics are those of the global batch: XLA sees one array, split along
    `data`, and inserts the collectives.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        step_key = jax.random.fold_in(key, state.step)
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (stats, metrics)), grads = grad_fn(
            state.params, state.batch_stats, batch, step_key, state.step
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, stats, opt_state)
        # Where these are finite, the momentum of SGD is finite too.
        return new, {"loss": loss, "finite": _all_finite((params, stats)), **metrics}

    whole, split = devices.replicated(mesh), devices.split(mesh)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(whole, split),
        out_shardings=(whole, whole),
        compiler_options=_compiler_options(mesh),
    )


def _all_finite(tree: Any) -> jax.Array:
    """bool []: whether no array of a tree has a NaN or an infinity."""
    return jax.tree.reduce(lambda so_far, x: so_far & jnp.isfinite(x).all(), tree, jnp.array(True))


def _compiler_options(mesh: Mesh) -> dict[str, bool] | None:
    """On CPUs, XLA's older loop emitters: a step on 64 images takes 0.87 of the time."""
    if mesh.devices.flat[0].platform != "cpu":
        return None
    options = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:  # a version of XLA without this option
        return None
    return options
