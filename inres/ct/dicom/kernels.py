"""Reconstruction kernels: which are smooth enough for HU, by the names that vendors give them."""

import re

_SIEMENS = re.compile(r"^[A-Z][a-z]?(\d{2})[a-z]?")
"""B30f, Br40d, I31f, T20s: the number is the sharpness."""
_CANON = re.compile(r"^FC(\d{2})")
"""FC01 to FC19 soft tissue, FC20 to FC29 head, from FC30 bone and lung."""
_PHILIPS = {name: name in "ABC" for name in ("A", "B", "C", "D", "E", "L", "YA", "YB", "YC", "YD")}
"""Whether it is soft, by name."""
_SOFT = re.compile(r"\b(STANDARD|STND|STD|SOFT|SMOOTH|MEDIASTIN\w*)\b", re.I)
_SHARP = re.compile(r"\b(LUNG|BONE\w*|EDGE|SHARP|DETAIL)\b", re.I)

SOFT, UNKNOWN, SHARP = 0, 1, 2


def sharpness(kernel: str, description: str = "") -> int:
    """`SOFT`, `UNKNOWN` or `SHARP`, by ConvolutionKernel or else by SeriesDescription.

    >>> sharpness("B30f"), sharpness("FC51"), sharpness("LUNG"), sharpness("", "Thorax 1.0")
    (0, 2, 2, 1)
    """
    name = kernel.split("\\")[0].strip()
    if match := _CANON.match(name):
        return SOFT if int(match[1]) < 20 else SHARP
    if match := _SIEMENS.match(name):
        return SOFT if int(match[1]) < 50 else SHARP
    if name in _PHILIPS:
        return SOFT if _PHILIPS[name] else SHARP
    for words in (name, description) if name else (description,):
        soft, sharp = _SOFT.search(words), _SHARP.search(words)
        if bool(soft) != bool(sharp):
            return SOFT if soft else SHARP
    return UNKNOWN
