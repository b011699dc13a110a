"""The temporary folder of uploads, which no way of ending the server leaves behind.

A child process waits for the end of the server, whose pipe the system closes however it ends, and
removes the folder then. Where that process was killed too, as by a loss of power, the next server
removes the folder: it belongs to a server that has ended if nobody holds its lock.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "inres-uploads-"
_LOCK = ".lock"
_REMOVE_AT_THE_END = "trap '' HUP INT QUIT TERM; cat >/dev/null; rm -rf -- \"$1\""


@contextlib.contextmanager
def upload_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder of this user alone, for as long as this process runs.

    Args:
      parent: where to make it; by default the system's folder for temporary files (TMPDIR).

    Raises:
      OSError: it cannot be made.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    remover = None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        remover = subprocess.Popen(
            ["/bin/sh", "-c", _REMOVE_AT_THE_END, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a signal to the server's group must not reach it
        )
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if remover is not None:
            assert remover.stdin is not None
            remover.stdin.close()
            remover.wait()
        os.close(handle)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders in `parent` of servers of this user that have ended."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
