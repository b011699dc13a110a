"""One look for every long step: a bar with a rate and the time left."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]\n"


def progress(steps: Iterable[T], *, name: str, total: int | None = None, unit: str = "it") -> tqdm:
    """Iterate over `steps` with a progress bar on standard error; also gives `.update()`.

    Where standard error is no terminal (a log file), a line is printed every ten seconds.
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
