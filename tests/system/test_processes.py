"""Worker processes."""

import math
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import as_completed

import pytest

from inres.system import processes

# Without `if __name__ == "__main__"`, a process that imported it would start processes as well.
PROGRAM = """
import math
from inres.system import processes
print("read", flush=True)
with processes.running(math.factorial, [(n,) for n in range(6)], workers=2, start=print) as jobs:
    print([job.result() for job in jobs])
"""


def test_processes_do_not_import_the_program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n").count("read") == 1
    assert str([math.factorial(n) for n in range(6)]) in done.stdout


def test_processes_have_one_thread_each_and_the_program_keeps_its_setting(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    main = sys.modules["__main__"]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    jobs = [(name,) for name in names]
    with processes.running(os.getenv, jobs, workers=1, start=int) as found:
        assert [job.result() for job in found] == ["1", "1"]
    assert [os.getenv(name) for name in names] == ["7", None]
    assert sys.modules["__main__"] is main


def sleep_in_processes(*seconds):
    with processes.running(time.sleep, [(s,) for s in seconds], workers=2, start=int) as sleeps:
        for job in as_completed(sleeps):
            job.result()


def test_an_error_terminates_the_other_processes():
    began = time.monotonic()
    with pytest.raises(TypeError):
        sleep_in_processes("long", 60)
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()
