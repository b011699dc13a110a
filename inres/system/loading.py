"""Attributes that are loaded when they are first used."""

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class loaded_once(functools.cached_property[T]):
    """A `functools.cached_property` that is loaded once, also if several threads use it first.

    From Python 3.12 on, a cached property is computed by each of them.
    """

    def __init__(self, load: Callable[[Any], T]) -> None:
        super().__init__(load)
        self._loading = threading.RLock()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The value; it then lies in the instance, where it is found without this call."""
        with self._loading:
            return super().__get__(instance, owner)
