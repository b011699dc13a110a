"""The folder of uploads vanishes however its server ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inres.web import holding

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from pathlib import Path
from inres.web.holding import upload_folder
with upload_folder(Path(sys.argv[1])) as folder:
    (folder / "patient").mkdir()
    (folder / "patient" / "scan.raw").write_bytes(bytes(1000))
    print(folder, flush=True)
    time.sleep(60)
"""


def gone(folder):
    for _ in range(500):
        if not folder.exists():
            return True
        time.sleep(0.01)
    return False


def test_it_is_private_and_removed_at_the_end(tmp_path):
    with holding.upload_folder(tmp_path) as folder:
        (folder / "a").mkdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == tmp_path
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), holding.upload_folder(tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_removed_when_the_server_is_killed(tmp_path, number):
    server = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
        text=True,
    )
    folder = Path(server.stdout.readline().strip())
    assert (folder / "patient" / "scan.raw").exists()
    os.killpg(server.pid, number)  # the whole group, as a terminal does
    server.wait()
    assert gone(folder)


def test_what_a_loss_of_power_left_is_removed_by_the_next_server(tmp_path):
    left = tmp_path / f"{holding.PREFIX}left"
    (left / "patient").mkdir(parents=True)
    (left / ".lock").touch()
    other = tmp_path / "inres-other"
    other.mkdir()
    link = tmp_path / f"{holding.PREFIX}link"
    link.symlink_to(other)
    (other / ".lock").touch()
    with holding.upload_folder(tmp_path) as running:
        assert not left.exists()
        with holding.upload_folder(tmp_path) as second:
            assert running.exists()  # it is locked
            assert second.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inres-other", link.name]
    assert (other / ".lock").exists()
