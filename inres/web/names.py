"""Names of uploaded files: relative paths below one folder, each once."""

import unicodedata
from pathlib import Path

_LONGEST_PART = 200
"""Bytes of a file's or folder's name; systems allow 255."""
_LONGEST = 1000
"""Bytes of a path."""
_DEEPEST = 16
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
"""What systems add to folders and archives."""


class RefusedName(ValueError):
    """A name is refused; the message says why."""


class Names:
    """The names of one upload."""

    def __init__(self) -> None:
        self._files: set[tuple[str, ...]] = set()
        self._folders: set[tuple[str, ...]] = set()

    def add(self, name: str, *, folder: bool = False) -> Path | None:
        r"""Where a file belongs, relative to the folder of the upload; None for one to be ignored.

        Both / and \ separate folders.

        Args:
          name: as it was sent.
          folder: whether it names a folder, which is not made.

        Raises:
          RefusedName: it is absolute or leads elsewhere, is too long, or was there before.
        """
        shown = f"the name {name[:100]!r}"
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
            raise RefusedName(f"{shown} has control characters; rename the file")
        plain = name.replace("\\", "/")
        if plain.startswith("/") or plain[1:2] == ":":
            raise RefusedName(f"{shown} is absolute; send names relative to the folder of the scan")
        parts = tuple(part for part in plain.split("/") if part not in ("", "."))
        if ".." in parts:
            raise RefusedName(f"{shown} leads out of the folder; leave out ..")
        if not parts and not folder:
            raise RefusedName("a file without a name; give it one")
        if len(parts) > _DEEPEST or len(plain.encode()) > _LONGEST:
            raise RefusedName(f"{shown} is too long; send the folder of the scan alone")
        if any(len(part.encode()) > _LONGEST_PART for part in parts):
            raise RefusedName(f"{shown} is too long; rename the file")
        if folder:
            self._folders |= {parts[:depth] for depth in range(1, len(parts) + 1)}
        if folder or any(part in _IGNORED or part.startswith("._") for part in parts):
            return None
        if parts in self._files:
            raise RefusedName(f"{shown} occurs twice; rename one of the files")
        above = {parts[:depth] for depth in range(1, len(parts))}
        if parts in self._folders or above & self._files:
            raise RefusedName(f"{shown} is both a file and a folder; rename one of them")
        self._files.add(parts)
        self._folders |= above
        return Path(*parts)
