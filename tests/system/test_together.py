"""Work that the processes of one command share."""

import json
import os
import subprocess
import sys

import jax
import pytest
import together_worker

from inres.system import together
from inres.system.launching import free_port

SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_LOCALID": "0"}


def run(kind, processes, *, by_slurm=False):
    """(status, standard output, standard error) of each process."""
    port = free_port()
    children = []
    for index in range(processes):
        command, variables = [sys.executable, together_worker.__file__, kind], dict(os.environ)
        if by_slurm:
            variables |= SLURM | {"SLURM_NTASKS": str(processes), "SLURM_PROCID": str(index)}
            variables["JAX_COORDINATOR_PORT"] = str(port)
        else:
            command += [f"localhost:{port}", str(processes), str(index)]
        variables |= {"PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        children.append(subprocess.Popen(command, env=variables, **pipes))
    try:
        outputs = [child.communicate(timeout=60) for child in children]
    finally:
        for child in children:
            child.kill()
    return [(child.returncode, *output) for child, output in zip(children, outputs, strict=True)]


def said(output):
    found = {}
    for line in output.splitlines():
        found |= json.loads(line) if line.startswith("{") else {}
    return found


def test_one_process_does_all_and_nothing_is_sent():
    assert together.together(together_worker.squares, [1, 2]) == [(1, 0, 1), (2, 0, 4)]
    assert list(together.each_together(together_worker.streamed, [3])) == [(3, 0, 9)]
    assert together.agreed("x") == "x"
    with pytest.raises(ValueError, match="process 0 cannot do -1"):
        together.together(together_worker.squares, [-1])


@pytest.mark.slow
def test_processes_that_slurm_started_share_the_work():
    leader, *others = run("share", 3, by_slurm=True)
    for status, output, error in others:
        assert (status, error) == (0, "")
        assert len(output.splitlines()) == 1  # before it follows
    assert leader[0] == 0, leader
    found = said(leader[1])
    assert (found["count"], found["sharers"], found["alone"]) == (3, 1, [[3, 0, 9]])
    assert found["shared"] == [[job, job % 3, job * job] for job in range(7)]
    assert found["streamed"] == [[5, 1], [6, 1], [7, 1]]
    assert found["decided"] == [[0, 1, 2], 10]
    assert found["nested"] == [[[1, 0, 1], [2, 1, 4]], 3]
    assert found["error"] == "process 1 cannot do -4"
    assert found["after"] == []


@pytest.mark.slow
def test_what_one_process_says_ends_all():
    (status, output, error), other = run("fail", 2)
    assert status == 1
    # Other machines do not reach the processes of this one: not at another address of its own.
    assert said(output) == {"127.0.0.1": True, "127.0.0.2": False}
    assert "ValueError: process 0 refuses" in error
    assert other[0] == 1
    assert "Ended" in other[2]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer"), True),
        (jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: a barrier"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), False),
        (ValueError("config.items: UNKNOWN: no such view"), False),
        (RuntimeError("INTERNAL: not of a program"), False),
    ],
)
def test_a_program_in_which_a_process_was_missing_is_named(error, named, monkeypatch):
    """Also where its result is read, which is a ValueError."""
    monkeypatch.setattr(together, "GRACE_S", 0)
    kind, text = (together.Lost, "another of the .* processes") if named else (type(error), None)
    with pytest.raises(kind, match=text) as raised, together._loss_named():
        raise error
    assert named or raised.value is error
