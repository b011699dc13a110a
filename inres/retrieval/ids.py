"""Item ids as arrays."""

from typing import Any

import numpy as np


def as_ids(values: Any) -> np.ndarray:
    """Ids as int64 [N].

    Raises:
      ValueError: not a one-dimensional integer array. A boolean mask or floats would be taken for
        other ids.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (len(array) and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            f"ids: {array.dtype} {array.shape}, must be integers [N]; convert a mask with "
            "np.flatnonzero"
        )
    return array.astype(np.int64)
