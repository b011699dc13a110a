"""Evaluations during training, and early stopping by them."""

import dataclasses
import time
from collections.abc import Callable

from inres.learning.best import Best
from inres.learning.logs import MetricLog
from inres.learning.step_metrics import StepMetrics
from inres.learning.train_state import TrainState


@dataclasses.dataclass(frozen=True)
class Validation:
    """When to evaluate, and what to do with the scores."""

    evaluate: Callable[[TrainState], dict[str, float]] | None
    every: int
    """Steps between evaluations, 0 for none; the last step is always evaluated."""
    steps: int
    """Last step of the training."""
    steps_per_epoch: int
    best: Best | None
    log: MetricLog
    metrics: StepMetrics

    def due(self, step: int) -> bool:
        """Whether to evaluate after `step`."""
        if self.evaluate is None or not self.every:
            return False
        return step % self.every == 0 or step == self.steps

    def missed(self, step: int) -> bool:
        """Whether the evaluation after `step` was interrupted before `best` recorded it."""
        return self.best is not None and self.due(step) and self.best.evaluated < step

    def exhausted(self, step: int) -> bool:
        """Whether training should stop after `step`, since the best score is too long ago.

        Decided only at evaluations, so that it does not depend on where training was interrupted.
        """
        return self.best is not None and self.due(step) and self.best.exhausted(step)

    def run(self, step: int, state: TrainState) -> None:
        """Evaluate a state that is known to be finite, show it to `best` and log the scores.

        Raises:
          TrainingError: the state is not finite.
        """
        assert self.evaluate is not None
        self.metrics.settle()
        before = time.perf_counter()
        scores = self.evaluate(state)
        if self.best is not None:
            self.best.update(step, scores, state)
        epoch = step / self.steps_per_epoch
        self.log.write({"kind": "val", "step": step, "epoch": epoch, **scores})
        self.metrics.exclude(time.perf_counter() - before)
