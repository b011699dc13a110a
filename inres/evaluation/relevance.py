"""Graded relevance of items to queries: functions of two arrays that broadcast."""

from collections.abc import Callable

import numpy as np

MM_SCALE = 5.0
"""A diameter difference of so many mm, or more, has no graded relevance."""
RATING_SCALE = 2.0
"""A difference in malignancy (ratings 1 to 5) of so much, or more, has no graded relevance."""
INDETERMINATE = 3.0
"""The malignancy rating between benign and malignant; it agrees with neither."""


def size_gains(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Relevance by class: max(0, 3 - |class difference|), 0 between normal (0) and nodule; int8."""
    gap = np.abs(queries.astype(np.int16) - items.astype(np.int16))
    return np.where((queries == 0) == (items == 0), np.maximum(0, 3 - gap), 0).astype(np.int8)


def diameter_gains(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Relevance by diameter in mm: 1 - |difference| / 5 mm, at least 0; 0 if one is unknown.

    A normal item (0 mm) has no relevance for a nodule nor a nodule for a normal query.
    """
    gain = _fading(queries, items, MM_SCALE)
    return np.where((queries == 0) == (items == 0), gain, 0.0)


def malignancy_gains(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Relevance by malignancy: 1 - |difference| / 2, at least 0; 0 if one is unknown."""
    return _fading(queries, items, RATING_SCALE)


def _fading(queries: np.ndarray, items: np.ndarray, scale: float) -> np.ndarray:
    gap = np.abs(queries.astype(np.float64) - items)
    return np.where(np.isfinite(gap), np.maximum(0.0, 1.0 - gap / scale), 0.0)


def diameter_errors(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """|diameter difference| in mm for nodules as queries, NaN for others and unknown ones."""
    return np.where(queries > 0, np.abs(queries.astype(np.float64) - items), np.nan)


def malignancy_errors(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """|difference of the ratings|, NaN where one is unknown."""
    return np.abs(queries.astype(np.float64) - items)


def malignancy_agreement(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """1 where both are benign (below 3) or both malignant, else 0; NaN if unknown or exactly 3."""
    known = np.isfinite(queries + items) & (queries != INDETERMINATE) & (items != INDETERMINATE)
    same = (queries < INDETERMINATE) == (items < INDETERMINATE)
    return np.where(known, same, np.nan)


GAINS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "ndcg": ("labels", size_gains),
    "ndcg_mm": ("diameters_mm", diameter_gains),
    "ndcg_malignancy": ("malignancy", malignancy_gains),
}
"""By measure of nDCG: the column it grades, and the gain."""
MEANS = {
    "diameter_error_mm": ("diameters_mm", diameter_errors),
    "malignancy_error": ("malignancy", malignancy_errors),
    "malignancy_agreement": ("malignancy", malignancy_agreement),
}
"""By measure: the column, and the value of which the mean is taken."""
