"""How the end-to-end tests run the command line."""

import csv
import functools
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

import pytest
import quick

ROOT = Path(__file__).resolve().parents[2]
SMOKE = "--config=experiments/configs/smoke.py"

IMPORTED = [
    *("jax", "flax.linen", "optax", "orbax.checkpoint", "matplotlib.figure", "scipy.stats"),
    *("SimpleITK", "ml_collections", "absl.app", "grain.python", "tensorboardX"),
    *("inres.archive", "inres.pipeline.run", "inres.pipeline.judge", "inres.report.build"),
    *("inres.searching.table", "inres.sources.phantom", "inres.studies.ablation"),
    *("inres.studies.run_comparison",),
]
"""What most commands import."""


def command(module, *args):
    return [sys.executable, "-m", f"experiments.{module}", *map(str, args)]


def call(module, *args):
    """Result of a command: the first call of each module starts Python, later calls fork."""
    if _is_first_call(module):
        return subprocess.run(
            command(module, *args),
            cwd=ROOT,
            env=quick.environment(),
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
    return _forked(module, *args)


def _is_first_call(module):
    """Whether no process of this test session has called the module."""
    try:
        (Path(os.environ["INRES_TEST_SESSION"]) / f"{module}.called").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _forked(module, *args):
    """Result of a command in a process forked after the imports, which take seconds."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = _forks().Process(target=_work, args=(module, [*map(str, args)], outputs))
        process.start()
        process.join()
        output = [path.read_text(encoding="utf-8") for path in outputs]
    return subprocess.CompletedProcess(command(module, *args), process.exitcode, *output)


@functools.cache
def _forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quick.environment().items():
            patch.setenv(name, value)
        forkserver.ensure_running()
    return context


def _work(module, args, outputs):
    for handle, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), handle)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.argv = [module, *args]
    runpy.run_module(f"experiments.{module}", run_name="__main__", alter_sys=True)


def refused(module, *args):
    """The error message of a command that must fail with exactly one error and no traceback."""
    done = call(module, *args)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return done.stderr[done.stderr.index("error: ") :]


def results(stem):
    with open(f"{stem}.csv", newline="") as file:
        return list(csv.DictReader(file))
