"""FC1, H and FC3 of images, computed by a trained network."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from inres.config import Config
from inres.data.views import View, as_is, unseen
from inres.encoding import in_batches
from inres.encoding.in_batches import BATCH, Encoder
from inres.learning import sight
from inres.models.head import Outputs


def make_encoder(
    model: nn.Module,
    variables: dict[str, Any],
    *,
    planes: str = "channels",
    batch: int = BATCH,
    views: Sequence[View] = (as_is,),
    views_weight: float = 0.0,
    quiet: bool = False,
) -> Encoder:
    """Build an encoder. It compiles once for a single image and once for full batches.

    Args:
      model, variables: the trained network.
      planes: how it sees the planes of an image (`config.model.planes`).
      batch: images per call of the network, over all views together.
      views: transformations of each image; the first is the identity (`data.views.symmetries`).
      views_weight: weight in [0, 1] of the mean over all views in every layer; the first view has
        the remaining weight. With 0 only the first view is computed.
      quiet: show no progress.
    """
    used = tuple(views) if views_weight else tuple(views[:1])

    def layers(images: np.ndarray) -> Sequence[np.ndarray]:
        return jax.device_get(apply(model, used, planes, variables, images, views_weight))

    return in_batches.encoder(layers, batch=max(1, batch // len(used)), quiet=quiet)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def apply(
    model: nn.Module,
    views: tuple[View, ...],
    planes: str,
    variables: dict[str, Any],
    images: jax.Array,
    views_weight: float,
) -> tuple[jax.Array, ...]:
    """The layers of `Encoded`: the first view, interpolated towards the mean over all views."""
    seen = jnp.concatenate([view(images) for view in views])
    shown, known = sight.split(sight.to_input(seen), planes)
    outputs = model.apply(variables, sight.flatten(shown, known), known, train=False)
    assert isinstance(outputs, Outputs)

    def blend(layer: jax.Array) -> jax.Array:
        by_view = layer.reshape(len(views), images.shape[0], layer.shape[1])
        return by_view[0] + views_weight * (by_view.mean(axis=0) - by_view[0])

    layers = (outputs.fc1, outputs.h, outputs.fc3, outputs.properties)
    return layers if len(views) == 1 else tuple(blend(layer) for layer in layers)


def make_unseen_encoder(
    config: Config, model: nn.Module, variables: dict[str, Any], *, channels: int
) -> Encoder:
    """Build the encoder of images that were not in training, such as queries.

    It averages over their views (`data.views.unseen`).
    """
    views, weight = unseen(config, channels=channels)
    return make_encoder(
        model, variables, planes=config.model.planes, views=views, views_weight=weight
    )
