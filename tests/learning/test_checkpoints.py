"""Damaged checkpoints are refused by name, and a full disk leaves the older ones."""

import errno
import os
import re
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from inres.learning.checkpoints import RESUME, Checkpoints
from inres.system import files

STATE = {"params": {"w": jnp.arange(5000.0)}, "batch_stats": {"m": jnp.ones(3)}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(root)
    for step in (3, 6):
        checkpoints.save(step, STATE)
    checkpoints.close()
    return root


def restore(root):
    checkpoints = Checkpoints(root)
    try:
        return checkpoints.restore(STATE)
    finally:
        checkpoints.close()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def largest(folder):
    """The file that holds most of the numbers."""
    return max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


DAMAGE = {
    "metadata cut": lambda folder: cut(folder / "default" / "_METADATA"),
    "metadata empty": lambda folder: (folder / "default" / "_METADATA").write_text(""),
    "manifest cut": lambda folder: cut(folder / "default" / "manifest.ocdbt"),
    "values empty": lambda folder: largest(folder).write_bytes(b""),
    "values cut": lambda folder: cut(largest(folder)),
    "values removed": lambda folder: largest(folder).unlink(),
    "a byte of the values changed": lambda folder: flip(largest(folder)),
    "no state": lambda folder: shutil.rmtree(folder / "default"),
    "no files": lambda folder: [shutil.rmtree(p) for p in folder.iterdir() if p.is_dir()],
    "digest cut": lambda folder: cut(folder / "digest" / "metadata"),
}


@pytest.mark.parametrize("read", [restore, Checkpoints.read_variables])
def test_a_checkpoint_is_read(saved, tmp_path, read):
    np.testing.assert_array_equal(read(saved)["params"]["w"], np.arange(5000))
    root = tmp_path / "earlier"  # versions wrote no digest
    shutil.copytree(saved, root)
    shutil.rmtree(root / "6" / "digest")
    np.testing.assert_array_equal(read(root)["params"]["w"], np.arange(5000))


@pytest.mark.parametrize("read", [restore, Checkpoints.read_variables])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_read(saved, tmp_path, read, damage):
    root = tmp_path / "copy"
    shutil.copytree(saved, root)
    damage(root / "6")
    message = rf"^{re.escape(str(root / '6'))}: damaged checkpoint \(.+\); {RESUME}$"
    with pytest.raises(ValueError, match=message) as error:
        read(root)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600
    shutil.rmtree(root / "6")
    np.testing.assert_array_equal(read(root)["params"]["w"], np.arange(5000))


def test_a_damaged_checkpoint_leaves_no_tracebacks(saved, tmp_path):
    """Orbax and asyncio print those of unfinished reads, also while the program ends."""
    shutil.copytree(saved, tmp_path / "copy")
    largest(tmp_path / "copy" / "6").write_bytes(b"")
    program = f"""if True:
        from inres.learning.checkpoints import Checkpoints
        for _ in range(5):
            try:
                Checkpoints.read_variables({str(tmp_path / "copy")!r})
            except ValueError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.count("damaged checkpoint") == 5
    assert done.stderr == ""


@pytest.mark.parametrize("number", files.FULL_DISK)
def test_a_full_disk_is_named(tmp_path, monkeypatch, number):
    checkpoints = Checkpoints(tmp_path / "c")
    text = f"RESOURCE_EXHAUSTED: Failed to write: {os.strerror(number)} [os_error_code='{number}']"
    for error in (ValueError(text), OSError(number, os.strerror(number))):

        def fail(*_, error=error, **__):
            raise error

        for method in ("save", "wait_until_finished"):
            with monkeypatch.context() as patch:
                patch.setattr(checkpoints._manager, method, fail)
                with pytest.raises(OSError, match=r"the disk is full.*; free some") as found:
                    checkpoints.save(1, STATE) if method == "save" else checkpoints.wait()
                assert found.value.errno == number
                assert found.value.filename == str(tmp_path / "c")
    monkeypatch.setattr(checkpoints._manager, "save", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save(1, STATE)
    checkpoints.close()


def test_a_real_full_disk_keeps_the_older_checkpoint(tiny_disk):
    rng = np.random.default_rng(0)  # compresses badly
    checkpoints = Checkpoints(tiny_disk / "c")
    states = [{"params": {"w": jnp.array(rng.random(n))}, "batch_stats": {}} for n in (9, 50_000)]
    checkpoints.save(1, states[0])
    checkpoints.wait()

    def save():
        checkpoints.save(2, states[1])
        checkpoints.wait()

    with pytest.raises(OSError, match=r"the disk is full; free some space.*/disk/c") as error:
        save()
    assert error.value.errno == errno.ENOSPC
    again = Checkpoints(tiny_disk / "c")
    assert again.latest() == 1
    np.testing.assert_array_equal(again.restore(states[0])["params"]["w"], states[0]["params"]["w"])
    again.close()
