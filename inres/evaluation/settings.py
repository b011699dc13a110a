"""Settings of an evaluation: what is searched, how, and which items a query may find."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that every part of an evaluation shares."""

    classes: int
    """Number of classes; labels are 0..classes - 1."""
    threshold: int
    """The candidate pool holds items with a Hamming distance below this (bits)."""
    fine: str = "fc1"
    """Feature that orders the pool."""
    k: int = 10
    """Length of the result list."""
    own_group: bool = False
    """Let a query find items of its own group (usually its scan)."""
