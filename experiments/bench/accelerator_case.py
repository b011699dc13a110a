"""One program of the accelerator benchmark: how it is called, what it costs, how long it takes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from experiments.bench.chips import Chip
from experiments.bench.compiled import Cost

MOST_QUEUED = 32
"""Calls that are queued at most before waiting for the last."""


@dataclasses.dataclass(frozen=True)
class Rival:
    """One of several programs that do the same."""

    queue: Callable[[], Any]
    """Starts a call; what it returns may still be computed."""
    wait: Callable[[Any], Any] = jax.block_until_ready
    """Waits for what `queue` returned."""
    compile_s: float | None = None
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Case:
    """A program of ours, and others that do the same."""

    part: str
    name: str
    amount: int
    """Images or queries per call."""
    ours: Rival
    cost: Cost
    rivals: Mapping[str, Rival] = dataclasses.field(default_factory=dict)
    least_bytes: int = 0
    """Bytes of the codes of all items, for a search."""
    checked: str = ""
    """What the answers were compared with."""


def measure(case: Case, config: ConfigDict, chip: Chip) -> list[dict[str, Any]]:
    """Time a case; returns a row for our program and one for each rival.

    `ms` is the time of a single call whose result is waited for, `queued_ms` that of one of several
    calls queued one after the other, without the time to start a program.
    """
    device = jax.local_devices()[0]
    rows = []
    for name, rival in {"inres": case.ours, **case.rivals}.items():
        row = {
            "part": case.part,
            "case": case.name,
            "program": name,
            "dtype": rival.dtype,
            "amount": case.amount,
            **_times(rival, config),
            "compile_s": rival.compile_s,
        }
        row["per_second"] = 1e3 * case.amount / row["queued_ms"]
        if rival is case.ours:
            row |= _shares(case, row["queued_ms"] / 1e3, chip)
            row["lower_s"] = case.cost.lower_s
            row["checked"] = case.checked
            stats = device.memory_stats() or {}
            row["peak_memory_bytes"] = stats.get("peak_bytes_in_use")
        rows.append(row)
    return rows


def _times(rival: Rival, config: ConfigDict) -> dict[str, Any]:
    def call() -> None:
        rival.wait(rival.queue())

    call()
    first = timing.seconds_of(call)
    if first > config.longest_call_seconds:
        once = round(1e3 * first, 4)
        return {"ms": once, "queued_ms": once, "rounds": 1, "disturbed": None}
    many = int(np.clip(config.round_seconds / first, 1, MOST_QUEUED))

    def queued() -> None:
        for _ in range(many):
            last = rival.queue()
        rival.wait(last)

    measured = timing.interleaved(
        {"one": call, "many": queued}, rounds=config.rounds, round_seconds=config.round_seconds
    )
    return {
        **measured["one"].summary(),
        "queued_ms": round(1e3 * measured["many"].median / many, 4),
        "disturbed": measured["one"].disturbed,
    }


def _shares(case: Case, seconds: float, chip: Chip) -> dict[str, Any]:
    """Costs of a call, and the achieved shares of the chip's peak rates."""
    cost = case.cost
    moves, works = cost.bytes / seconds, cost.flops / seconds
    # Searches work on integers, for which there is no peak in the table.
    peak = 0.0 if case.least_bytes else getattr(chip, case.ours.dtype)
    shares = {
        "bytes": cost.bytes,
        "flops": cost.flops,
        "program_memory_bytes": cost.memory,
        "bytes_per_second": moves,
        "flops_per_second": works,
        "bandwidth_share": moves / chip.bandwidth,
        "flops_share": works / peak if peak else None,
    }
    if case.least_bytes:
        reading = case.least_bytes / chip.bandwidth
        shares |= {"codes_bytes": case.least_bytes, "times_reading_codes": seconds / reading}
    return shares
