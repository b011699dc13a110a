"""The loss of the hash codes that a config selects, and the target codes that it needs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from inres.config import Config
from inres.learning import losses
from inres.models.head import Outputs

CodeLossFn = Callable[[Outputs, Mapping[str, Any], Mapping[str, jax.Array], jax.Array], jax.Array]
"""(outputs, parameters of the head, batch, progress in [0, 1)) -> a scalar."""


def code_loss(config: Config, *, classes: int) -> CodeLossFn | None:
    """The loss of the codes, `config.loss.name`; None where it adds nothing to the NLL of FC3.

    Raises:
      ConfigError: there are not enough codes of `config.hash.bits` bits for so many classes.
    """
    loss, task = losses.get(config.loss.name), _task(config, classes)
    function = loss.function
    if function is None or classes < loss.least_classes:
        return None
    settings = _settings(config)
    class_codes = task.class_codes() if loss.class_codes else None

    def cost(
        outputs: Outputs,
        head: Mapping[str, Any],
        batch: Mapping[str, jax.Array],
        progress: jax.Array,
    ) -> jax.Array:
        step = losses.Step(
            outputs=outputs,
            head=head,
            labels=batch["label"],
            codes=batch.get("code"),
            class_codes=class_codes,
            progress=progress,
            task=task,
        )
        return function(step, settings)

    return cost


def target_codes(config: Config, truth: losses.Truth, *, classes: int) -> np.ndarray | None:
    """The code that each training item should get, float32 [N, bits]; None if the loss has none.

    Args:
      truth: of the N training items; labels are below `classes`.

    Raises:
      ConfigError: there are not enough codes of `config.hash.bits` bits for so many classes.
    """
    loss = losses.get(config.loss.name)
    if loss.targets is None or classes < loss.least_classes:
        return None
    return loss.targets(_task(config, classes), _settings(config), truth)


def _task(config: Config, classes: int) -> losses.Task:
    return losses.Task(classes=classes, bits=config.hash.bits, seed=config.seed)


def _settings(config: Config) -> Any:
    """Settings of the selected loss; None if it has none."""
    return getattr(config.loss.settings, config.loss.name, None)
