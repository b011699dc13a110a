"""Messages that list several problems, and names as they are shown in messages and figures."""

import unicodedata
from collections.abc import Sequence

_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that break lines or terminals, or that no encoding has: control characters,
halves of surrogate pairs (bytes of a file name that is not UTF-8), separators of lines."""
_DIRECTIONS = {*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
"""Characters that reverse the order in which the text around them is shown."""


def listed(lines: Sequence[str], *, most: int = 10) -> str:
    """The first `most` lines, and how many more there are."""
    more = len(lines) - most
    return "\n".join([*lines[:most], *([f"... and {more} more"] if more > 0 else [])])


def short(name: str) -> str:
    """A name as `printable`, of at most 100 characters."""
    shown = printable(name)
    return f"{shown[:97]}..." if len(shown) > 100 else shown


def printable(name: str) -> str:
    """A name on one line: what would break lines, terminals or encodings is escaped as in Python.

    >>> printable("a\\tb")
    'a\\\\tb'
    """
    if name.isascii() and name.isprintable():
        return name
    return "".join(
        c.encode("unicode_escape").decode()
        if c in _DIRECTIONS or unicodedata.category(c) in _HIDDEN
        else c
        for c in name
    )
