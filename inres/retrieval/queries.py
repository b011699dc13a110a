"""The queries of a search as arrays."""

from typing import Any, NamedTuple

import numpy as np


class Queries(NamedTuple):
    """Queries as C-contiguous NumPy arrays."""

    codes: np.ndarray
    """uint32 [Q, W]."""
    features: np.ndarray | None = None
    """float32 [Q, D]; None for a search by Hamming distance alone."""
    threshold: Any = None
    """int32 [Q]; None for a search by Hamming distance alone."""
    exclude_group: np.ndarray | None = None
    """int32 [Q], group whose items are excluded; -1 or None: none."""
    only_label: np.ndarray | None = None
    """int32 [Q], the only label to search; -1 or None: all."""
