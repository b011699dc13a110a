"""The training loop; it knows no data set and no network by name."""

from collections.abc import Callable, Iterable

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from inres.learning.best import Best
from inres.learning.checkpoints import Checkpoints
from inres.learning.devices import put_batch
from inres.learning.interrupts import DeferredInterrupt
from inres.learning.logs import MetricLog
from inres.learning.step import TrainStep
from inres.learning.step_metrics import StepMetrics
from inres.learning.train_state import TrainState
from inres.learning.validation import Validation
from inres.system.progress import progress


def fit(
    state: TrainState,
    train_step: TrainStep,
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
    """Train until `state.step == steps`, or until `best` runs out of patience.

    Stopping earlier and calling again gives the same weights. Metrics are fetched one step late and
    batches are put on the device one step early, so that the device never waits for the host: while
    it computes a step, the next batch is already there, or on its way. States are evaluated, saved
    and returned only once they are known to be finite.

    Args:
      state: where to start; `batches` must start at the same step.
      steps: the last step.
      checkpoint_every, evaluate_every: in steps, 0: never. The last step always does both.
      best: is shown every evaluation, including one at `state.step` that was interrupted.
      rate: learning rate by step, for the log.
      name: of the progress bar and in errors.

    Raises:
      TrainingError: a loss, or the weights after a step, are not finite; names the step.
      KeyboardInterrupt: passed on, after the state was saved.
    """
    start = int(state.step)
    metrics = StepMetrics(
        log,
        name=name,
        start=start,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        rate=rate,
        checkpoints=checkpoints,
    )
    validation = Validation(
        evaluate, evaluate_every, steps, steps_per_epoch, best, log=log, metrics=metrics
    )
    source = iter(batches)

    def following() -> dict[str, jax.Array]:
        return put_batch(metrics.next_batch(source), mesh)

    bar = progress(range(start, steps), name=name, total=steps - start, unit="step")
    try:
        with DeferredInterrupt() as interrupt:
            try:
                if validation.missed(start):
                    validation.run(start, state)
                ended = start >= steps or validation.exhausted(start)
                batch = {} if ended else following()
                for i in () if ended else bar:
                    interrupt.check()
                    state, found = train_step(state, batch)
                    done = i + 1
                    metrics.add(done, found, images=len(next(iter(batch.values()))))
                    batch = following() if done < steps else {}
                    metrics.settle(leave=1)
                    if done % max(1, steps_per_epoch // 10) == 0 and np.isfinite(metrics.loss):
                        bar.set_postfix(loss=f"{metrics.loss:.3f}", refresh=False)
                    if validation.due(done):
                        validation.run(done, state)
                    last = done == steps or validation.exhausted(done)
                    if checkpoint_every and (done % checkpoint_every == 0 or last):
                        _save(done, state, checkpoints, metrics)
                    if last:
                        break
                metrics.settle()
                interrupt.check()
            except KeyboardInterrupt:
                if jax.process_count() == 1 and int(state.step) > start:
                    _save(int(state.step), state, checkpoints, metrics)
                raise
    finally:
        bar.close()
        if checkpoints is not None:
            checkpoints.wait()
    return state


def _save(
    step: int, state: TrainState, checkpoints: Checkpoints | None, metrics: StepMetrics
) -> None:
    """Save a state once it is known to be finite."""
    metrics.settle()
    if checkpoints is not None:
        checkpoints.save(step, state)
