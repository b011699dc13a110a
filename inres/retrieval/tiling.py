"""How items are divided into tiles, and for how many of them the jitted programs have shapes."""

TILE = 1024
"""Items per tile."""


def tiles(items: int) -> int:
    """Number of tiles for at least `items` items.

    Rounded up by at most a sixteenth, so that a growing index rarely changes shape.
    """
    need = max(1, -(-items // TILE))
    step = max(1, 1 << max(0, need.bit_length() - 5))
    return -(-need // step) * step


def capacity(items: int) -> int:
    """Number of slots for at least `items` items."""
    return TILE * tiles(items)
