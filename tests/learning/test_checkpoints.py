"""Damaged checkpoints are refused by name."""

import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from inres.learning.checkpoints import Checkpoints

STATE = {"params": {"w": jnp.arange(5000.0)}, "batch_stats": {"m": jnp.ones(3)}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(root)
    checkpoints.save(3, STATE)
    checkpoints.close()
    return root


def restore(root):
    checkpoints = Checkpoints(root)
    try:
        return checkpoints.restore(STATE)
    finally:
        checkpoints.close()


def damage_metadata(folder):
    path = folder / "default" / "_METADATA"
    path.write_bytes(path.read_bytes()[:100])


def damage_manifest(folder):
    path = folder / "default" / "manifest.ocdbt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_largest(folder):
    """Empty the file that holds most of the numbers."""
    max(folder.rglob("d/*"), key=lambda path: path.stat().st_size).write_bytes(b"")


@pytest.mark.parametrize("read", [restore, Checkpoints.read_variables])
def test_a_checkpoint_is_read(saved, read):
    np.testing.assert_array_equal(read(saved)["params"]["w"], np.arange(5000))


@pytest.mark.parametrize("read", [restore, Checkpoints.read_variables])
@pytest.mark.parametrize("damage", [damage_metadata, damage_manifest, empty_largest])
def test_a_damaged_checkpoint_is_named(saved, tmp_path, read, damage):
    root = tmp_path / "copy"
    shutil.copytree(saved, root)
    damage(root / "3")
    message = rf"^{re.escape(str(root / '3'))}: damaged checkpoint \(.+\); re\w+ .+$"
    with pytest.raises(ValueError, match=message):
        read(root)
