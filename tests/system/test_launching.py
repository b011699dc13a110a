"""Several processes of one command, started and ended as one. None of them imports JAX here."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import children, is_running

from inres.system import launching

ROOT = Path(__file__).resolve().parents[2]

CHILD = """if True:
    import os, signal, sys, time
    flags = dict(argument[2:].split("=") for argument in sys.argv[2:])
    kind, index = sys.argv[1], int(flags.get("process", 0))
    print(f"output of {index}", flush=True)
    print(f"progress of {index}", file=sys.stderr, flush=True)
    def wait():
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print(f"interrupted {index}", file=sys.stderr, flush=True)
            sys.exit(130)
    if kind == "flags" and index == 0:
        names = ("NPROC", "OMP_NUM_THREADS", "JAX_LOCAL_DEVICE_IDS")
        print(sorted(flags), flags["processes"], [os.environ.get(name) for name in names])
    if kind == "error" and index == 2:
        print("error: process 2: no such file", file=sys.stderr)
        sys.exit(3)
    if kind == "silent error" and index == 1:
        sys.exit(4)
    if kind == "leader" and index == 0:
        print("error: refused", file=sys.stderr)
        sys.exit(5)
    if kind == "leader" and index == 1:
        sys.exit(1)  # as those that notice that process 0 has ended
    if kind == "kill" and index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if index == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    if kind != "flags":
        wait()
"""


def start(kind, processes, **options):
    program = f"""if True:
        import sys
        from inres.system import launching
        launching.TERM_S, launching.SETTLE_S = 1.0, 0.3
        sys.exit(launching.launch(["-c", {CHILD!r}, {kind!r}], {processes}))
    """
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **options,
    )


def run(kind, processes):
    child = start(kind, processes)
    output, error = child.communicate(timeout=40)
    return child.returncode, output, error


def test_process_0_is_shown_and_each_has_its_share(monkeypatch):
    for name in ("NPROC", "OMP_NUM_THREADS", "JAX_LOCAL_DEVICE_IDS"):
        monkeypatch.delenv(name, raising=False)
    status, output, error = run("flags", 2)
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    flags = "['coordinator', 'process', 'processes'] 2"
    assert output == f"output of 0\n{flags} ['{share}', '{share}', None]\n"
    assert (status, error) == (0, "progress of 0\n")


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("error", 3, "progress of 2\nerror: process 2: no such file\n"),
        ("leader", 5, "error: refused\n"),
        (
            "kill",
            137,
            "error: process 1 of 3 was ended by SIGKILL, and the others with it; run the",
        ),
        ("stubborn", 137, "error: process 0 of 3 was ended by SIGKILL, and the others with it;"),
    ],
)
def test_when_one_ends_all_end_with_one_message(kind, status, message):
    began = time.monotonic()
    found, _, error = run(kind, 3)
    assert found == status
    left = error.replace("progress of 0\n", "", 1)
    assert left.startswith(message)
    assert left.count("error:") == 1
    assert time.monotonic() - began < 20


def test_an_end_without_a_word_is_told():
    status, _, error = run("silent error", 2)
    assert status == 4
    assert error.endswith("progress of 1\nerror: process 1 of 2 ended with status 4\n")


def test_ctrl_c_ends_all_by_process_0():
    child = start("wait", 2, start_new_session=True)
    assert child.stdout.readline() == "output of 0\n"
    time.sleep(0.5)
    os.kill(child.pid, signal.SIGINT)
    _, error = child.communicate(timeout=20)
    assert child.returncode == 130
    assert error == "progress of 0\ninterrupted 0\n"


def test_nothing_is_left_of_a_launcher_that_is_killed(tmp_path):
    child = start("wait", 2, start_new_session=True)
    assert child.stdout.readline() == "output of 0\n"
    time.sleep(0.5)
    started = children(child.pid)
    assert len(started) == 2
    child.kill()
    child.communicate(timeout=20)
    until = time.monotonic() + 10
    while any(map(is_running, started)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_gpus_are_divided(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    shares = [launching.environment(i, 2)["JAX_LOCAL_DEVICE_IDS"] for i in range(2)]
    assert shares == ["0,1", "2,3,4"]
    with pytest.raises(ValueError, match="--processes=6: more than the 5 GPUs"):
        launching.environment(0, 6)
    for nothing in ("", "-1", "NoDevFiles", "-1,0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert "JAX_LOCAL_DEVICE_IDS" not in launching.environment(0, 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937, MIG-1,-1,2")
    assert launching.environment(1, 2)["JAX_LOCAL_DEVICE_IDS"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_LOCAL_DEVICE_IDS" not in launching.environment(0, 6)


@pytest.mark.parametrize(
    ("command", "processes", "message"),
    [([], 2, "no command; give it after --"), (["-m", "x"], 0, "--processes=0: must be at least")],
)
def test_impossible_commands_are_refused(command, processes, message):
    with pytest.raises(ValueError, match=message):
        launching.launch(command, processes)
