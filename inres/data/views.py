"""From a CT slice to the network's input, for archive and query alike."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from inres.config import Config, Items
from inres.data import cubes


def canvas(image: np.ndarray, *, center: tuple[int, int], size: int, fill: int = 0) -> np.ndarray:
    """The [size, size] part of `image` [Y, X] whose pixel size // 2 is `center` (row, col).

    Outside the image the canvas has the value `fill`.
    """
    top, left = (int(c) - size // 2 for c in center)
    out = np.full((size, size), fill, image.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + size, image.shape[0]), min(left + size, image.shape[1])
    if y1 > y0 and x1 > x0:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return out


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resample [Y, X] uint8 to [size, size]: linear, smoothed first along axes that shrink."""
    if image.shape == (size, size):
        return image
    scale = np.array(image.shape) / size
    blurred = ndimage.gaussian_filter(
        image.astype(np.float32), np.maximum(0.0, (scale - 1.0) / 2.0), mode="nearest"
    )
    grid = np.meshgrid(*((np.arange(size) + 0.5) * s - 0.5 for s in scale), indexing="ij")
    return np.rint(ndimage.map_coordinates(blurred, grid, order=1, mode="nearest")).astype(np.uint8)


def stack(
    planes: np.ndarray,
    known: np.ndarray,
    mask: np.ndarray | None,
    point: tuple[float, float],
    config: Items,
) -> np.ndarray:
    """Neighbouring slices as the channels of one network input.

    Args:
      planes: uint8 [C, S, S], from the lowest up.
      known: bool [C], whether there is such a slice.
      mask, point, config: as for `view`; the mask is that of the middle plane, for all of them.

    Returns:
      uint8 [size_px, size_px, 2 C], as `with_known`; [size_px, size_px, 1] for a single slice.
    """
    seen = [view(plane, mask, point, config) for plane in planes]
    return with_known(np.stack(seen, axis=-1), known)


KNOWN = np.uint8(255)
"""Value of a known pixel in the second half of the channels."""


def with_known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A network input from its planes, and from what is known of them.

    Args:
      values: uint8 [..., S, S, C].
      known: bool, broadcast to the shape of `values`; the middle plane of a stack must be known.

    Returns:
      uint8 [..., S, S, 2 C]: the planes, 0 where unknown, and then for each plane 255 where it is
      known and 0 elsewhere. A single plane is returned as it is.
    """
    if values.shape[-1] == 1:
        return values
    known = np.broadcast_to(known, values.shape)
    return np.concatenate([np.where(known, values, 0), known * KNOWN], axis=-1)


def cube(values: np.ndarray, states: np.ndarray, config: Items) -> np.ndarray:
    """A cube as a network input, uint8 [D, D, 2 D], as `with_known`.

    Args:
      values: uint8 [D, D, D], axes y, x, z.
      states: uint8 [D, D, D], as `inres.data.cubes.states`.
      config: `segmented` sets what is outside the lungs to 0.
    """
    shown = values if not config.segmented else np.where(states == cubes.LUNG, values, 0)
    return with_known(shown, states > cubes.UNKNOWN)


def stack_cube(
    planes: np.ndarray,
    masks: np.ndarray | None,
    z_mm: np.ndarray,
    centre_mm: float,
    config: Items,
    *,
    width_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """A stack of slices as a cube: values and states, uint8 [D, D, D].

    Args:
      planes: uint8 [C, S, S], centred on the nodule.
      masks: uint8 [C, S, S], 1 inside the lungs; None where nothing was segmented.
      z_mm: [C], positions of the slices, all different.
      centre_mm: position of the cube's centre.
      config: the width of the cube.
      width_mm: of the slices.
    """
    make = functools.partial(
        cubes.cube_from_stack,
        z_mm=z_mm,
        centre_mm=centre_mm,
        width_mm=width_mm,
        side_mm=config.cube_mm,
        side_px=config.cube_px,
    )
    values, known = make(planes)
    lungs = None
    if masks is not None:
        shares, _ = make(masks * KNOWN)
        lungs = shares > KNOWN // 2
    return values, cubes.states(known, lungs)


def planes_of(channels: int) -> int:
    """Number C of planes in network inputs with so many channels."""
    return max(1, channels // 2)


def known_planes(inputs: np.ndarray) -> np.ndarray:
    """Which planes of network inputs [..., S, S, 2 C] have a known pixel: bool [..., C]."""
    count = planes_of(inputs.shape[-1])
    if inputs.shape[-1] == 1:
        return np.ones((*inputs.shape[:-3], 1), bool)
    return np.asarray(inputs[..., count:].any(axis=(-3, -2)))


def own_slices(inputs: np.ndarray) -> np.ndarray:
    """The middle planes of network inputs [..., 2 C]: uint8 [...]."""
    return inputs[..., planes_of(inputs.shape[-1]) // 2]


def alone(inputs: np.ndarray) -> np.ndarray:
    """Network inputs [N, S, S, 2 C] of which nothing is known but the middle plane."""
    return limited(inputs, 0)


def limited(inputs: np.ndarray, reach: int) -> np.ndarray:
    """Network inputs [..., 2 C] of which at most `reach` planes on each side are known."""
    count = planes_of(inputs.shape[-1])
    if reach >= count // 2:
        return inputs
    near = np.abs(np.arange(count) - count // 2) <= reach
    return np.where(np.tile(near, 2), inputs, np.uint8(0))


def single(slices: np.ndarray, channels: int) -> np.ndarray:
    """Slices uint8 [N, S, S] as network inputs [N, S, S, channels] without neighbours."""
    count = planes_of(channels)
    values = np.zeros((*slices.shape, count), np.uint8)
    values[..., count // 2] = slices
    return with_known(values, np.arange(count) == count // 2)


View = Callable[[Any], Any]
"""Maps network inputs [N, S, S, C] to inputs of the same shape, on the host or under jit."""


def as_is(inputs: np.ndarray) -> np.ndarray:
    """The view that returns its inputs."""
    return inputs


def symmetries(channels: int, *, flips: bool, quarter_turns: bool) -> tuple[View, ...]:
    """The symmetries of a nodule's image as views; the first one is the identity.

    Args:
      channels: of the inputs; with several planes and `flips`, a stack is also reversed (twice as
        many views).
      flips: mirror rows and columns (4 views).
      quarter_turns: rotate by quarter turns (4 views; 8 with `flips`).
    """
    quarters = (0, 1, 2, 3) if quarter_turns else (0, 2) if flips else (0,)
    mirrored = (False, True) if flips else (False,)
    backward = mirrored if channels > 1 else (False,)

    half = np.arange(planes_of(channels))[::-1]
    reversed_planes = np.concatenate([half, half + len(half)])

    def make(quarter: int, mirror: bool, back: bool) -> View:
        rows, columns = ((1, 1), (-1, 1), (-1, -1), (1, -1))[quarter]

        def changed(inputs: np.ndarray) -> np.ndarray:
            out = inputs[:, :, ::-1] if mirror else inputs
            out = out.swapaxes(1, 2) if quarter % 2 else out
            out = out[:, ::rows, ::columns]
            if not back:
                return out
            return out[..., reversed_planes]

        return changed

    return tuple(make(q, m, b) for b in backward for m in mirrored for q in quarters)


def unseen(config: Config, *, channels: int) -> tuple[tuple[View, ...], float]:
    """The views of an image that the network was not trained on, and the weight of their mean.

    They are mirrored and rotated as by `config.train`. A network trained without augmentation knows
    images in their original orientation only: there are no other views then, and the weight is 0.

    Args:
      config: of the run.
      channels: of the network's inputs.
    """
    t = config.train
    weight = config.hash.views_weight if t.clean_share < 1 else 0.0
    # Planes that are seen one by one have no order.
    ordered = channels if config.model.planes == "channels" else 1
    found = symmetries(ordered, flips=t.flips, quarter_turns=t.quarter_turns)
    return (found, weight) if weight and len(found) > 1 else ((as_is,), 0.0)


def view(
    slice_: np.ndarray, mask: np.ndarray | None, point: tuple[float, float], config: Items
) -> np.ndarray:
    """One network input, uint8 [size_px, size_px].

    Args:
      slice_: uint8 [S, S], a slice on its canvas, or an image of a folder.
      mask: uint8 or bool [S, S], the lungs; None if nothing was segmented.
      point: row and column of the centre of a crop; NaN for an image that is a crop already.
      config: the view and its sizes.
    """
    if config.segmented and mask is not None:
        slice_ = np.where(np.asarray(mask) > 0, slice_, np.uint8(0))
    if config.view == "crop" and np.all(np.isfinite(point)):
        size = round(config.crop_mm / config.spacing_mm)
        center = (round(float(point[0])), round(float(point[1])))
        slice_ = canvas(slice_, center=center, size=size)
    return resize(slice_, config.size_px)
