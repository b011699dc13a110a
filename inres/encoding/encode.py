"""Images through a trained network: FC1, H and FC3 of many items, or of one query."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from inres.ct import lungs
from inres.data.views import View, as_is
from inres.encoding.linear_codes import Hyperplanes, itq, sample
from inres.learning.recipe import to_input
from inres.models.head import Outputs
from inres.retrieval.codes import binarize
from inres.system.progress import progress


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What the network says of N images; float32."""

    fc1: np.ndarray
    """[N, F]"""
    h: np.ndarray
    """[N, bits], in (0, 1)"""
    fc3: np.ndarray
    """[N, classes], logits"""


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply(
    model: nn.Module,
    views: tuple[View, ...],
    variables: dict[str, Any],
    images: jax.Array,
    views_weight: float,
) -> tuple[jax.Array, ...]:
    """FC1, H and FC3 of each image: of the first view, moved to the mean over all by a share."""
    seen = jnp.concatenate([view(images) for view in views])
    outputs = model.apply(variables, to_input(seen), train=False)
    assert isinstance(outputs, Outputs)

    def blend(layer: jax.Array) -> jax.Array:
        by_view = layer.reshape(len(views), len(images), -1)
        return by_view[0] + views_weight * (by_view.mean(axis=0) - by_view[0])

    layers = (outputs.fc1, outputs.h, outputs.fc3)
    return layers if len(views) == 1 else tuple(blend(layer) for layer in layers)


Encoder = Callable[[np.ndarray], Encoded]


def check_images(images: np.ndarray, axes: int) -> None:
    """Refuse what is no array of uint8 with so many axes; another type would be cut to 8 bits.

    Raises:
      ValueError: it is not.
    """
    if images.dtype != np.uint8 or images.ndim != axes:
        shape = "[N, S, S, C]" if axes == 4 else "[N, S, S]"
        raise ValueError(f"images are {images.dtype} {images.shape}, must be uint8 {shape}")


def make_encoder(
    model: nn.Module,
    variables: dict[str, Any],
    *,
    batch: int = 64,
    views: Sequence[View] = (as_is,),
    views_weight: float = 0.0,
    quiet: bool = False,
) -> Encoder:
    """A function uint8 [N, S, S, C] -> `Encoded`; N = 1 and full batches compile once each.

    Args:
      model, variables: the trained network.
      batch: images at once, those of all views together.
      views: of each image; the first is the image as it is (`data.views.symmetries`).
      views_weight: share in [0, 1] that the mean over all views has in FC1, H and FC3; the first
        has the rest. 0: it alone is looked at.
      quiet: no progress is shown.
    """
    seen = tuple(views) if views_weight else tuple(views[:1])

    def encode(images: np.ndarray) -> Encoded:
        check_images(images, 4)
        if not len(images):
            one = encode(np.zeros((1, *images.shape[1:]), np.uint8))
            return Encoded(*(layer[:0] for layer in vars(one).values()))
        each = 1 if len(images) == 1 else max(1, batch // len(seen))
        starts = range(0, len(images), each)
        loud = len(images) > 1 and not quiet
        parts = []
        for start in progress(starts, name="encode", unit="batch") if loud else starts:
            part = np.asarray(images[start : start + each])
            full = np.zeros((each, *part.shape[1:]), np.uint8)
            full[: len(part)] = part
            layers = jax.device_get(_apply(model, seen, variables, full, views_weight))
            parts.append([layer[: len(part)] for layer in layers])
        return Encoded(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    return encode


def fit_planes(encoded: Encoded, *, fc1_weight: float, seed: int) -> Hyperplanes:
    """Turn H and FC1 of training items together into as many bits as H has units.

    By iterative quantization (`linear_codes.itq`), without labels; for `to_bits`.

    Args:
      encoded: of N items, the more, the better.
      fc1_weight: root mean squared distance of FC1 from its mean, as a share of that of H.
      seed: of the first rotation.
    """
    scale = np.concatenate(
        [
            np.full(encoded.h.shape[1], 1.0 / _spread(encoded.h)),
            np.full(encoded.fc1.shape[1], fc1_weight / _spread(encoded.fc1)),
        ]
    )
    vectors = sample(np.concatenate([encoded.h, encoded.fc1], axis=1), seed)
    code = itq(vectors * scale, bits=encoded.h.shape[1], seed=seed, full=True)
    mean = np.divide(code.mean, scale, out=np.zeros_like(scale), where=scale > 0)
    return Hyperplanes(mean, scale[:, None] * code.planes)


def to_bits(encoded: Encoded, planes: Hyperplanes | None) -> np.ndarray:
    """The code, bool [N, h]: H at 0.5 (paper, Eq. 1), or on which side of `planes` H and FC1 lie.

    Args:
      planes: over H and FC1 beside each other, from `fit_planes`; None for H at 0.5.
    """
    if planes is None:
        return binarize(encoded.h)
    out = np.empty(encoded.h.shape, bool)
    for start in range(0, len(out), _ROWS):
        rows = slice(start, start + _ROWS)
        out[rows] = planes.encode(np.concatenate([encoded.h[rows], encoded.fc1[rows]], axis=1))
    return out


_ROWS = 1 << 14
"""Items whose H and FC1 are joined at once."""


def _spread(x: np.ndarray) -> float:
    """Root mean squared distance of [N, D] from its mean; 1 where all are the same."""
    return float(np.sqrt(x.var(axis=0).sum()) or 1.0)


@dataclasses.dataclass(frozen=True)
class FineScale:
    """Scales that make FC1 and FC3 weigh alike when both are compared (paper, Fig. 8)."""

    fc1: float
    fc3: float

    @classmethod
    def of(cls, encoded: Encoded) -> "FineScale":
        """From a gallery: each layer's root mean squared distance from its mean."""
        return cls(_spread(encoded.fc1), _spread(encoded.fc3))

    def join(self, encoded: Encoded) -> np.ndarray:
        """FC1 and FC3, each divided by its scale, concatenated: float32 [N, F + classes]."""
        return np.concatenate([encoded.fc1 / self.fc1, encoded.fc3 / self.fc3], axis=1)


def fingerprint(variables: dict[str, Any]) -> str:
    """SHA-256 (hex) over names, shapes, dtypes and values of the weights."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        value = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {value.shape} {value.dtype};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def fill_small_holes(mask: np.ndarray, *, share: float = 0.1) -> np.ndarray:
    """Fill holes of a mask [S, S] that are no larger than `share` of its area. uint8 [S, S]."""
    filled = ndimage.binary_fill_holes(mask)
    holes, count = ndimage.label(filled & ~(mask > 0))
    areas = np.bincount(holes.ravel(), minlength=count + 1)
    small = areas <= share * np.count_nonzero(mask)
    small[0] = False
    return ((mask > 0) | small[holes]).astype(np.uint8)


def make_segmenter(
    model: nn.Module,
    variables: dict[str, Any],
    *,
    size: int,
    spacing_mm: float = 0.0,
    batch: int = 8,
) -> Callable[[np.ndarray], np.ndarray]:
    """A function uint8 [N, S, S] slices -> uint8 [N, S, S] lung masks (1 inside).

    Args:
      model, variables: the trained U-Net.
      size: side of its input, pixels.
      spacing_mm: pixel side of the slices. Learned masks are then repaired at the pleura, like
        those they were learned from (`lungs.repair`, without its margin, which is learned). 0
        where it is unknown: no repair.
      batch: slices at once.

    Slices are resized to the U-Net's `size`, and its logits back, on the device. Holes of up to
    a tenth of the lungs' area are filled, as in the masks it learned: a nodule is part of a lung.
    """

    @jax.jit
    def apply(variables, slices):
        b, s, _ = slices.shape
        small = jax.image.resize(to_input(slices), (b, size, size), "linear")
        logits = model.apply(variables, small[..., None], train=False)
        return (jax.image.resize(logits, (b, s, s), "linear") > 0).astype(jnp.uint8)

    def finish(mask: np.ndarray) -> np.ndarray:
        mask = fill_small_holes(mask)
        if spacing_mm and mask.any():
            mask = lungs.repair(mask[None] > 0, spacing_mm, margin_mm=0.0)[0].astype(np.uint8)
        return mask

    def segment(slices: np.ndarray) -> np.ndarray:
        check_images(slices, 3)
        out = np.empty(slices.shape, np.uint8)
        width = min(batch, len(slices)) if len(slices) == 1 else batch
        for start in range(0, len(slices), width):
            part = np.asarray(slices[start : start + width])
            full = np.zeros((width, *part.shape[1:]), np.uint8)
            full[: len(part)] = part
            masks = np.asarray(apply(variables, full))[: len(part)]
            out[start : start + len(part)] = [finish(mask) for mask in masks]
        return out

    return segment
