"""Train state, the jitted SGD step and the fit loop; knows no dataset and no model by name."""

import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from inres.learning.best import Best
from inres.learning.checkpoints import Checkpoints
from inres.learning.logs import MetricLog
from inres.system.progress import progress

Batch = dict[str, Any]
LossFn = Callable[
    [Any, Any, Batch, jax.Array, jax.Array], tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]
]
"""(params, batch_stats, batch, key, steps done) -> (loss, (new batch_stats, metrics))."""


class TrainingError(RuntimeError):
    """Training cannot go on: the loss or the weights are not finite."""


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes; a checkpoint holds exactly this."""

    step: jax.Array
    """int32 [], steps done."""
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any
    """Running averages of `params` and `batch_stats`, which belong together, as a module's
    variables; an empty dict where none is kept."""

    @property
    def variables(self) -> dict[str, Any]:
        """What a Linen module is applied with: the averages where they are kept."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


def data_mesh(devices: int = 0) -> Mesh:
    """A one-axis mesh `data` over the first `devices` devices; 0 means all."""
    count = devices or jax.device_count()
    return jax.make_mesh(
        (count,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:count]
    )


def require_divisible(batch: int, mesh: Mesh, field: str) -> None:
    """Check that the devices can share a batch.

    Raises:
      ValueError: they cannot; names the `field` of the batch.
    """
    if batch % mesh.size:
        raise ValueError(f"{field} = {batch}: must be divisible by {mesh.size} devices")


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """Spread this process's part of a batch over the mesh, split along the first axis."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def sgd(
    *,
    learning_rate: float,
    steps: int,
    warmup_steps: int = 0,
    schedule: str = "cosine",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """SGD and its schedule: `constant`, or `cosine` to zero after a linear warm-up.

    Weight decay acts on kernels alone, not on biases and norms. A loss's gradient longer than
    `clip_norm` (L2, over all parameters; 0: none is) is scaled down to it (Pascanu et al. 2013,
    "On the difficulty of training recurrent neural networks", Algorithm 1).
    """
    if schedule == "constant":
        rate: optax.Schedule = optax.constant_schedule(learning_rate)
    elif schedule == "cosine":
        warmup = min(warmup_steps, steps - 1)
        rate = optax.warmup_cosine_decay_schedule(
            learning_rate / max(warmup, 1), learning_rate, warmup, max(steps, 1)
        )
    else:
        raise ValueError(f"schedule is {schedule!r}: must be 'cosine' or 'constant'")
    decay = optax.add_decayed_weights(
        weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    )
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    return optax.chain(clip, decay, optax.sgd(rate, momentum or None, nesterov)), rate


def init_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, *, ema: bool, mesh: Mesh
) -> TrainState:
    """The state before the first step, on every device of `mesh`."""
    params = variables["params"]
    batch_stats = variables.get("batch_stats", {})
    kept = {"params": params, "batch_stats": batch_stats}
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, kept) if ema else {},
    )
    return jax.device_put(state, replicated(mesh))


def begin(fresh: Callable[[], TrainState], checkpoints: Checkpoints, *, mesh: Mesh) -> TrainState:
    """Where training goes on: the newest checkpoint or, without one, what `fresh` makes."""
    return fresh() if checkpoints.latest() is None else restore(fresh, checkpoints, mesh=mesh)


def restore(fresh: Callable[[], TrainState], checkpoints: Checkpoints, *, mesh: Mesh) -> TrainState:
    """The newest checkpoint, if it has the shapes and dtypes of what `fresh` makes.

    `fresh` is traced, not run: the program that draws weights takes long to compile.

    Raises:
      ValueError, FileNotFoundError: as `Checkpoints.restore`.
    """
    everywhere = replicated(mesh)
    return checkpoints.restore(
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere),
            jax.eval_shape(fresh),
        )
    )


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    *,
    key: jax.Array,
    mesh: Mesh,
    ema: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step; its state is donated, its randomness `fold_in(key, step)`.

    Gives the new state and metrics: `loss`, before the update; `finite`, bool [], whether weights
    and batch statistics are so after it; and those of `loss_fn`.

    Batch statistics and losses are over the global batch: XLA sees one array, sharded along
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
        average = state.average
        if ema:
            # The average must forget the initial weights early on, so its decay warms up.
            decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
            average = optax.incremental_update(
                {"params": params, "batch_stats": stats}, average, 1.0 - decay
            )
        new = TrainState(state.step + 1, params, stats, opt_state, average)
        # Where these are finite, so are SGD's momentum and the averages.
        finite = _all_finite((params, stats))
        return new, {"loss": loss, "finite": finite, **metrics}

    whole = replicated(mesh)
    split = NamedSharding(mesh, PartitionSpec("data"))
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(whole, split),
        out_shardings=(whole, whole),
        compiler_options=_compiler_options(mesh),
    )


def _all_finite(tree: Any) -> jax.Array:
    """bool []: whether a tree of arrays has neither NaN nor infinity."""
    return jax.tree.reduce(lambda so_far, x: so_far & jnp.isfinite(x).all(), tree, jnp.array(True))


def _compiler_options(mesh: Mesh) -> dict[str, bool] | None:
    """On CPU, XLA's older loops: a step of 64 images takes 0.87 of the time."""
    if mesh.devices.flat[0].platform != "cpu":
        return None
    options = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:  # an XLA that no longer knows the option
        return None
    return options


def _defer_interrupt() -> tuple[list[bool], Callable[[], None]]:
    """Let Ctrl-C wait for the end of a step: (a list, not empty once asked; how to undo it).

    A step donates its state; broken off inside, there would be none left to save. A second
    Ctrl-C does not wait.
    """
    asked: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        return asked, lambda: None
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)

    def release() -> None:
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    return asked, release


def fit(
    state: TrainState,
    train_step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]],
    batches: Iterable[dict[str, np.ndarray]],
    *,
    steps: int,
    steps_per_epoch: int,
    mesh: Mesh,
    log: MetricLog,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 0,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
    evaluate_every: int = 0,
    best: Best | None = None,
    rate: optax.Schedule | None = None,
    name: str = "train",
) -> TrainState:
    """Train until `state.step == steps`, or until `best` has waited long enough.

    Args:
      state: where to start; `batches` must start at the same step.
      steps: the last step. Stopping earlier and calling again gives the same weights.
      checkpoint_every, evaluate_every: in steps; 0 never. The last step always does both.
      best: is shown every evaluation, also one at `state.step` that was broken off.

    Metrics are fetched one step late, so that the device never waits for the host. What is
    evaluated, saved or returned is known to be finite.

    Raises:
      TrainingError: a loss, or the weights after a step, are not finite; names the step.
      KeyboardInterrupt: passed on, after the state was saved.
    """
    start = int(state.step)
    bar = progress(range(start, steps), name=name, total=steps - start, unit="step")
    pending: list[tuple[int, dict[str, jax.Array], int]] = []
    source = iter(batches)
    began = time.perf_counter()
    waited = 0.0
    window = start
    loss = float("nan")

    def settle(leave: int = 0) -> None:
        """Fetch the metrics of all steps but the last `leave` and look at them."""
        while len(pending) > leave:
            done, device_metrics, images = pending[0]
            metrics = {k: float(v) for k, v in jax.device_get(device_metrics).items()}
            check(done, metrics["loss"], bool(metrics.pop("finite")))
            pending.pop(0)  # not before: broken off here, the step must not pass for checked
            record(done, metrics, images)

    def check(done: int, value: float, finite: bool) -> None:
        nonlocal loss
        loss = value
        if np.isfinite(loss) and finite:
            return
        what = f"weights or batch statistics are not finite after step {done} (loss before: {loss})"
        if not np.isfinite(loss):
            what = f"the loss is {loss} at step {done}"
        saved = None if checkpoints is None else checkpoints.newest()
        kept = "" if saved is None else f" ({saved} holds finite weights)"
        raise TrainingError(f"{name}: {what}; lower the learning rate{kept}")

    def record(done: int, metrics: dict[str, float], images: int) -> None:
        nonlocal began, waited, window
        if done % steps_per_epoch == 0 or done == steps or done == 1:
            now = time.perf_counter()
            spent = max(now - began, 1e-9)
            row = {
                "kind": "train",
                "step": done,
                "epoch": done / steps_per_epoch,
                **metrics,
                "images_per_second": images * (done - window) / spent,
                "input_wait_share": waited / spent,
            }
            if rate is not None:
                row["learning_rate"] = float(rate(done - 1))
            log.write(row)
            began, waited, window = now, 0.0, done

    def due(done: int) -> bool:
        """Whether there is an evaluation after step `done`."""
        if evaluate is None or not evaluate_every:
            return False
        return done % evaluate_every == 0 or done == steps

    def look(done: int) -> None:
        nonlocal began
        assert evaluate is not None
        settle()
        before = time.perf_counter()
        scores = evaluate(state)
        if best is not None:
            best.look(done, scores, state)
        log.write({"kind": "val", "step": done, "epoch": done / steps_per_epoch, **scores})
        began += time.perf_counter() - before

    def exhausted(done: int) -> bool:
        # Asked at evaluations alone, so that where training was interrupted makes no difference.
        return best is not None and due(done) and best.exhausted(done)

    def save(done: int) -> None:
        settle()
        if checkpoints is not None:
            checkpoints.save(done, state)

    asked, release = _defer_interrupt()
    try:
        if best is not None and due(start) and best.looked < start:
            look(start)
        for i in () if exhausted(start) else bar:
            if asked:
                raise KeyboardInterrupt
            before = time.perf_counter()
            local = next(source)
            waited += time.perf_counter() - before
            batch = put_batch(local, mesh)
            state, metrics = train_step(state, batch)
            done = i + 1
            images = len(next(iter(local.values()))) * jax.process_count()
            pending.append((done, metrics, images))
            settle(leave=1)
            if done % max(1, steps_per_epoch // 10) == 0 and np.isfinite(loss):
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if due(done):
                look(done)
            last = done == steps or exhausted(done)
            if checkpoint_every and (done % checkpoint_every == 0 or last):
                save(done)
            if last:
                break
        settle()
        if asked:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        if jax.process_count() == 1 and int(state.step) > start:
            save(int(state.step))
        raise
    finally:
        release()
        bar.close()
        if checkpoints is not None:
            checkpoints.wait()
    return state
