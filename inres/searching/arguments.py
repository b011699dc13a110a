"""Checks of what programs pass to an `Archive`: an error names the argument and its value."""

import os
import reprlib
from pathlib import Path

import numpy as np


def path_of(name: str, value: object) -> Path:
    """A path, with `~` replaced.

    Raises:
      ValueError: it is none.
    """
    given = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError(f"{name} = {_shown(value)}: must be a path, as text or pathlib.Path")
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # no such user
        raise ValueError(f"{name} = {_shown(value)}: {error}; write the path out") from None


def text(name: str, value: object) -> str:
    """A text.

    Raises:
      ValueError: it is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} = {_shown(value)}: must be a text")
    return value


def whole(name: str, value: object, *, least: int | None = None) -> int:
    """A whole number of at least `least`.

    Raises:
      ValueError: it is none.
    """
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not number or (least is not None and value < least):  # type: ignore[operator]
        more = "" if least is None else f" of {least} or more"
        raise ValueError(f"{name} = {_shown(value)}: must be a whole number{more}")
    return int(value)  # type: ignore[call-overload]


def _shown(value: object) -> str:
    return reprlib.repr(value)
