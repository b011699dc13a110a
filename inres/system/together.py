"""Several processes of one command: process 0 runs it, the others help where work is shared.

Process 0 alone decides which stages run, holds the locks and writes the files. Where work can be
shared it calls `together`. The other processes wait in `run`, and then call the same function with
the same arguments. Inside of it all run the same program: they meet in JAX's collectives, divide
jobs by `in_turn`, and take decisions of process 0 by `agreed`. Outside of it, and in a command of
one process, these functions do nothing special, so that no other code asks how many processes there
are.

Arguments are pickled and sent by the service that `jax.distributed` starts in process 0. Files are
not sent: all processes see the same file system.
"""

import contextlib
import dataclasses
import itertools
import os
import pickle
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Job = TypeVar("Job")

WAIT_S = 10.0
"""Seconds that process 0 has to leave a function in which another process failed, before that one
ends by itself."""
GRACE_S = 3.0
"""Seconds before a process reports that another one ended: whoever started them may know more, and
stops this one meanwhile."""
_CALL, _LEFT = "inres/call", "inres/left"


class Ended(RuntimeError):
    """Process 0 has ended, after an error that it reported itself; there is nothing left to say."""


class Lost(RuntimeError):
    """Another process of the command has ended, or cannot be reached."""


@dataclasses.dataclass
class _State:
    index: int = 0
    count: int = 1
    calls: int = 0
    """Number of functions that were called together so far."""
    inside: bool = False
    """Whether all processes are inside of one now."""


_state = _State()


def begin(index: int, count: int) -> None:
    """Declare that this is process `index` of `count`, which JAX has connected."""
    _state.index, _state.count = index, count


def count() -> int:
    """Number of processes of this command."""
    return _state.count


def index() -> int:
    """The number of this process, from 0."""
    return _state.index


def leads() -> bool:
    """Whether this is the process that decides and writes files: process 0."""
    return _state.index == 0


# --- sharing work ---------------------------------------------------------------------------------


def together(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module in all processes; returns what it returns in this one."""
    if _state.count == 1 or _state.inside:
        return function(*arguments)
    with _announced(function, arguments), _inside():
        return function(*arguments)


def each_together(function: Callable[..., Iterator[T]], *arguments: Any) -> Iterator[T]:
    """As `together`, for a function that yields; it must be iterated to the end."""
    if _state.count == 1 or _state.inside:
        yield from function(*arguments)
        return
    with _announced(function, arguments):
        with _inside():
            values = function(*arguments)
        while True:
            with _inside():  # not while the caller works on a value
                try:
                    value = next(values)
                except StopIteration:
                    return
            yield value


def in_turn(function: Callable[[Job], T], jobs: Iterable[Job]) -> Iterator[T]:
    """`map(function, jobs)`; inside `together` each process does its share of the jobs.

    With P processes, process i does the jobs i, i + P, ... All get all results, in order, and every
    process must iterate over all of them. An error of one process is raised in all.
    """
    if not _state.inside:
        yield from map(function, jobs)
        return
    every = list(jobs)
    for first in range(0, len(every), _state.count):
        mine = every[first + _state.index : first + _state.index + 1]
        done, failed = [], None
        try:
            done = [function(job) for job in mine]
        except Exception as error:
            failed = _portable(error)
        found = _gathered((done, failed))
        for _, one in found:
            if one is not None:
                raise one
        for values, _ in found:
            yield from values


def sharers() -> int:
    """Number of processes that share the jobs of `in_turn` here."""
    return _state.count if _state.inside else 1


def agreed(value: T) -> T:
    """The value of process 0; inside `together` all processes must call this."""
    return _gathered(value)[0] if _state.inside else value


def _gathered(value: Any) -> list[Any]:
    """The values of all processes, in their order."""
    from jax.experimental import multihost_utils

    packed = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(packed)))
    # Rounded up, because every size is a program of its own.
    room = np.zeros(1 << (int(sizes.max()) - 1).bit_length(), np.uint8)
    room[: len(packed)] = packed
    rows = np.asarray(multihost_utils.process_allgather(room))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def _portable(error: Exception) -> Exception:
    """The error, or one with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(str(error) or repr(error))
    return error


@contextlib.contextmanager
def _inside() -> Iterator[None]:
    _state.inside = True
    try:
        yield
    finally:
        _state.inside = False


# --- leading and following ------------------------------------------------------------------------


def run(work: Callable[[], None], *, silent: bool = True) -> None:
    """Call `work` in process 0; the others help until it returns.

    Args:
      silent: what the other processes and their libraries print is not shown.

    Raises:
      Ended: in the others, if `work` raises in process 0.
      Lost: a process has ended before the others.
    """
    if _state.count == 1:
        work()
    elif leads():
        with _loss_named():
            try:
                work()
            except BaseException:
                _send(_CALL, _state.calls, None)
                raise
            _send(_CALL, _state.calls, "end")
            _meet()
    else:
        with _silence() if silent else contextlib.nullcontext():
            _follow()
            _meet()


def _follow() -> None:
    for number in itertools.count():
        call = _receive(_CALL, number)
        if call is None:
            raise Ended
        if call == "end":
            return
        function, arguments = call
        try:
            with _inside():
                value = function(*arguments)
                if isinstance(value, Iterator):
                    for _ in value:
                        pass
        except Exception:
            if not _receive(_LEFT, number, wait_s=WAIT_S):
                raise  # process 0 has not failed, and would wait for this one for ever


@contextlib.contextmanager
def _announced(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Iterator[None]:
    """Have the others call a function that this process calls inside."""
    number = _state.calls
    _send(_CALL, number, (function, arguments))
    _state.calls += 1
    try:
        yield
    finally:
        _send(_LEFT, number, True)


@contextlib.contextmanager
def _loss_named() -> Iterator[None]:
    """Turn the error of a collective or barrier, in which a process was missing, into `Lost`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        if not _is_of_xla(error) or "RESOURCE_EXHAUSTED" in said:
            raise
        time.sleep(GRACE_S)
        raise Lost(
            f"another of the {_state.count} processes ended, or cannot be reached ({said[:120]})"
        ) from error


def _is_of_xla(error: Exception) -> bool:
    """Whether a program failed while it ran.

    Where its result is read, and not where it is started, JAX raises a ValueError with the status.
    """
    if isinstance(error, ValueError):
        return (
            re.match("(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|DEADLINE_EXCEEDED): ", str(error))
            is not None
        )
    return type(error).__name__ == "JaxRuntimeError"


def _meet() -> None:
    """Wait for all processes at the end, because process 0 serves the others."""
    import jax

    jax.distributed.shutdown()


def _client() -> Any:
    from jax._src import distributed  # its key-value store has no public name

    return distributed.global_state.client


def _send(topic: str, number: int, value: Any) -> None:
    with contextlib.suppress(RuntimeError):  # without the service, all others have ended
        _client().key_value_set_bytes(f"{topic}/{number}", pickle.dumps(value))


def _receive(topic: str, number: int, *, wait_s: float | None = None) -> Any:
    """What process 0 sent, as soon as it is there; None if it is not there in time.

    Raises:
      Ended: process 0 has ended.
    """
    while True:
        try:
            wait_ms = int(1000 * (60.0 if wait_s is None else wait_s))
            return pickle.loads(
                _client().blocking_key_value_get_bytes(f"{topic}/{number}", wait_ms)
            )
        except RuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise Ended from error
            if wait_s is not None:
                return None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Show nothing of what this process prints, its libraries in C++ included."""
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    shown = [os.dup(handle) for handle in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for handle in (1, 2):
            os.dup2(nowhere, handle)
        yield
    finally:
        for stream in streams:
            stream.flush()
        for handle, old in zip((1, 2), shown, strict=True):
            os.dup2(old, handle)
            os.close(old)
        os.close(nowhere)
