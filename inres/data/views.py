"""From a CT slice to the network's input: the one road of gallery and query."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from inres.config import Items


def canvas(image: np.ndarray, *, center: tuple[int, int], size: int, fill: int = 0) -> np.ndarray:
    """The [size, size] part of `image` [Y, X] whose pixel size // 2 is `center` (row, col).

    Outside of the image the canvas has the value `fill`.
    """
    top, left = (int(c) - size // 2 for c in center)
    out = np.full((size, size), fill, image.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + size, image.shape[0]), min(left + size, image.shape[1])
    if y1 > y0 and x1 > x0:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return out


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resample [Y, X] uint8 to [size, size], linear, averaged first where it shrinks."""
    if image.shape == (size, size):
        return image
    scale = np.array(image.shape) / size
    blurred = ndimage.gaussian_filter(
        image.astype(np.float32), np.maximum(0.0, (scale - 1.0) / 2.0), mode="nearest"
    )
    grid = np.meshgrid(*((np.arange(size) + 0.5) * s - 0.5 for s in scale), indexing="ij")
    return np.rint(ndimage.map_coordinates(blurred, grid, order=1, mode="nearest")).astype(np.uint8)


def stack(
    planes: np.ndarray, mask: np.ndarray | None, point: tuple[float, float], config: Items
) -> np.ndarray:
    """Slices beside each other as the channels of one network input: uint8 [size_px, size_px, C].

    Args: as `view`, of planes uint8 [C, S, S]; the mask is that of the middle one.
    """
    return np.stack([view(plane, mask, point, config) for plane in planes], axis=-1)


def alone(inputs: np.ndarray) -> np.ndarray:
    """Network inputs [N, S, S, C] without neighbours: the slice itself in place of each."""
    middle = inputs.shape[-1] // 2
    return np.repeat(inputs[..., middle : middle + 1], inputs.shape[-1], axis=-1)


View = Callable[[Any], Any]
"""From network inputs [N, S, S, C] to as many, on the host or under jit."""


def as_is(inputs: np.ndarray) -> np.ndarray:
    """The inputs themselves."""
    return inputs


def symmetries(channels: int, *, flips: bool, quarter_turns: bool) -> tuple[View, ...]:
    """Views in which a nodule is the same nodule, mirrored or turned; the first is as it is.

    Args:
      channels: C of the inputs; a stack of several is also seen from its other end.
      flips: mirrored across rows and columns (4 views), and along the stack.
      quarter_turns: turned by quarters (4 views; with `flips` 8).
    """
    quarters = (0, 1, 2, 3) if quarter_turns else (0, 2) if flips else (0,)
    mirrored = (False, True) if flips else (False,)
    backward = mirrored if channels > 1 else (False,)

    def make(quarter: int, mirror: bool, back: bool) -> View:
        rows, columns = ((1, 1), (-1, 1), (-1, -1), (1, -1))[quarter]

        def changed(inputs: np.ndarray) -> np.ndarray:
            out = inputs[:, :, ::-1] if mirror else inputs
            out = out.swapaxes(1, 2) if quarter % 2 else out
            return out[:, ::rows, ::columns, :: -1 if back else 1]

        return changed

    return tuple(make(q, m, b) for b in backward for m in mirrored for q in quarters)


def view(
    slice_: np.ndarray, mask: np.ndarray | None, point: tuple[float, float], config: Items
) -> np.ndarray:
    """One network input, uint8 [size_px, size_px].

    Args:
      slice_: uint8 [S, S], a canvas slice, or a whole image of a folder.
      mask: uint8 or bool [S, S], the lungs; None where nothing is segmented.
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
