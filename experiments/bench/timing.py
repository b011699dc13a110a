"""The timing protocol: rivals take turns in one run, and disturbed rounds do not count.

A time is that of one call with its result on the host. In a round each rival has its turn, so that
a slow spell meets them all; a turn begins with a pause, since a peer's threads may go on spinning
after its last call, and with an untimed call, so that caches hold the rival's own data. A round in
which other programs used the processors is set aside; what is reported is the median over rounds,
and its spread.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one rival."""

    seconds: np.ndarray
    """float64 [rounds], undisturbed rounds only, unless there were too few."""
    disturbed: bool
    """Too few rounds were undisturbed, so all of them count."""

    @property
    def median(self) -> float:
        """Seconds."""
        return float(np.median(self.seconds))

    def summary(self) -> dict[str, Any]:
        """Milliseconds: median, quartiles, best; and whether others disturbed."""
        low, middle, high = 1e3 * np.percentile(self.seconds, (25, 50, 75))
        return {
            "ms": round(float(middle), 4),
            "ms_quartiles": [round(float(low), 4), round(float(high), 4)],
            "ms_best": round(float(1e3 * self.seconds.min()), 4),
            "rounds": len(self.seconds),
            "disturbed": self.disturbed,
        }


def _busy_seconds() -> float:
    """Processor seconds used by all programs since the machine started; NaN where unknown."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return float("nan")
    user, nice, system, _, _, irq, soft, steal = (float(x) for x in fields)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


PAUSE_SECONDS = 0.01


def _turn(call: Callable[[], Any], seconds: float) -> list[float]:
    """Times of calls that fill `seconds`, without the first where it is not most of the turn."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return taken[1:] if len(taken) > 2 else taken


def interleaved(
    rivals: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    round_seconds: float = 0.2,
    others_share: float = 0.1,
) -> dict[str, Timing]:
    """Time the rivals in turns.

    Args:
      rivals: calls that return only when their result is ready. Each is called once untimed.
      rounds: rounds; in each, every rival runs several times and its median counts.
      round_seconds: least length of a round, long enough to see other programs' use.
      others_share: share of the processors that others may use in a round that counts.

    Returns:
      One `Timing` a rival.
    """
    for call in rivals.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    calm = []
    for _ in range(rounds):
        taken: dict[str, list[float]] = {}
        start, busy, own = time.perf_counter(), _busy_seconds(), time.process_time()
        for name, call in rivals.items():
            time.sleep(PAUSE_SECONDS)
            taken[name] = _turn(call, round_seconds / len(rivals))
        length = (time.perf_counter() - start) * len(os.sched_getaffinity(0))
        others = (_busy_seconds() - busy) - (time.process_time() - own)
        calm.append(not others > others_share * length)
        for name in rivals:
            seconds[name].append(float(np.median(taken[name])))
    keep = np.array(calm)
    disturbed = bool(keep.sum() < 3)
    if disturbed:
        keep[:] = True
    return {name: Timing(np.array(values)[keep], disturbed) for name, values in seconds.items()}


def percentiles(call: Callable[[int], Any], *, calls: int) -> dict[str, float]:
    """Milliseconds of single calls `call(0)`, `call(1)`, ...: p50, p95, p99."""
    call(0)
    taken = []
    for i in range(calls):
        begin = time.perf_counter()
        call(i)
        taken.append(time.perf_counter() - begin)
    return {
        f"p{share}_ms": round(float(1e3 * np.percentile(taken, share)), 4) for share in (50, 95, 99)
    }
