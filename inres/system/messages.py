"""Messages that list several problems."""

from collections.abc import Sequence


def listed(lines: Sequence[str], *, most: int = 10) -> str:
    """The first `most` lines, and how many more there are."""
    more = len(lines) - most
    return "\n".join([*lines[:most], *([f"... and {more} more"] if more > 0 else [])])
