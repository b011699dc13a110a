"""One look for every long step: a bar with a rate and the time left."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(steps: Iterable[T], *, name: str, total: int | None = None, unit: str = "it") -> tqdm:
    """Iterate over `steps` with a progress bar on standard error; also gives `.update()`.

    Where standard error is no terminal (a log file), a line is printed every ten seconds.
    """
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(
        steps,
        desc=name,
        total=total,
        unit=unit,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
        dynamic_ncols=True,
    )
