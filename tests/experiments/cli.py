"""How the end-to-end tests run the command line."""

import csv
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMOKE = "--config=experiments/configs/smoke.py"
# Compiling the programs well takes longer than running them.
ENVIRONMENT = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def command(module, *args):
    return [sys.executable, "-m", f"experiments.{module}", *map(str, args)]


def call(module, *args):
    return subprocess.run(
        command(module, *args),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def refused(module, *args):
    """The one line with which a command refuses."""
    done = call(module, *args)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return done.stderr[done.stderr.index("error: ") :]


def results(stem):
    with open(f"{stem}.csv", newline="") as file:
        return list(csv.DictReader(file))
