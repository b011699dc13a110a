"""Metrics of training steps: fetched late, checked to be finite, and logged."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax

from inres.learning.checkpoints import Checkpoints
from inres.learning.logs import MetricLog


class TrainingError(RuntimeError):
    """Training cannot continue: the loss or the weights are not finite."""


class StepMetrics:
    """Collects the metrics of one training and logs step 1, every epoch's last step and the end.

    Metrics stay on the device until `settle`, so that the device never waits for the host.

    Attributes:
      loss: that of the last settled step; NaN before.
    """

    def __init__(
        self,
        log: MetricLog,
        *,
        name: str,
        start: int,
        steps: int,
        steps_per_epoch: int,
        rate: optax.Schedule | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        """Training begins after `start` of `steps` steps; messages call it `name`.

        Args:
          rate: learning rate by step, to be logged.
          checkpoints: named in errors, as what training can continue from.
        """
        self._log, self._name, self._steps, self._rate = log, name, steps, rate
        self._steps_per_epoch, self._checkpoints = steps_per_epoch, checkpoints
        self._pending: list[tuple[int, Mapping[str, jax.Array], int]] = []
        self._logged = start
        self._began, self._waited = time.perf_counter(), 0.0
        self.loss = float("nan")

    def next_batch(self, source: Iterator[Any]) -> Any:
        """The next batch; the time until it arrives counts as waiting for input."""
        before = time.perf_counter()
        batch = next(source)
        self._waited += time.perf_counter() - before
        return batch

    def add(self, step: int, metrics: Mapping[str, jax.Array], *, images: int) -> None:
        """Take the metrics of a step on `images` images, without fetching them."""
        self._pending.append((step, metrics, images))

    def settle(self, *, leave: int = 0) -> None:
        """Fetch, check and log all metrics except those of the last `leave` steps.

        Raises:
          TrainingError: a loss, or the weights after a step, are not finite.
        """
        while len(self._pending) > leave:
            step, on_device, images = self._pending[0]
            metrics = {k: float(v) for k, v in jax.device_get(on_device).items()}
            finite = bool(metrics.pop("finite"))
            self._check(step, metrics["loss"], finite)
            # Not earlier: after an interruption here, an unchecked step must stay pending.
            self._pending.pop(0)
            if step % self._steps_per_epoch == 0 or step in (1, self._steps):
                self._write(step, metrics, images)

    def exclude(self, seconds: float) -> None:
        """Do not count time spent on something other than training."""
        self._began += seconds

    def _check(self, step: int, loss: float, finite: bool) -> None:
        self.loss = loss
        if np.isfinite(loss) and finite:
            return
        what = f"weights or batch statistics are not finite after step {step} (loss before: {loss})"
        if not np.isfinite(loss):
            what = f"the loss is {loss} at step {step}"
        saved = None if self._checkpoints is None else self._checkpoints.newest()
        kept = "" if saved is None else f" ({saved} holds finite weights)"
        raise TrainingError(f"{self._name}: {what}; lower the learning rate{kept}")

    def _write(self, step: int, metrics: Mapping[str, float], images: int) -> None:
        now = time.perf_counter()
        spent = max(now - self._began, 1e-9)
        row = {
            "kind": "train",
            "step": step,
            "epoch": step / self._steps_per_epoch,
            **metrics,
            "images_per_second": images * (step - self._logged) / spent,
            "input_wait_share": self._waited / spent,
        }
        if self._rate is not None:
            row["learning_rate"] = float(self._rate(step - 1))
        self._log.write(row)
        self._began, self._waited, self._logged = now, 0.0, step
