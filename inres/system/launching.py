"""Starting several processes of one command on this machine, and ending all of them with one."""

import contextlib
import ctypes
import itertools
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from inres.system.processes import cores

SETTLE_S = 0.7
"""Seconds in which the ends of several processes count as one, so that the first cause is found."""
TERM_S = 5.0
"""Seconds between SIGTERM and SIGKILL."""
INTERRUPT_S = 60.0
"""Seconds that the processes have after Ctrl-C."""
LAST_S = 60.0
"""Seconds that the others have when process 0 is done."""
_LINES = 60
_PR_SET_PDEATHSIG = 1


def launch(command: Sequence[str], processes: int, *, flags: Sequence[str] = ()) -> int:
    """Run `python *command` as several processes; returns the exit status of all.

    Each gets the flags --coordinator, --processes and --process, an equal share of the processor
    cores for its computations, and of the GPUs if there are any. What process 0 prints is shown,
    and of the others what they wrote to standard error before they failed. When one ends with an
    error, the others are ended, and one line says which it was. Ctrl-C ends all, by process 0.

    Args:
      command: arguments of Python, such as `-m module --flag`.
      processes: their number.
      flags: further flags of each.

    Raises:
      ValueError: there is no command, an impossible number, or fewer GPUs than processes.
    """
    if not command:
        raise ValueError("no command; give it after --, as in -- -m experiments.reproduce ...")
    if processes < 1:
        raise ValueError(f"--processes={processes}: must be at least 1")
    shares = [environment(index, processes) for index in range(processes)]
    shared = [*flags, f"--processes={processes}"]
    if processes > 1:
        shared.append(f"--coordinator=localhost:{free_port()}")
    children: list[subprocess.Popen] = []
    with _terminated_as_interrupt():
        try:
            for index, share in enumerate(shares):
                own = [*shared, f"--process={index}"] if processes > 1 else shared
                children.append(_start([sys.executable, *command, *own], share, shown=index == 0))
            return _watch(children)
        finally:
            _end(children)


def free_port() -> int:
    """A TCP port that no program uses now."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def environment(index: int, processes: int) -> dict[str, str]:
    """The environment of process `index`: its share of the cores and GPUs of this machine.

    Raises:
      ValueError: there are fewer GPUs than processes.
    """
    share = str(max(1, cores() // processes))
    # The threads of XLA, and of NumPy's linear algebra. Preparing scans, which only process 0 does,
    # uses all cores.
    names = ("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    found = dict.fromkeys(names, share) | dict(os.environ)
    gpus = _gpus(os.environ)
    if gpus and processes > 1:
        if gpus < processes:
            raise ValueError(
                f"--processes={processes}: more than the {gpus} GPUs; use at most {gpus}, or the "
                "CPUs (JAX_PLATFORMS=cpu)"
            )
        own = range(index * gpus // processes, (index + 1) * gpus // processes)
        found["JAX_LOCAL_DEVICE_IDS"] = ",".join(map(str, own))
    return found


def _gpus(variables: Mapping[str, str]) -> int:
    """Number of NVIDIA GPUs that JAX would use."""
    if variables.get("JAX_PLATFORMS", "").startswith("cpu"):
        return 0
    if "CUDA_VISIBLE_DEVICES" in variables:
        names = (name.strip() for name in variables["CUDA_VISIBLE_DEVICES"].split(","))
        # As CUDA reads it: the first that is no device, such as -1, and all after it do not count.
        return len([*itertools.takewhile(re.compile(r"\d|GPU-|MIG-").match, names)])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


# --- starting and watching ------------------------------------------------------------------------


def _start(
    command: Sequence[str], variables: Mapping[str, str], *, shown: bool
) -> subprocess.Popen:
    """Start one process in a group of its own, whose output is `shown` or kept."""
    output = None if shown else subprocess.DEVNULL
    return subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if shown else subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def _die_with_parent() -> None:
    """Have this process killed when the launcher is: nothing else would end it."""
    with contextlib.suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(children: Sequence[subprocess.Popen]) -> int:
    """Wait until all end, or one fails, which is reported; returns the exit status."""
    ended: queue.Queue[int] = queue.Queue()
    said = [deque[str](maxlen=_LINES) for _ in children]
    for index, child in enumerate(children):
        threading.Thread(target=_wait_for, args=(child, index, ended), daemon=True).start()
        if child.stderr is not None:
            threading.Thread(target=said[index].extend, args=(child.stderr,), daemon=True).start()
    running = set(range(len(children)))
    try:
        while running:
            try:
                index = ended.get(timeout=None if 0 in running else LAST_S)
            except queue.Empty:
                break  # process 0 has done all there is to do
            running.discard(index)
            if children[index].returncode:
                time.sleep(SETTLE_S)
                return _report(children, said)
        return 0
    except KeyboardInterrupt:
        return _interrupt(children)


def _wait_for(child: subprocess.Popen, index: int, ended: "queue.Queue[int]") -> None:
    child.wait()
    ended.put(index)


def _report(children: Sequence[subprocess.Popen], said: Sequence[Sequence[str]]) -> int:
    """Say which process failed first, unless it is process 0, which did so; the exit status."""
    status = {index: child.poll() for index, child in enumerate(children)}
    failed = {index: code for index, code in status.items() if code}
    # The others abort when process 0 is gone, so a signal from outside is the cause, if any.
    killed = [i for i, code in failed.items() if code < 0 and code != -signal.SIGABRT]
    spoke = [i for i in failed if said[i]]
    first = (killed or [i for i in failed if i == 0] or spoke or [*failed])[0]
    code = failed[first]
    if code < 0:
        name = signal.Signals(-code).name
        print(
            f"error: process {first} of {len(children)} was ended by {name}, and the others with "
            "it; run the same command again to continue",
            file=sys.stderr,
            flush=True,
        )
        return 128 - code
    if first:
        text = "".join(said[first])
        if "error: " not in text.lower():
            text += f"error: process {first} of {len(children)} ended with status {code}\n"
        print(text, end="", file=sys.stderr, flush=True)
    return code


# --- ending ---------------------------------------------------------------------------------------


def _interrupt(children: Sequence[subprocess.Popen]) -> int:
    """Pass Ctrl-C to process 0 and wait; a second one ends the waiting. Its exit status.

    The others end with it. If they were first, process 0 would report that they are lost.
    """
    _signal(children[:1], signal.SIGINT)
    with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        status = children[0].wait(INTERRUPT_S)
        return 128 - status if status < 0 else status
    return 128 + signal.SIGINT


def _end(children: Sequence[subprocess.Popen]) -> None:
    """End all processes that are left, and their own children."""
    _signal(children, signal.SIGTERM)
    until = time.monotonic() + TERM_S
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, until - time.monotonic()))
    _signal(children, signal.SIGKILL)
    for child in children:
        child.wait()


def _signal(children: Sequence[subprocess.Popen], number: int) -> None:
    """Send a signal to the children and to the processes that they started, if there are any."""
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)


@contextlib.contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM to this process ends the children, too."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
