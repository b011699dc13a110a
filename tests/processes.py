"""Runs one program as several processes, each with several CPU devices; what runs now."""

import socket
import subprocess
import sys
from pathlib import Path

import quick

ROOT = Path(__file__).resolve().parents[1]


def run(script, processes, devices, *arguments):
    """Last line that process 0 prints.

    Arguments of the script: number of processes, its rank, a port for `jax.distributed`, and
    `arguments`.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {
        **quick.environment(f"--xla_force_host_platform_device_count={devices}"),
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    children = [
        subprocess.Popen(
            [sys.executable, script, *map(str, (processes, rank, port, *arguments))],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        )
        for rank in range(processes)
    ]  # fmt: skip
    try:
        outputs = [child.communicate(timeout=150) for child in children]
    finally:
        for child in children:
            child.kill()
    for child, (_, error) in zip(children, outputs, strict=True):
        assert child.returncode == 0, error[-3000:]
    # The library of the collectives prints other lines.
    return outputs[0][0].splitlines()[-1]


def children(process):
    """Numbers of the processes that a process has started and not yet asked for their status."""
    return [int(c) for c in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_running(process):
    """Whether a process is there, and not only waits for its parent to ask for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
