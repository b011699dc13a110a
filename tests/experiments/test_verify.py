"""`experiments.verify` through the command line."""

import subprocess
import sys

import numpy as np

from inres.storage import store


def test_damage_is_named(tmp_path):
    packed, features = np.arange(9, dtype=np.uint32)[:, None] % 200, np.ones((9, 3), np.float32)
    store.save(tmp_path / "archive", packed, features, {"row": [*range(9)]}, bits=8, model="m")
    good = run(tmp_path)
    assert good.returncode == 0, good.stderr
    assert "all files agree" in good.stdout
    file = next((tmp_path / "archive").glob("sketch-*"))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    bad = run(tmp_path)
    assert bad.returncode == 1
    assert bad.stderr.strip().startswith("error: ")
    assert f"{file.name}: damaged (checksum differs)" in bad.stderr
    empty = run(tmp_path / "other")
    assert empty.returncode == 1
    assert "holds no archive" in empty.stderr


def run(workdir):
    command = [sys.executable, "-m", "experiments.verify", f"--workdir={workdir}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)
