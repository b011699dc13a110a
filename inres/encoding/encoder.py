"""FC1, H and FC3 of images, computed by a trained network."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from inres.config import Config
from inres.data.views import View, as_is, symmetries
from inres.encoding.encoded import Encoded
from inres.learning import sight
from inres.models.head import Outputs
from inres.system.progress import progress
from inres.system.rows import Images

Encoder = Callable[[Images], Encoded]
"""uint8 [N, S, S, C] -> `Encoded` of N images."""


def check_images(images: Images, *, axes: int) -> None:
    """Check that images are uint8 and have the right number of axes.

    Other types are refused because they would be cut to 8 bits.

    Raises:
      ValueError: wrong dtype or number of axes.
    """
    if images.dtype != np.uint8 or images.ndim != axes:
        shape = "[N, S, S, C]" if axes == 4 else "[N, S, S]"
        raise ValueError(f"images are {images.dtype} {images.shape}, must be uint8 {shape}")


def make_encoder(
    model: nn.Module,
    variables: dict[str, Any],
    *,
    planes: str = "channels",
    batch: int = 64,
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

    def encode(images: Images) -> Encoded:
        check_images(images, axes=4)
        if not len(images):
            return encode(np.zeros((1, *images.shape[1:]), np.uint8)).rows(np.arange(0))
        each = 1 if len(images) == 1 else max(1, batch // len(used))
        starts = range(0, len(images), each)
        shown = len(images) > 1 and not quiet
        parts = []
        for start in progress(starts, name="encode", unit="batch") if shown else starts:
            part = np.asarray(images[start : start + each])
            full = np.zeros((each, *part.shape[1:]), np.uint8)
            full[: len(part)] = part
            layers = jax.device_get(_apply(model, used, planes, variables, full, views_weight))
            parts.append([layer[: len(part)] for layer in layers])
        return Encoded(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    return encode


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _apply(
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
        by_view = layer.reshape(len(views), len(images), layer.shape[1])
        return by_view[0] + views_weight * (by_view.mean(axis=0) - by_view[0])

    layers = (outputs.fc1, outputs.h, outputs.fc3, outputs.properties)
    return layers if len(views) == 1 else tuple(blend(layer) for layer in layers)


def make_unseen_encoder(
    config: Config, model: nn.Module, variables: dict[str, Any], *, channels: int
) -> Encoder:
    """Build the encoder of images that were not in training, such as queries.

    It averages over the mirrored and rotated views of `config.train` with the weight
    `config.hash.views_weight`. A network trained without augmentation knows images in their
    original orientation only; then there are no views.
    """
    t = config.train
    # Planes that are seen one by one have no order.
    ordered = channels if config.model.planes == "channels" else 1
    views = symmetries(ordered, flips=t.flips, quarter_turns=t.quarter_turns)
    weight = config.hash.views_weight if t.clean_share < 1 else 0.0
    return make_encoder(
        model, variables, planes=config.model.planes, views=views, views_weight=weight
    )


def fingerprint(variables: dict[str, Any]) -> str:
    """SHA-256 (hex) of the names, shapes, dtypes and values of all variables."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        value = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {value.shape} {value.dtype};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
