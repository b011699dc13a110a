"""Numbers and file names in the headers of scans, as strictly as SimpleITK reads them.

Python also takes `2_5` and digits of other scripts for numbers. SimpleITK takes as much of such a
text as it understands, without a message.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from inres.ct.header import ScanError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_PATTERN = re.compile(r"[^%]*%[0-9]{0,2}d[^%]*")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""Control characters, but for a tab."""
LONGEST_LINE = 4000
"""Bytes of a line of a header. Readers divide longer ones differently."""
LONGEST_NAME = 1000
"""Bytes of the name of a data file."""
MOST_FILES = 1 << 16
"""Files that the voxels of a scan may have, one for each slice."""


def read_line(file: BinaryIO, path: Path) -> str:
    """The next line of the header of `path` without its end; empty at the end of the file.

    A line in which SimpleITK may see another one, or another name of a file, is refused: the files
    that a header names are checked before SimpleITK opens them.

    Raises:
      ScanError: it is too long, or has control characters.
    """
    line = file.readline(LONGEST_LINE + 2).rstrip(b"\r\n")
    if len(line) > LONGEST_LINE:
        raise ScanError(f"{path}: a line of its header is too long; shorten or fetch it again")
    if _CONTROL.search(line):
        raise ScanError(f"{path}: control characters in its header; remove them or fetch it again")
    return os.fsdecode(line)


def split_list(text: bytes, path: Path) -> str:
    """The names of files that follow a header, one a line.

    Raises:
      ScanError: as `read_line`.
    """
    for line in text.split(b"\n"):
        if len(line) > LONGEST_NAME or _CONTROL.search(line.rstrip(b"\r")):
            raise ScanError(f"{path}: a name of its data files cannot be used; rename the file")
    return os.fsdecode(text)


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
