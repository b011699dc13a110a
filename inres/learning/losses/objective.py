"""From `config.loss` to the loss of the codes, a function of what the network returns."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inres.config import Config, ConfigError
from inres.learning import codebooks
from inres.learning.losses import hash_losses, terms
from inres.models.head import Outputs

CodeLoss = Callable[[Outputs, Mapping[str, Any], Mapping[str, jax.Array], jax.Array], jax.Array]
"""(outputs, parameters of the head, batch, progress in [0, 1)) -> a scalar."""


def code_loss(config: Config, *, classes: int, offset: jax.Array | float = 0.0) -> CodeLoss | None:
    """The loss that `config.loss.name` adds to FC3's NLL; None where that is all: `nll`, and
    `ordinal` where no classes are ordered.

    Args:
      classes: how many there are.
      offset: [classes], what is added to FC3's logits while training.

    Raises:
      ConfigError: `config.hash.bits` cannot tell `classes` classes apart.
    """
    c, bits = config.loss, config.hash.bits

    def paper(outputs, head, batch, progress):
        return (
            c.paper_quantization * terms.quantization(outputs.h)
            + c.paper_balance * terms.balance(outputs.h)
            + c.paper_independence * terms.independence(head["fc2"]["kernel"])
        )

    def dpsh(outputs, head, batch, progress):
        return hash_losses.dpsh(outputs.u, batch["label"], quantization=c.dpsh_quantization)

    def dtsh(outputs, head, batch, progress):
        return hash_losses.dtsh(
            outputs.u,
            batch["label"],
            margin=c.dtsh_margin * bits,
            quantization=c.dtsh_quantization,
        )

    def hashnet(outputs, head, batch, progress):
        beta = hash_losses.hashnet_beta(progress, last=c.hashnet_beta)
        return hash_losses.hashnet(outputs.u, batch["label"], beta=beta, alpha=c.hashnet_alpha)

    def greedyhash(outputs, head, batch, progress):
        # FC3 classifies the code itself here, as it classifies H in the network.
        code = hash_losses.straight_through_bits(outputs.u)
        logits = code @ head["fc3"]["kernel"] + head["fc3"]["bias"]
        return hash_losses.greedyhash(
            outputs.u, logits + offset, batch["label"], penalty=c.greedyhash_penalty
        )

    def csq(outputs, head, batch, progress):
        return hash_losses.csq(outputs.u, batch["code"], quantization=c.csq_quantization)

    def orthohash(outputs, head, batch, progress):
        return hash_losses.orthohash(
            outputs.u,
            signs,
            batch["label"],
            scale=c.orthohash_scale,
            margin=c.orthohash_margin,
        )

    def ordinal(outputs, head, batch, progress):
        return hash_losses.to_code(outputs.u, batch["code"])

    if c.name == "ordinal" and not _ordered(classes):
        return None
    if c.name == "orthohash":
        signs = jnp.where(_centres(config, classes), 1.0, -1.0)
    return {
        "nll": None,
        "paper": paper,
        "dpsh": dpsh,
        "dtsh": dtsh,
        "hashnet": hashnet,
        "greedyhash": greedyhash,
        "csq": csq,
        "orthohash": orthohash,
        "ordinal": ordinal,
    }[c.name]


def target_codes(
    config: Config, labels: np.ndarray, diameters_mm: np.ndarray, *, classes: int
) -> np.ndarray | None:
    """Where the loss has one, the code each training item is to get: float32 [N, bits].

    Args:
      labels: int [N], of the training items.
      diameters_mm: float [N], NaN where unknown.
      classes: how many there are; labels are below.

    Raises:
      ConfigError: `config.hash.bits` cannot tell them apart.
    """
    if config.loss.name == "csq":
        return _centres(config, classes)[labels].astype(np.float32)
    if config.loss.name == "ordinal" and _ordered(classes):
        by_diameter = config.loss.ordinal_diameter
        position = codebooks.sizes(labels, diameters_mm, by_diameter=by_diameter)
        return codebooks.ordinal(position, config.hash.bits)
    return None


def _ordered(classes: int) -> bool:
    """Whether there are sizes to put in order: class 0 is no nodule."""
    return classes > 2


def _centres(config: Config, classes: int) -> np.ndarray:
    try:
        return codebooks.centres(classes, config.hash.bits, seed=config.seed)
    except ValueError as error:
        raise ConfigError(f"config.loss.name = {config.loss.name!r}: {error}") from None
