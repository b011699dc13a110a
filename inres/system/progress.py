"""Progress: the bar of every long step, and steps that are told to another program."""

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
Step = Callable[[str, float | None], None]
"""Called at each step of a long task with what is done next, and with the share of the step that is
done, 0 to 1, or None where that is not known. An exception that it raises ends the task."""


def untold(what: str, done: float | None) -> None:
    """The `Step` that does nothing."""


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
