"""`experiments.verify` through the command line."""

import numpy as np
import pytest
from cli import call, refused

from inres.storage import store


@pytest.mark.e2e
def test_damage_is_named(tmp_path):
    packed, features = np.arange(9, dtype=np.uint32)[:, None] % 200, np.ones((9, 3), np.float32)
    store.save(tmp_path / "archive", packed, features, {"row": [*range(9)]}, bits=8, model="m")
    workdir = f"--workdir={tmp_path}"
    good = call("verify", workdir)
    assert good.returncode == 0, good.stderr
    assert "all files agree" in good.stdout
    file = next((tmp_path / "archive").glob("sketch-*"))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert f"{file.name}: damaged (checksum differs)" in refused("verify", workdir)
    assert "holds no archive" in refused("verify", f"--workdir={tmp_path / 'other'}")
