"""Runs the checks of an accelerator, each in a process of its own (see `accelerator_check`)."""

import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.bench import device_checks
from inres.system import files

ROOT = Path(__file__).resolve().parents[2]
LONGEST_CHECK_S = 120.0
BENCHMARKS = {
    "benchmark of the search": (200.0, ("encoding", "segmentation", "coarse", "two_stages")),
    "benchmark of training": (300.0, ("training",)),
}
"""Longest duration in seconds, and the parts of the benchmark."""
SMALL_FLAGS = (
    "--config.sizes=(3000,)", "--config.queries=(1, 4)", "--config.k=10", "--config.dims=8",
    "--config.rounds=1", "--config.round_seconds=0.01", "--config.pytorch=False",
    "--config.networks.light.items.size_px=16", "--config.networks.light.train.batch=4",
    "--config.networks.light.segment.size_px=32", "--config.networks.light.segment.batch=2",
    "--config.networks.paper.items.size_px=32", "--config.networks.paper.train.batch=2",
    "--config.networks.paper.model.fc1=16", "--config.networks.volume.items.cube_px=9",
    "--config.networks.volume.train.batch=2",
    "--config.peaks.bandwidth=1e10", "--config.peaks.float32=1e11", "--config.peaks.bfloat16=1e11",
)  # fmt: skip


def names() -> list[str]:
    """All checks in the order in which they run."""
    return [*device_checks.CHECKS, *BENCHMARKS]


def run_all(chosen: list[str], out: Path, *, small: bool, limit_s: float) -> dict[str, Any]:
    """Run checks one after the other and write the record after each.

    Returns:
      The record: date, duration, environment, and by name whether each check passed, how long it
      took, and its result or error.
    """
    start = time.monotonic()
    record: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "small": small,
        "checks": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen:
            left = limit_s - (time.monotonic() - start)
            begin = time.monotonic()
            found = _run(name, Path(scratch), small=small, seconds=left)
            found["seconds"] = round(time.monotonic() - begin, 1)
            record["checks"][name] = found
            record["seconds"] = round(time.monotonic() - start, 1)
            record["passed"] = all(check["passed"] for check in record["checks"].values())
            files.write_json(out, record)
            words = "passed" if found["passed"] else f"FAILED: {found['error'].splitlines()[-1]}"
            print(f"{name}: {words} ({found['seconds']} s)", flush=True)
    return record


def _run(name: str, scratch: Path, *, small: bool, seconds: float) -> dict[str, Any]:
    """Run one check in a process of its own for at most so long."""
    if seconds <= 1:
        return {"passed": False, "error": "not run: no time was left"}
    folder = scratch / name.replace(" ", "_")
    folder.mkdir()
    if name in BENCHMARKS:
        longest, parts = BENCHMARKS[name]
        result = folder / "accelerator.json"
        command = [
            "-m", "experiments.bench",
            f"--config={ROOT / 'experiments/configs/bench_accelerator.py'}",
            f"--workdir={folder}", f"--config.run={parts}", *(SMALL_FLAGS if small else ()),
        ]  # fmt: skip
    else:
        longest = LONGEST_CHECK_S
        result = folder / "result.json"
        command = ["-m", "experiments.bench.accelerator_check", f"--one={name}", f"--out={result}"]
        command += ["--small"] if small else []
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if small:  # compiles in half the time
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    try:
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=min(longest, seconds),
            env=environment,
        )
        error = _error_of(done)
    except subprocess.TimeoutExpired:
        error = f"stopped after {min(longest, seconds):.0f} s"
    found: dict[str, Any] = {"passed": not error}
    if result.is_file():  # of a benchmark that was stopped: what it had until then
        found["result"] = files.read_json(result)
    if error:
        found["error"] = error.strip()[-4000:]
    return found


def _error_of(done: subprocess.CompletedProcess[str]) -> str:
    """What an ended process wrote to standard error if it failed, and the signal that killed it."""
    if done.returncode < 0:
        return f"{done.stderr}\nended by {signal.Signals(-done.returncode).name}"
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
