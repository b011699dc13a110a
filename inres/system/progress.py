"""The progress bar of every long step."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]\n"


def progress(steps: Iterable[T], *, name: str, total: int | None = None, unit: str = "it") -> tqdm:
    """Iterate over `steps` with a progress bar on standard error, with rate and remaining time.

    If standard error is not a terminal (a log file), a line is printed every ten seconds. The
    returned object also has tqdm's `update`.
    """
    shown = sys.stderr.isatty()
    interval = 0.2 if shown else 10.0
    return tqdm(
        steps,
        desc=name,
        total=total,
        unit=unit,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
        dynamic_ncols=True,
        bar_format=None if shown else _LINE,
    )
