"""Components by name: adding one takes one file, and no list of names has to be edited."""

import importlib
import pkgutil
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries by name, from the modules of one package and from any other module.

    Each module of the package, except those whose name starts with an underscore, registers the
    entry of its own name when it is imported. So the names are known without importing anything,
    and a module is imported only when its entry is used. Other modules, such as a user's config
    file, add entries by calling `add`.
    """

    def __init__(self, kind: str, package: str) -> None:
        """`kind` is a noun for messages, `package` the full name of the package to list."""
        self._kind, self._package = kind, package
        self._entries: dict[str, T] = {}
        self._modules: dict[str, str] = {}

    def add(self, name: str, entry: T, *, module: str) -> None:
        """Register an entry; `module`, which registers it, may replace its own entries.

        Raises:
          ValueError: another module has an entry of this name.
        """
        owner = self._modules.get(name, f"{self._package}.{name}" if self._has(name) else module)
        if owner != module:
            raise ValueError(
                f"{self._kind} {name!r} of {module}: {owner} has one of this name; choose another"
            )
        self._entries[name], self._modules[name] = entry, module

    def remove(self, name: str) -> None:
        """Unregister an entry; no error if there is none."""
        self._entries.pop(name, None)
        self._modules.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """All names in alphabetical order."""
        return tuple(sorted({*self._listed(), *self._entries}))

    def get(self, name: str) -> T:
        """The entry `name`.

        Raises:
          ValueError: there is none; lists the names that exist.
        """
        if name not in self._entries:
            if not self._has(name):
                raise ValueError(f"{self._kind} {name!r}: must be one of {', '.join(self.names())}")
            importlib.import_module(f"{self._package}.{name}")
        if name not in self._entries:
            raise ValueError(f"{self._package}.{name} registers no {self._kind} of its own name")
        return self._entries[name]

    def _listed(self) -> list[str]:
        path = importlib.import_module(self._package).__path__
        found = (module.name for module in pkgutil.iter_modules(path))
        return [name for name in found if not name.startswith("_")]

    def _has(self, name: str) -> bool:
        return name in self._listed()
