"""SGD with weight decay, clipping and a schedule."""

from typing import Any

import jax
import optax


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
    """SGD and its learning rate by step.

    Args:
      learning_rate: the highest.
      steps: length of the training.
      schedule: `constant`, or `cosine` to zero after a linear warm-up of `warmup_steps`.
      weight_decay: acts on kernels, not on biases and norms.
      clip_norm: longer gradients of the loss (L2 norm over all parameters) are scaled down to this
        (Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", Algorithm
        1); 0: no clipping.
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
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    decay = optax.add_decayed_weights(weight_decay, mask=_kernels)
    return optax.chain(clip, decay, optax.sgd(rate, momentum or None, nesterov)), rate


def _kernels(params: Any) -> Any:
    """True for every parameter with two or more axes."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
