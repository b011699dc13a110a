"""Compiled programs kept from one command to the next: JAX's persistent compilation cache."""

import os
import sys
import warnings
from pathlib import Path

import filelock

from inres.system.processes import cores

VARIABLE = "INRES_COMPILE_CACHE"
MAX_BYTES = 2**30  # the least recently used programs are removed beyond this size
MIN_COMPILE_SECONDS = 0.05  # faster programs cost more to look up than to compile
LOCK_SECONDS = 10.0


def keep_programs(place: str | None = None) -> Path | None:
    """Let JAX keep compiled programs on disk; call it before the first program is compiled.

    `place` is a directory or "off". Without it, these decide, in this order:
    JAX_COMPILATION_CACHE_DIR, which leaves every setting to JAX; INRES_COMPILE_CACHE, a directory
    or "off"; the user's cache directory. Works before and after JAX is imported; subprocesses
    inherit the settings. A directory that cannot be written costs a warning, not the run.

    The number of cores that XLA uses is part of the directory: it may divide a program by them,
    which changes the order of additions, but JAX does not make it part of a program's key.

    Returns:
      The directory of the programs, or None if they are not kept by this function.
    """
    if place is None:
        if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            return None
        place = os.environ.get(VARIABLE) or str(_user_cache() / "inres" / "programs")
    if place == "off":
        _set("jax_enable_compilation_cache", False)
        return None
    share = os.environ.get("NPROC", "")  # of one of several processes (`launching.environment`)
    threads = int(share) if share.isdigit() else cores()
    directory = Path(place).expanduser().resolve() / f"{threads}-cores"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_incomplete(directory)
    except (OSError, NotImplementedError) as error:
        warnings.warn(
            f"{directory}: compiled programs are not kept ({error}); "
            f"set {VARIABLE} to another directory, or to off",
            stacklevel=2,
        )
        return None
    # On a full disk JAX warns for each program that it cannot write, and goes on without.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    _set("jax_compilation_cache_dir", str(directory))
    for option, value in (
        ("jax_compilation_cache_max_size", MAX_BYTES),
        ("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS),
    ):
        if option.upper() not in os.environ:
            _set(option, value)
    return directory


def remove_incomplete(directory: Path) -> None:
    """Remove programs whose writing was interrupted.

    JAX writes a program, then its time stamp, and never replaces a program. One without a time
    stamp is of unknown length, would never be used, and would stop JAX from removing others.

    Raises:
      OSError: `directory` cannot be written, or another process held its lock for too long.
    """
    with filelock.FileLock(directory / ".lockfile", timeout=LOCK_SECONDS):
        for program in directory.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path("~/Library/Caches")
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def _set(option: str, value: bool | float | str) -> None:
    """Set a JAX option in this process and in its subprocesses."""
    os.environ[option.upper()] = str(value)
    if "jax" in sys.modules:
        sys.modules["jax"].config.update(option, value)
