"""A trace of some training steps, for TensorBoard and Perfetto."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from inres.learning.step import Batch, TrainStep
from inres.learning.train_state import TrainState

SKIP, COUNT = 10, 10
"""Steps before the trace, in which programs are compiled and buffers filled; steps in the trace."""


@contextlib.contextmanager
def profiled(
    train_step: TrainStep, folder: Path | None, *, start: int, steps: int
) -> Iterator[TrainStep]:
    """A training step of which COUNT calls are traced, after the first SKIP.

    `<folder>/plugins/profile/<time>` then has `*.xplane.pb`, which TensorBoard's profile plugin
    reads, and `perfetto_trace.json.gz` for ui.perfetto.dev. Every traced step is an event `train`
    with its number, from 0, as `step_num`. The trace also has what the host does between the steps,
    and ends when the device has finished the last one.

    Args:
      train_step: the step to trace.
      folder: where to write; None: no trace.
      start, steps: the first step and the end of the training. If there are less than SKIP + COUNT
        steps between them, the last COUNT are traced.
    """
    if folder is None:
        yield train_step
        return
    if jax.process_count() > 1:
        folder = folder / f"process{jax.process_index()}"
    first = start + max(0, min(SKIP, steps - start - COUNT))
    last = min(first + COUNT, steps) - 1
    current, running = start - 1, False

    def traced(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        nonlocal current, running
        current += 1
        if current == first:
            _start(folder)
            running = True
        if not running:
            return train_step(state, batch)
        with jax.profiler.StepTraceAnnotation("train", step_num=current):
            done = train_step(state, batch)
        if current == last:
            jax.block_until_ready(done)
            running = False
            jax.profiler.stop_trace()
        return done

    try:
        yield traced
    finally:
        if running:  # the training stopped early
            jax.profiler.stop_trace()


def _start(folder: Path) -> None:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # every call in Python would be an event, and slow the host
    jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
