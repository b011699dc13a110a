"""Images as PNG."""

import base64
import io

import numpy as np
from PIL import Image
from starlette.responses import Response

from inres.ct.hu import WINDOWS_HU
from inres.ct.image import to_uint8

_LEVEL = 1
"""Of zlib; higher ones take several times as long, for slices that are hardly smaller."""


def png(image: np.ndarray) -> bytes:
    """A grey image uint8 [Y, X] as PNG."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(out, "PNG", compress_level=_LEVEL)
    return out.getvalue()


def windowed(hu: np.ndarray, window: str) -> np.ndarray:
    """HU in one of `WINDOWS_HU` as grey, uint8 of the same shape."""
    low, high = WINDOWS_HU[window]
    return to_uint8(hu, hu_min=low, hu_max=high)


def data_url(image: np.ndarray) -> str:
    """A grey image as an address that contains it."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def answer(image: bytes) -> Response:
    """A PNG that a browser does not store, as it shows a patient."""
    return Response(image, media_type="image/png", headers={"Cache-Control": "no-store"})
