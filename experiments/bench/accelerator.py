"""Training, encoding, segmentation and search on one accelerator, or on a CPU for comparison.

Called by `experiments.bench`. Every program is compiled by itself, without a cache; its costs are
those that XLA counts in the compiled program, and the achieved rates are compared with the peak
rates of the chip (`chips`). Answers of searches are compared with NumPy's before they are timed.
Writes accelerator.json, accelerator.md and roofline.png, .svg and .pdf to the workdir. Sizes that
do not fit and programs that are not installed are listed as left out.
"""

import gc
import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.bench import accelerator_networks, accelerator_search, chips, roofline
from experiments.bench.accelerator_case import Case, measure
from inres.config import ConfigError
from inres.system import compile_cache, files, memory, processes, tables

PARTS = ("training", "encoding", "segmentation", "coarse", "two_stages")
COLUMNS = {
    "number": "",
    "part": "part",
    "case": "case",
    "program": "program",
    "dtype": "type",
    "ms": "ms",
    "queued_ms": "ms, queued",
    "per_second": "per second",
    "gigabytes": "GB",
    "gigaflops": "Gflop",
    "bandwidth_share": "of peak bandwidth",
    "flops_share": "of peak flop/s",
    "times_reading_codes": "times reading the codes",
    "compile_s": "compile, s",
    "program_gb": "memory, GB",
    "peak_gb": "device peak, GB",
}


def environment() -> dict[str, Any]:
    """Device, versions and flags."""
    device = jax.local_devices()[0]
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "faiss-cpu", "libtpu")
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "platform_version": getattr(device.client, "platform_version", ""),
        "cores": processes.cores(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": {name: version for name in packages if (version := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def cases(config: ConfigDict, messages: list[str]) -> Iterator[Case]:
    """The cases of all parts of `config.run`; appends what is left out to `messages`.

    Raises:
      ConfigError: there is no such part.
    """
    for part in config.run:
        if part not in PARTS:
            raise ConfigError(f"config.run = {part!r}: must be among {', '.join(PARTS)}")
    if "training" in config.run:
        yield from accelerator_networks.training_cases(config, messages)
    if "encoding" in config.run:
        yield from accelerator_networks.encoding_cases(config)
    if "segmentation" in config.run:
        yield from accelerator_networks.segmentation_cases(config)
    if "coarse" in config.run:
        yield from accelerator_search.coarse_cases(config, messages)
    if "two_stages" in config.run:
        yield from accelerator_search.two_stage_cases(config, messages)


def measure_accelerator(config: ConfigDict, workdir: Path) -> None:
    """Measure every case and write the results after each, so that none is lost.

    Raises:
      ConfigError: an unknown part.
      RuntimeError: an answer is wrong.
    """
    # JAX otherwise takes most of a GPU's memory, and PyTorch needs some.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    compile_cache.keep_programs("off")
    memory.keep_freed_memory()
    around = environment()
    chip = chips.peaks(around["device"], config.peaks)
    messages: list[str] = []
    rows: list[dict[str, Any]] = []
    for case in cases(config, messages):
        rows += measure(case, config, chip)
        del case
        gc.collect()
        _write(config, workdir, around, chip, rows, messages)
    print(_write(config, workdir, around, chip, rows, messages))
    stem = workdir / "roofline"
    print(workdir / "accelerator.json", *roofline.plot(rows, chip, stem), sep="\n")


def _write(
    config: ConfigDict,
    workdir: Path,
    around: dict[str, Any],
    chip: chips.Chip,
    rows: list[dict[str, Any]],
    messages: list[str],
) -> str:
    """Write the results so far; returns the text of accelerator.md."""
    rates = {field: getattr(chip, field) for field in chips.FIELDS}
    record = {
        "environment": around,
        "chip": {"name": chip.name, **rates, "measured": chip.measured},
        "rows": rows,
        "left_out": messages,
    }
    files.write_json(workdir / "accelerator.json", record)
    named = {name: number for number, name in roofline.numbers(rows).items()}
    table = tables.write_markdown(
        workdir / "accelerator.md", COLUMNS, [_shown(row, named) for row in rows]
    )
    kind = "measured by copying and by multiplying matrices" if chip.measured else "data sheet"
    peak = (
        f"{chip.name}: {chip.bandwidth / 1e9:.4g} GB/s, {chip.float32 / 1e12:.3g} Tflop/s float32, "
        f"{chip.bfloat16 / 1e12:.3g} Tflop/s bfloat16 ({kind})."
    )
    left_out = "".join(f"\n- {message}" for message in messages)
    text = f"{peak}\n\n{table}" + (f"\nLeft out:\n{left_out}\n" if left_out else "")
    files.write_text(workdir / "accelerator.md", text)
    return text


def _shown(row: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    """A row with the units of the table."""
    ours = row["program"] == "inres"
    number = numbers.get(f"{row['part']}, {row['case']}, {row['dtype']}") if ours else None

    def giga(name: str) -> float | None:
        value = row.get(name)
        return None if value is None else value / 1e9

    return {
        **row,
        "number": number,
        "gigabytes": giga("bytes"),
        "gigaflops": giga("flops"),
        "program_gb": giga("program_memory_bytes"),
        "peak_gb": giga("peak_memory_bytes"),
    }
