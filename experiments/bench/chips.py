"""Peak rates of accelerators, from their makers' data sheets, and measured rates of other devices.

Rates are those of dense matrices, without sparsity. `float32` is the rate at which XLA multiplies
float32 matrices at its default precision: TF32 on NVIDIA GPUs since Ampere, and the bfloat16 units
on TPUs.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench import timing


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak rates of one chip."""

    name: str
    kinds: tuple[str, ...]
    """Words in the device's kind, as JAX reports it (`device.device_kind`)."""
    bandwidth: float
    """Bytes of memory per second."""
    float32: float
    """Floating-point operations per second, see above."""
    bfloat16: float
    """The same for bfloat16; for the T4, which has no bfloat16, float16."""
    measured: bool = False
    """Whether the rates were measured on this device instead."""


CHIPS = (
    Chip("H200", ("H200",), 4.8e12, 494.7e12, 989.4e12),
    Chip("H100 PCIe", ("H100 PCIe",), 2.0e12, 378e12, 756e12),
    Chip("H100 NVL", ("H100 NVL",), 3.9e12, 417.5e12, 835.5e12),
    Chip("H100 SXM", ("H100",), 3.35e12, 494.7e12, 989.4e12),
    Chip("A100 SXM 80 GB", ("A100-SXM4-80GB", "A100-SXM-80GB"), 2.039e12, 156e12, 312e12),
    Chip("A100 PCIe 80 GB", ("A100 80GB PCIe", "A100-PCIE-80GB"), 1.935e12, 156e12, 312e12),
    Chip("A100 40 GB", ("A100",), 1.555e12, 156e12, 312e12),
    Chip("L4", ("L4",), 0.3e12, 60e12, 121e12),
    Chip("T4", ("T4",), 0.32e12, 8.1e12, 65e12),
    Chip("TPU v4", ("TPU v4",), 1.2e12, 275e12, 275e12),
    Chip("TPU v5e", ("TPU v5 lite", "TPU v5e"), 0.819e12, 197e12, 197e12),
    Chip("TPU v5p", ("TPU v5", "TPU v5p"), 2.765e12, 459e12, 459e12),
    Chip("TPU v6e", ("TPU v6 lite", "TPU v6e"), 1.64e12, 918e12, 918e12),
)
"""The first chip whose kind matches counts, so narrower kinds come first."""
FIELDS = ("bandwidth", "float32", "bfloat16")


def chip_of(kind: str) -> Chip | None:
    """The chip of a device's kind; None if it is not in the table."""

    def named(words: str) -> bool:
        return re.search(rf"\b{re.escape(words)}\b", kind) is not None

    return next((chip for chip in CHIPS if any(map(named, chip.kinds))), None)


def peaks(kind: str, given: Mapping[str, float]) -> Chip:
    """The chip's peak rates, or measured ones if it is not in the table.

    Args:
      kind: the device's kind.
      given: rates by field that replace those of the table; 0: not given.
    """
    known: dict[str, Any] = {field: given[field] for field in FIELDS if given.get(field)}
    chip = chip_of(kind)
    if chip is None:
        chip = Chip(kind, (kind,), 0.0, 0.0, 0.0) if len(known) == len(FIELDS) else measured(kind)
    return dataclasses.replace(chip, **known)


def measured(kind: str, *, side: int = 2048, words: int = 1 << 26) -> Chip:
    """Rates of the default device: copying an array, and multiplying matrices.

    Args:
      kind: the device's kind.
      side: of the square matrices.
      words: length of the float32 array that is copied.
    """
    array = jnp.ones(words)
    moved = 2 * array.nbytes / _best(jax.jit(lambda x: x + 1), array)
    rates = {}
    for dtype in ("float32", "bfloat16"):
        matrix = jnp.ones((side, side), dtype)
        rates[dtype] = 2 * side**3 / _best(jax.jit(lambda x: x @ x), matrix)
    return Chip(kind, (kind,), moved, rates["float32"], rates["bfloat16"], measured=True)


def _best(program: jax.stages.Wrapped, argument: jax.Array, *, calls: int = 10) -> float:
    """Shortest time of a call in seconds; the first, which compiles, does not count."""

    def call() -> None:
        jax.block_until_ready(program(argument))

    call()
    return min(timing.seconds_of(call) for _ in range(calls))
