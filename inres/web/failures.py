"""Errors of the server itself in the log."""

import logging
import traceback
from pathlib import Path

LOG = logging.getLogger("inres.web")
_FRAMES = 5


def log(error: BaseException) -> None:
    """Log the kind of an error and where it occurred; its message may name patients."""
    frames = traceback.extract_tb(error.__traceback__)[: -_FRAMES - 1 : -1]
    where = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in frames)
    LOG.error("%s at %s", type(error).__name__, where)
