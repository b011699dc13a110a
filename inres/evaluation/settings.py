"""Settings of an evaluation: what is searched, how, and which items a query may find."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that every part of an evaluation shares."""

    classes: int
    """Number of classes; labels are 0..classes - 1."""
    threshold: int
    """The candidate pool holds items with a Hamming distance below this (bits)."""
    least_pool: float = 0.0
    """Share of the gallery that a pool holds at least: where fewer items are below the threshold,
    that of the query is raised."""
    fine: str = "fc1"
    """Feature that orders the pool."""
    k: int = 10
    """Length of the result list."""
    own_group: bool = False
    """Let a query find items of its own group (usually its scan)."""
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Weights of properties in `similarity`; others have the weight 1."""
    scales: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By property, the difference from which on two nodules are not similar; of the natural
    logarithm for properties that are compared on it. Others have the standard deviation over the
    archive."""
