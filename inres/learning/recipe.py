"""From a config to the pieces of a training run: model, loss, optimizer, schedule."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from inres.config import Config, Segment
from inres.data.augment import augment, drop_neighbours
from inres.learning import loop
from inres.learning.losses import objective, terms
from inres.models.alexnet import AlexNet
from inres.models.blocks import he_normal
from inres.models.head import HashHead
from inres.models.inres_net import InResNet
from inres.models.unet import UNet

GAUSSIAN_STD = 0.01
"""Standard deviation of the paper's initial weights (section 3.4)."""


def random_projection(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32):
    """Unit Gaussian directions, one a bit, as in LSH (paper, section 3.4; Charikar 2002)."""
    kernel = jax.random.normal(key, shape, dtype)
    return kernel / jnp.linalg.norm(kernel, axis=0, keepdims=True)


def build_model(config: Config, *, classes: int) -> InResNet | AlexNet:
    """The network that `config.model` names, with `config.hash.bits` latent units."""
    m = config.model
    if config.train.init == "gaussian":
        kernel: Any = nn.initializers.normal(GAUSSIAN_STD)
        inits = {"hash_init": random_projection, "logit_init": kernel}
    else:
        kernel, inits = he_normal, {}
    head = HashHead(
        classes,
        config.hash.bits,
        m.fc1,
        m.pooling,
        m.dropout,
        config.hash.batch_norm or config.loss.name == "orthohash",
        kernel_init=kernel,
        **inits,
    )
    if m.name == "alexnet":
        return AlexNet(head, m.norm, kernel)
    return InResNet(
        head,
        stem=m.stem,
        stem_kernel=m.stem_kernel,
        stem_stride=m.stem_stride,
        stem_pool=m.stem_pool,
        compression=m.compression,
        residual=m.residual,
        residual_scale=m.residual_scale,
        norm=m.norm,
        kernel_init=kernel,
    )


def to_input(images: jax.Array) -> jax.Array:
    """uint8 -> float32 in [0, 1], same shape; the window's floor stays 0."""
    return images.astype(jnp.float32) / 255.0


def hash_loss(
    model: InResNet | AlexNet, config: Config, *, steps: int, shares: np.ndarray
) -> loop.LossFn:
    """What `config.loss` names, over `steps` steps: NLL through the latent layer, and its codes'.

    Batches hold `image` (uint8 [B, S, S, C]), `label`, where `loss.fine` is set `diameter_mm` and
    `item` (int, whose draw it is), `augment` and, for losses to target codes, `code`
    (`objective.target_codes`).

    Args:
      shares: float [classes], of each class among the draws (`batches.class_shares`).

    Raises:
      ConfigError: so few bits cannot be had with this loss.
    """
    weights = config.loss
    offset = weights.logit_adjustment * jnp.log(jnp.asarray(shares, jnp.float32))
    of_codes = objective.code_loss(config, classes=model.head.classes, offset=offset)

    def loss_fn(params, batch_stats, batch, key, step):
        augment_key, dropout_key = jax.random.split(key)
        images = to_input(batch["image"])
        if images.shape[-1] > 1 and config.train.neighbour_dropout:
            augment_key, drop_key = jax.random.split(augment_key)
            images = drop_neighbours(drop_key, images, config.train.neighbour_dropout)
        changed = augment(augment_key, images, config.train)
        images = jnp.where(batch["augment"][:, None, None, None], changed, images)
        outputs, new = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        nll = terms.nll(
            outputs.fc3 + offset,
            batch["label"],
            label_smoothing=weights.label_smoothing,
            neighbour_smoothing=weights.neighbour_smoothing,
        )
        loss = weights.classification * nll
        metrics = {
            "nll": nll,
            "accuracy": jnp.mean(outputs.fc3.argmax(-1) == batch["label"]),
            "bit_margin": jnp.mean(jnp.abs(outputs.h - 0.5)) * 2.0,
        }
        if weights.fine:
            akin = terms.kinship(
                batch["label"],
                batch["diameter_mm"],
                spread=weights.fine_spread,
                across=weights.fine_across,
            )
            near = terms.neighbourhood(outputs.fc1, akin, batch["item"], -offset[batch["label"]])
            loss += weights.fine * near
            metrics["fine_loss"] = near
        if of_codes is not None:
            cost = of_codes(outputs, params["head"], batch, step / steps)
            loss += weights.weight * cost
            metrics["code_loss"] = cost
        return loss, (new.get("batch_stats", {}), metrics)

    return loss_fn


def build_unet(config: Segment) -> UNet:
    """The U-Net that `config` describes."""
    return UNet(width=config.width, depth=config.depth)


def unet_loss(model: nn.Module, config: Segment) -> loop.LossFn:
    """Cross-entropy plus soft Dice on (slice, mask) pairs, mirrored at random."""

    def loss_fn(params, batch_stats, batch, key, step):
        images, masks = to_input(batch["image"]), batch["mask"].astype(jnp.float32)
        flip_key, value_key = jax.random.split(key)
        flip = jax.random.bernoulli(flip_key, shape=(len(images), 1, 1))
        images, masks = (jnp.where(flip, x[:, :, ::-1], x) for x in (images, masks))
        gain, shift = jax.random.uniform(value_key, (2, len(images), 1, 1), minval=-1, maxval=1)
        images = jnp.clip(images * (1.0 + 0.1 * gain) + 0.05 * shift, 0.0, 1.0)
        logits, new = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images[..., None],
            train=True,
            mutable=["batch_stats"],
        )
        loss = terms.segmentation(logits, masks, dice_weight=config.dice_weight)
        inter = jnp.sum((logits > 0) * masks)
        dice = 2.0 * inter / jnp.maximum(jnp.sum(logits > 0) + jnp.sum(masks), 1.0)
        return loss, (new["batch_stats"], {"dice": dice})

    return loss_fn


def optimizer(
    config: Config, *, steps: int, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """SGD as `config.train` has it."""
    t = config.train
    return loop.sgd(
        learning_rate=t.learning_rate,
        steps=steps,
        warmup_steps=round(t.warmup_epochs * steps_per_epoch),
        schedule=t.schedule,
        momentum=t.momentum,
        nesterov=t.nesterov,
        weight_decay=t.weight_decay,
        clip_norm=t.clip_norm,
    )


def unet_optimizer(config: Segment) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """SGD with Nesterov momentum and a cosine schedule, as `config` has it."""
    return loop.sgd(
        learning_rate=config.learning_rate,
        steps=config.steps,
        warmup_steps=config.steps // 20,
        momentum=config.momentum,
        nesterov=True,
        weight_decay=config.weight_decay,
    )
