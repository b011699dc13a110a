"""Compiled programs, how long they took to compile, and what XLA says that they cost."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Cost:
    """Costs of one call, as XLA counts them in the compiled program.

    A loop is counted once, however often it runs. Integer operations count as well.
    """

    flops: float
    bytes: float
    """Bytes read and written by all kernels, whether they come from memory or from a cache."""
    memory: int
    """Bytes that arguments, results and temporary arrays take at once."""
    lower_s: float = 0.0
    """Tracing and lowering."""
    compile_s: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """The costs of two programs that run one after the other."""
        return Cost(
            self.flops + other.flops,
            self.bytes + other.bytes,
            max(self.memory, other.memory),
            self.lower_s + other.lower_s,
            self.compile_s + other.compile_s,
        )

    def __mul__(self, times: int) -> "Cost":
        """The costs of several calls; it is compiled once."""
        return dataclasses.replace(self, flops=times * self.flops, bytes=times * self.bytes)


def compiled(trace: Callable[[], jax.stages.Traced]) -> tuple[jax.stages.Compiled, Cost]:
    """Trace, lower and compile a program. Its time is right only where no cache is used."""
    begin = time.perf_counter()
    lowered = trace().lower()
    middle = time.perf_counter()
    program = lowered.compile()
    end = time.perf_counter()
    counted = cost_of(program)
    return program, dataclasses.replace(counted, lower_s=middle - begin, compile_s=end - middle)


def cost_of(program: jax.stages.Compiled) -> Cost:
    """The costs of a compiled program; NaN and 0 where the platform does not count them."""
    analysis: Any = program.cost_analysis() or {}
    if isinstance(analysis, list):
        analysis = analysis[0]
    memory: Any = program.memory_analysis()
    held = 0
    if memory is not None:
        held = (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )
    return Cost(
        float(analysis.get("flops", float("nan"))),
        float(analysis.get("bytes accessed", float("nan"))),
        int(held),
    )
