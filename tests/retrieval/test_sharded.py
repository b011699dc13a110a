import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shard_worker

ROOT = Path(__file__).resolve().parents[2]
QUICK = "--xla_backend_optimization_level=0"
"""Programs are compiled here, not timed."""


def run(processes, devices, counts):
    """The results that process 0 reports, by number of devices; 0: not sharded."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
    }
    children = [
        subprocess.Popen(
            [
                sys.executable, Path(shard_worker.__file__),
                str(processes), str(rank), str(port), ",".join(map(str, counts)),
            ],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        )
        for rank in range(processes)
    ]  # fmt: skip
    try:
        said = [child.communicate(timeout=150) for child in children]
    finally:
        for child in children:
            child.kill()
    for child, (_, error) in zip(children, said, strict=True):
        assert child.returncode == 0, error[-3000:]
    # The collectives' library prints too.
    return json.loads(said[0][0].splitlines()[-1])


def assert_same(reported, expected):
    for devices, got in reported.items():
        for name, values in expected.items():
            np.testing.assert_array_equal(got[name], values, f"{name}, {devices} devices")


@pytest.fixture(scope="module")
def one_process():
    return run(1, 8, (0, 1, 2, 3, 8))


def test_the_data_is_worth_testing(one_process):
    single = one_process["0"]
    assert single["threshold"][:3] == [3, 7, 25]
    assert single["threshold"][3] > 1
    distance = np.array(single["distance"])
    assert (distance[:, 1:] == distance[:, :-1])[np.isfinite(distance[:, 1:])].any()


def test_any_number_of_devices_gives_the_same(one_process):
    assert set(one_process) == {"0", "1", "2", "3", "8"}
    assert_same(one_process, one_process["0"])


def test_two_processes_give_the_same(one_process):
    two = run(2, 2, (4,))
    assert set(two) == {"4"}
    assert_same(two, one_process["0"])
