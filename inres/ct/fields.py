"""Numbers and file names in the headers of scans, as strictly as SimpleITK reads them.

Python also takes `2_5` and digits of other scripts for numbers. SimpleITK takes as much of such a
text as it understands, without a message.
"""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_PATTERN = re.compile(r"[^%]*%[0-9]{0,2}d[^%]*")
MOST_FILES = 1 << 16
"""Files that the voxels of a scan may have, one for each slice."""


def numbers(words: Sequence[str]) -> list[float]:
    """The finite numbers that `words` are; empty if one of them is none."""
    return [float(word) for word in words] if all(map(_NUMBER.fullmatch, words)) else []


def wholes(words: Sequence[str]) -> list[int]:
    """The whole numbers that `words` are; empty if one of them is none."""
    return [int(word) for word in words] if all(map(_WHOLE.fullmatch, words)) else []


def numbered(pattern: str, words: Sequence[str]) -> range | None:
    """The numbers in the names of files such as `slice%03d.raw`; None if this is no such pattern.

    A pattern with another code, such as `%s`, crashes SimpleITK.

    Args:
      pattern: the name of a file, with one whole number.
      words: the first and last number and their step.
    """
    found = wholes(words[:3])
    if len(found) != 3 or not found[2] or not _PATTERN.fullmatch(pattern):
        return None
    first, last, step = found
    return range(first, last + (1 if step > 0 else -1), step)
