"""The timing protocol: rivals take turns, and rounds disturbed by other programs do not count.

A time is that of one call whose result has arrived on the host. Every rival has one turn in each
round, so that a slow period affects all of them. A turn starts with a pause, because a peer's
threads may keep spinning after its last call, and with an untimed call, so that the caches hold
this rival's data. A round in which other programs used the processors is discarded. The reported
time is the median over the remaining rounds, with quartiles.
"""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from inres.system import processes

PAUSE_SECONDS = 0.01
T = TypeVar("T")
LEAST_ROUNDS = 3
"""With fewer undisturbed rounds, all rounds count and the timing is marked as disturbed."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Times of one rival."""

    seconds: np.ndarray
    """float64 [rounds], one time per round that counts."""
    disturbed: bool
    """Whether too few rounds were undisturbed, so that all of them count."""

    @property
    def median(self) -> float:
        """Median time in seconds."""
        return float(np.median(self.seconds))

    def summary(self) -> dict[str, Any]:
        """Median, quartiles and minimum in milliseconds, number of rounds, `disturbed`."""
        low, middle, high = 1e3 * np.percentile(self.seconds, (25, 50, 75))
        return {
            "ms": round(float(middle), 4),
            "ms_quartiles": [round(float(low), 4), round(float(high), 4)],
            "ms_best": round(float(1e3 * self.seconds.min()), 4),
            "rounds": len(self.seconds),
            "disturbed": self.disturbed,
        }


def interleaved(
    rivals: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    round_seconds: float = 0.2,
    others_share: float = 0.1,
) -> dict[str, Timing]:
    """Time several rivals in alternating turns.

    Args:
      rivals: functions that return once their result is ready. Each is first called once untimed.
      rounds: number of rounds. Within a round every rival runs several times; the median counts.
      round_seconds: minimum length of a round; long enough to notice other programs.
      others_share: largest share of the processors that other programs may use in a round.

    Returns:
      One `Timing` per rival.
    """
    for call in rivals.values():
        call()
    measured = [_round(rivals, round_seconds) for _ in range(rounds)]
    # An unknown load is NaN, which is not above the limit.
    calm = np.array([not load > others_share for _, load in measured])
    disturbed = bool(calm.sum() < LEAST_ROUNDS)
    keep = np.ones(rounds, bool) if disturbed else calm
    return {
        name: Timing(np.array([seconds[name] for seconds, _ in measured])[keep], disturbed)
        for name in rivals
    }


def _round(
    rivals: Mapping[str, Callable[[], Any]], round_seconds: float
) -> tuple[dict[str, float], float]:
    """Seconds of each rival, and the share of the processors that other programs used meanwhile."""
    start, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()
    seconds = {}
    for name, call in rivals.items():
        time.sleep(PAUSE_SECONDS)
        seconds[name] = float(np.median(_turn(call, round_seconds / len(rivals))))
    available = (time.perf_counter() - start) * processes.cores()
    others = (_busy_seconds() - busy) - (time.process_time() - own)
    return seconds, others / available


def _turn(call: Callable[[], Any], seconds: float) -> list[float]:
    """Times of calls that fill `seconds`; the first one is dropped if at least two follow."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        taken.append(seconds_of(call))
    return taken[1:] if len(taken) > 2 else taken


def fastest(options: Sequence[T], attempt: Callable[[T], Any], *, seconds: float = 0.03) -> T:
    """The option for which `attempt(option)` takes the least time, measured for `seconds` each."""
    if len(options) == 1:
        return options[0]
    taken = []
    for option in options:
        attempt(option)
        taken.append(float(np.median(_turn(functools.partial(attempt, option), seconds))))
    return options[int(np.argmin(taken))]


def _busy_seconds() -> float:
    """Processor seconds used by all programs since the machine started; NaN where unknown."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return float("nan")
    user, nice, system, _, _, irq, soft, steal = (float(x) for x in fields)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def seconds_of(call: Callable[[], Any]) -> float:
    """Duration of one call in seconds."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def percentiles(call: Callable[[int], Any], *, calls: int) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds of the calls `call(0)`, `call(1)`, ..."""
    call(0)
    taken = [seconds_of(functools.partial(call, i)) for i in range(calls)]
    return {
        f"p{share}_ms": round(float(1e3 * np.percentile(taken, share)), 4) for share in (50, 95, 99)
    }
