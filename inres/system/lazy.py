"""Modules that are imported when something of them is first used."""

import importlib
from typing import Any


class Lazy:
    """A module that is imported when an attribute is read.

    Only for modules that take long to import and that many programs never use. Declare the module
    under `TYPE_CHECKING` as well, so that types are checked and the import is seen.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
