"""The errors of this package."""

from pathlib import Path


class StoreError(ValueError):
    """The index on disk is damaged or not the requested one; the message names the file."""


def damaged(path: Path, reason: object) -> StoreError:
    """The error for a file whose content is wrong."""
    return StoreError(f"{path}: damaged ({reason}); build the index again")
