"""Graded relevance of items to queries: functions of two arrays that broadcast."""

from collections.abc import Callable

import numpy as np

MM_SCALE = 5.0
"""Diameter difference (mm) from which on the graded relevance is 0."""
RATING_SCALE = 2.0
"""Difference in malignancy (ratings 1 to 5) from which on the graded relevance is 0."""
INDETERMINATE = 3.0
"""Malignancy rating between benign and malignant; it agrees with neither."""


def size_gains(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Relevance by class, int8: max(0, 3 - |class difference|); 0 between normal (0) and nodule."""
    gap = np.abs(queries.astype(np.int16) - items.astype(np.int16))
    return np.where((queries == 0) == (items == 0), np.maximum(0, 3 - gap), 0).astype(np.int8)


def diameter_gains(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Relevance by diameter: max(0, 1 - |difference| / 5 mm); 0 if a diameter is unknown.

    A normal item (0 mm) has no relevance for a nodule, nor a nodule for a normal query.
    """
    gain = _fading(queries, items, MM_SCALE)
    return np.where((queries == 0) == (items == 0), gain, 0.0)


def malignancy_gains(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Relevance by malignancy: max(0, 1 - |difference| / 2); 0 if a rating is unknown."""
    return _fading(queries, items, RATING_SCALE)


def _fading(queries: np.ndarray, items: np.ndarray, scale: float) -> np.ndarray:
    gap = np.abs(queries.astype(np.float64) - items)
    return np.where(np.isfinite(gap), np.maximum(0.0, 1.0 - gap / scale), 0.0)


def diameter_errors(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """|diameter difference| in mm for queries that are nodules; NaN for others and if unknown."""
    return np.where(queries > 0, np.abs(queries.astype(np.float64) - items), np.nan)


def malignancy_errors(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """|difference of the ratings|; NaN if a rating is unknown."""
    return np.abs(queries.astype(np.float64) - items)


def malignancy_agreement(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """1 if both are benign (below 3) or both malignant, else 0; NaN if one is unknown or 3."""
    known = np.isfinite(queries + items) & (queries != INDETERMINATE) & (items != INDETERMINATE)
    same = (queries < INDETERMINATE) == (items < INDETERMINATE)
    return np.where(known, same, np.nan)


GAINS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "ndcg": ("labels", size_gains),
    "ndcg_mm": ("diameters_mm", diameter_gains),
    "ndcg_points": ("malignancy", malignancy_gains),
}
"""By column of nDCG: the property that is graded, and the gain as a function of query and item."""
MEANS = {
    "diameter_error_mm": ("diameters_mm", diameter_errors),
    "malignancy_error": ("malignancy", malignancy_errors),
    "malignancy_agreement": ("malignancy", malignancy_agreement),
}
"""By column: the property, and the value whose mean over the first k is computed."""
