"""Values of DICOM elements, read leniently: padded texts, other value representations.

An element is looked up in several data sets, the most specific first: for a frame of a multi-frame
file, its own functional groups, those shared by all frames, and the file.
"""

import functools
import math
from collections.abc import Sequence

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset


class UnreadableError(ValueError):
    """An element has a value that it cannot have; the message names both."""


def described(keyword: str) -> str:
    """An element in messages: `PixelSpacing (0028,0030)`."""
    tag = _tag(keyword)
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def text(levels: Sequence[Dataset], keyword: str) -> str:
    r"""The text of an element without padding, several values separated by `\`; "" if missing."""
    level = _level(levels, keyword)
    if level is None:
        return ""
    try:
        value = level[_tag(keyword)].value
    except Exception:  # pydicom's converters raise whatever they meet
        return ""
    parts = [value] if isinstance(value, str | int | float) or value is None else list(value)
    return "\\".join("" if part is None else str(part).strip(" \0\n\r\t") for part in parts)


def numbers(levels: Sequence[Dataset], keyword: str) -> tuple[float, ...]:
    """The numbers of an element; empty if it is missing or has no value.

    Binary integers are unsigned, whatever their value representation.

    Raises:
      UnreadableError: not numbers, or not finite.
    """
    level = _level(levels, keyword)
    if level is None:
        return ()
    raw = level.get_item(_tag(keyword))
    value = raw.value if raw is not None else None
    try:
        if not isinstance(value, bytes):
            value = level[_tag(keyword)].value
            parts = value if isinstance(value, list | tuple) or _is_multiple(value) else [value]
        elif dictionary_VR(_tag(keyword)) in ("DS", "IS"):
            parts = [part.strip(" \0\n\r\t") for part in value.decode("latin-1").split("\\")]
        else:
            order = "little" if getattr(raw, "is_little_endian", True) else "big"
            parts = [int.from_bytes(value, order)] if value else []  # type: ignore[arg-type]
        found = tuple(float(part) for part in parts if part not in ("", None))
        if len(found) not in (0, len(parts)) or not all(map(math.isfinite, found)):
            raise ValueError
    except (ValueError, TypeError, OverflowError, NotImplementedError, AttributeError):
        raise UnreadableError(f"{described(keyword)} is {_shown(value)}") from None
    return found


def number(levels: Sequence[Dataset], keyword: str) -> float | None:
    """The first number of an element; None if it is missing or has no value.

    Raises:
      UnreadableError: as `numbers`.
    """
    found = numbers(levels, keyword)
    return found[0] if found else None


def whole(levels: Sequence[Dataset], keyword: str) -> int | None:
    """As `number`, for whole numbers; others count as missing."""
    try:
        found = number(levels, keyword)
    except UnreadableError:
        return None
    return int(found) if found is not None and found == int(found) else None


def has(levels: Sequence[Dataset], keyword: str) -> bool:
    """Whether an element is there, even without a value."""
    return _level(levels, keyword) is not None


def _level(levels: Sequence[Dataset], keyword: str) -> Dataset | None:
    tag = _tag(keyword)
    return next((level for level in levels if tag in level), None)


@functools.cache
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def _is_multiple(value: object) -> bool:
    """Whether a converted value is one of pydicom's lists."""
    return hasattr(value, "__iter__") and not isinstance(value, str)


def _shown(value: object) -> str:
    shown = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return repr(shown.strip(" \0")[:40])
