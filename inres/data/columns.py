"""Further columns of findings and tables: what they are called, and whether they are numbers."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

MOST = 1000
"""Further columns that a table may have; SQLite has room for 2,000 in all."""
RESERVED = ("id", "item", "rank", "class", "hamming", "euclidean")
"""Names with a meaning of their own in records and in the tables of results."""


def column_name(name: str) -> str:
    """A column's name as records and conditions use it: letters, digits and _, no digit first.

    All other characters become _, and reserved names get one at the end.
    """
    plain = re.sub(r"\W", "_", name.strip())
    if not plain or plain[0].isdigit():
        plain = f"_{plain}"
    return f"{plain}_" if plain.lower() in RESERVED else plain


def column_names(names: Iterable[str]) -> dict[str, str]:
    """`column_name` of each name.

    Raises:
      ValueError: two names become the same, but for upper and lower case; or there are too many.
    """
    names = list(names)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"two columns become one, {twice[0]}; rename one")
    found = {name: column_name(name) for name in names}
    if len(found) > MOST:
        raise ValueError(f"{len(found)} further columns, {MOST} at most; remove some")
    seen: dict[str, str] = {}
    for name, plain in found.items():
        other = seen.setdefault(plain.lower(), name)
        if other != name:
            raise ValueError(f"columns {other!r} and {name!r} become one, {plain}; rename one")
    return found


def split(
    columns: Mapping[str, float | str], texts: Iterable[str] = ()
) -> tuple[dict[str, float], dict[str, str]]:
    """Columns as finite numbers and as texts that are not empty; unknown values are absent.

    Args:
      columns: values by name.
      texts: columns that are texts although their value is a number.
    """
    forced = set(texts)
    numbers: dict[str, float] = {}
    words: dict[str, str] = {}
    for name, value in columns.items():
        if isinstance(value, str):
            if value.strip():
                words[name] = value.strip()
        elif math.isfinite(value):
            if name in forced:
                words[name] = np.format_float_positional(float(value), trim="-")
            else:
                numbers[name] = float(value)
    return numbers, words


def as_numbers(columns: Mapping[str, float | str], texts: Iterable[str]) -> dict[str, float | str]:
    """Columns of which all but `texts` are numbers."""
    words = set(texts)
    return {name: v if name in words else float(v) for name, v in columns.items()}
