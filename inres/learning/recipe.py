"""The parts of a training run that a config describes: network, loss, optimizer, schedule."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from inres.config import Config, ConfigError, Segment
from inres.data.augment import augment, drop_neighbours
from inres.data.augment_volume import augment_volume
from inres.data.zoom import zoom
from inres.learning import losses, objective, sight
from inres.learning.losses.nll import nll
from inres.learning.neighbourhood import graded_similarity, neighbourhood, similarity_of
from inres.learning.optimizer import sgd
from inres.learning.property_error import property_error
from inres.learning.segmentation import segmentation
from inres.learning.sight import to_input
from inres.learning.step import Batch, LossFn
from inres.learning.view_error import view_error
from inres.models import networks
from inres.models.blocks import he_normal
from inres.models.head import HashHead
from inres.models.unet import UNet

GAUSSIAN_STD = 0.01
"""Standard deviation of the paper's initial weights (section 3.4)."""


def build_model(config: Config, *, classes: int, properties: int = 0) -> nn.Module:
    """The network `config.model` with `config.hash.bits` latent units.

    Args:
      properties: number of properties that it estimates.

    Raises:
      ConfigError: the network cannot be computed in `config.train.precision`.
    """
    kernel_init: Any = he_normal
    inits: dict[str, Any] = {}
    if config.train.init == "gaussian":
        kernel_init = nn.initializers.normal(GAUSSIAN_STD)
        inits = {"hash_init": random_projection, "logit_init": kernel_init}
    head = HashHead(
        classes,
        config.hash.bits,
        config.model.fc1,
        config.model.pooling,
        config.model.dropout,
        losses.get(config.loss.name).batch_norm,
        properties,
        sight.VIEWS.get(config.model.planes, 0) if config.loss.view else 0,
        kernel_init=kernel_init,
        **inits,
    )
    model = networks.get(config.model.name).build(config.model, head, kernel_init)
    dtype = compute_dtype(config.train.precision)
    if dtype is None:
        return model
    if not hasattr(model, "dtype"):
        raise ConfigError(
            f"config.train.precision = {config.train.precision!r}: must be 'float32' for the "
            f"network {config.model.name!r}, which has no field dtype"
        )
    return model.clone(dtype=dtype)


def compute_dtype(precision: str) -> Any:
    """The `dtype` of a network for `config.train.precision`; None for float32, its default."""
    return {"float32": None, "bfloat16": jnp.bfloat16}[precision]


def random_projection(
    key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> jax.Array:
    """Unit Gaussian directions, one per bit, as in LSH (paper, section 3.4; Charikar 2002)."""
    kernel = jax.random.normal(key, shape, dtype)
    return kernel / jnp.linalg.norm(kernel, axis=0, keepdims=True)


def hash_loss(model: nn.Module, config: Config, *, steps: int, classes: int) -> LossFn:
    """The sum of `config.loss` (of the codes, of FC3, of FC1 and of views) and of the properties.

    Batches hold `image` (uint8 [B, S, S, C]), `label` (int), `augment` (bool: whether to augment
    the image), where images are zoomed `factor` (float32), for the loss of FC1 `diameter_mm` and
    `item` (int, the item's index), `code` where `objective.target_codes` gives codes, and where
    properties are learned `properties` (float32 [B, P], standardised, NaN where unknown) and
    `property_weights` (float32 [B, P]).

    Args:
      steps: number of steps of the training.

    Raises:
      ConfigError: the loss needs more bits for so many classes.
    """
    weights = config.loss
    code_loss = objective.code_loss(config, classes=classes)

    def loss_fn(
        params: Any, batch_stats: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        augment_key, dropout_key = jax.random.split(key)
        images, seen, views = _seen(augment_key, batch, config)
        outputs, new = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            seen,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        classification = nll(outputs.fc3, batch["label"])
        loss = weights.classification * classification
        metrics = {
            "nll": classification,
            "accuracy": jnp.mean(outputs.fc3.argmax(-1) == batch["label"]),
            "bit_margin": jnp.mean(jnp.abs(outputs.h - 0.5)) * 2.0,
        }
        if weights.fine:
            similarity = similarity_of(
                batch["label"], batch["diameter_mm"], spread=weights.fine_spread
            )
            if weights.fine_properties and "properties" in batch:
                graded = graded_similarity(batch["properties"], batch["property_weights"])
                similarity += weights.fine_properties * (graded - similarity)
            fine = neighbourhood(outputs.fc1, similarity, batch["item"])
            loss += weights.fine * fine
            metrics["fine_loss"] = fine
        if outputs.properties.shape[1]:
            error = property_error(
                outputs.properties, batch["properties"], batch["property_weights"]
            )
            loss += config.properties.weight * error
            metrics["property_loss"] = error
        if outputs.views.shape[2] and views is not None and seen is not None:
            error = view_error(outputs.views, views, seen)
            loss += weights.view * error
            metrics["view_loss"] = error
        if code_loss is not None:
            cost = code_loss(outputs, params["head"], batch, step / steps)
            loss += weights.weight * cost
            metrics["code_loss"] = cost
        return loss, (new.get("batch_stats", {}), metrics)

    return loss_fn


def _seen(
    key: jax.Array, batch: Mapping[str, jax.Array], config: Config
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """What the network is called with in a step: augmented images, and the planes drawn of each.

    Returns:
      The images, which planes are known, and which of all planes they are, int [B, V].
    """
    images = to_input(batch["image"])
    if "factor" in batch:
        images = zoom(images, batch["factor"])
    if images.shape[-1] > 1 and config.train.neighbour_dropout:
        key, drop_key = jax.random.split(key)
        images = drop_neighbours(drop_key, images, config.train.neighbour_dropout)
    one_by_one = config.items.view == "cube" and config.model.planes != "channels"
    if not one_by_one:
        images = _augmented(key, images, batch["augment"], config)
    planes, seen = sight.split(images, config.model.planes)
    if seen is None:
        return planes, None, None
    views = jnp.broadcast_to(jnp.arange(seen.shape[1]), seen.shape)
    if config.train.planes:
        drawn = sight.draw(jax.random.fold_in(key, 1), planes, seen, config.train.planes)
        planes, seen, views = drawn
    images = sight.flatten(planes, seen)
    if one_by_one:
        # Not the cube: its symmetries exchange the views, and a shift along z may leave nothing of
        # the one plane that is known of a slice without neighbours.
        images = _augmented(key, images, jnp.repeat(batch["augment"], seen.shape[1]), config)
    return images, seen, views


def _augmented(key: jax.Array, images: jax.Array, chosen: jax.Array, config: Config) -> jax.Array:
    """Images float32 [B, S, S, C], the chosen ones, bool [B], augmented."""
    if config.items.view == "cube" and config.model.planes == "channels":
        values, known = jnp.split(images, 2, axis=-1)
        moved = augment_volume(
            key, values, known > 0, symmetries=config.train.flips, shift=config.train.shift_px
        )
        changed = jnp.concatenate([x.astype(images.dtype) for x in moved], axis=-1)
    else:
        changed = augment(key, images, config.train)
    return jnp.where(chosen[:, None, None, None], changed, images)


def optimizer(
    config: Config, *, steps: int, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """SGD and its learning rate by step, as in `config.train`."""
    t = config.train
    return sgd(
        learning_rate=t.learning_rate,
        steps=steps,
        warmup_steps=round(t.warmup_epochs * steps_per_epoch),
        schedule=t.schedule,
        momentum=t.momentum,
        nesterov=t.nesterov,
        weight_decay=t.weight_decay,
        clip_norm=t.clip_norm,
    )


def build_unet(config: Segment, *, precision: str = "float32") -> UNet:
    """The U-Net that `config` describes, computed in `config.train.precision`."""
    return UNet(width=config.width, depth=config.depth, dtype=compute_dtype(precision))


def unet_loss(model: nn.Module, config: Segment) -> LossFn:
    """Cross-entropy plus soft Dice on pairs of slice and mask.

    Slices are mirrored at random, and their values scaled by up to 10 % and shifted by up to 5 % of
    the window. Batches hold `image` and `mask`, uint8 [B, S, S] both.
    """

    def loss_fn(
        params: Any, batch_stats: Any, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
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
        loss = segmentation(logits, masks, dice_weight=config.dice_weight)
        inter = jnp.sum((logits > 0) * masks)
        dice = 2.0 * inter / jnp.maximum(jnp.sum(logits > 0) + jnp.sum(masks), 1.0)
        return loss, (new["batch_stats"], {"dice": dice})

    return loss_fn


def unet_optimizer(config: Segment) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """SGD with Nesterov momentum and a cosine schedule, and its learning rate by step."""
    return sgd(
        learning_rate=config.learning_rate,
        steps=config.steps,
        warmup_steps=config.steps // 20,
        momentum=config.momentum,
        nesterov=True,
        weight_decay=config.weight_decay,
    )
