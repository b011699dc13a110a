"""Compiled programs on disk: where they are kept, and that keeping them never fails a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inres.system import compile_cache
from inres.system.compile_cache import keep_programs

ROOT = Path(__file__).resolve().parents[2]
# Compiles one program and prints its result; {first} and {then} run before and after JAX's import.
PROGRAM = """
from inres.system.compile_cache import keep_programs
{first}
import jax
{then}
print(jax.jit(lambda x: (x * 3 + 1).sum())(jax.numpy.arange(8)))
"""
RESULT = "92"
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (99, 99))"


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """An environment in which nothing about the programs is set, and a home of one's own."""
    for name in list(os.environ):
        if name.startswith(("JAX_COMPILATION", "JAX_PERSISTENT", "JAX_ENABLE", "XDG_", "INRES_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compile_cache, "_set", lambda option, value: None)
    return monkeypatch


def run(directory, *, first="", then="keep_programs()"):
    """Run the program in a process of its own, with every program worth keeping."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(first=first, then=then)],
        cwd=ROOT,
        env=os.environ
        | {
            "INRES_COMPILE_CACHE": str(directory),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == RESULT
    return done.stderr


def programs(directory):
    return {path.name: path.stat().st_mtime_ns for path in directory.rglob("*-cache")}


@pytest.mark.usefixtures("environment")
def test_they_are_kept_in_the_users_cache_directory(tmp_path):
    cache = tmp_path / "home" / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    directory = keep_programs()
    assert directory.parent == cache / "inres" / "programs"
    assert directory.is_dir()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has its own cache directory")
def test_xdg_cache_home_moves_them(environment, tmp_path):
    environment.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert keep_programs().parent == tmp_path / "xdg" / "inres" / "programs"


def test_the_argument_comes_before_jaxs_variable_and_that_before_ours(environment, tmp_path):
    environment.setenv("INRES_COMPILE_CACHE", str(tmp_path / "ours"))
    assert keep_programs().parent == tmp_path / "ours"
    environment.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    assert keep_programs() is None
    assert keep_programs(str(tmp_path / "argument")).parent == tmp_path / "argument"
    assert not (tmp_path / "jax").exists()


def test_off_turns_jaxs_cache_off(environment, tmp_path):
    options = {}
    environment.setattr(compile_cache, "_set", options.__setitem__)
    assert keep_programs("off") is None
    environment.setenv("INRES_COMPILE_CACHE", "off")
    assert keep_programs() is None
    assert options == {"jax_enable_compilation_cache": False}
    assert not (tmp_path / "home").exists()


def test_what_the_user_set_for_jax_stays(environment, tmp_path):
    options = {}
    environment.setattr(compile_cache, "_set", options.__setitem__)
    environment.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "7")
    directory = keep_programs(str(tmp_path))
    assert options == {
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": compile_cache.MIN_COMPILE_SECONDS,
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a choice of cores")
@pytest.mark.usefixtures("environment")
def test_another_number_of_cores_has_its_own_programs(tmp_path):
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        pytest.skip("one core")
    whole = keep_programs(str(tmp_path))
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert keep_programs(str(tmp_path)) != whole
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("environment")
def test_a_later_process_reads_them_whether_jax_is_imported_before_or_after(tmp_path):
    assert run(tmp_path, then="keep_programs()") == ""
    kept = programs(tmp_path)
    assert kept
    used = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-atime")}
    assert run(tmp_path, first="keep_programs()", then="") == ""
    assert programs(tmp_path) == kept
    assert all(path.stat().st_mtime_ns > before for path, before in used.items())


@pytest.mark.usefixtures("environment")
def test_processes_at_the_same_time_share_them(tmp_path):
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        PROGRAM.format(first="", then="keep_programs()"),
    ]
    settings = {
        "INRES_COMPILE_CACHE": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    both = [
        subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate()[0].decode().strip() for process in both] == [RESULT, RESULT]
    assert programs(tmp_path)


@pytest.mark.usefixtures("environment")
def test_a_directory_that_cannot_be_written_costs_a_warning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(
        UserWarning, match=r"file/.*: compiled programs are not kept .*INRES_COMPILE"
    ):
        assert keep_programs(str(tmp_path / "file")) is None


@pytest.mark.usefixtures("environment")
def test_a_full_disk_costs_nothing_but_the_programs(tmp_path):
    pytest.importorskip("resource")
    assert run(tmp_path, first=f"keep_programs(); {FULL_DISK}", then="") == ""
    broken = programs(tmp_path)
    assert broken
    assert run(tmp_path, then="keep_programs()") == ""
    kept = programs(tmp_path)
    assert kept.keys() >= broken.keys()
    assert not kept.items() & broken.items()


def test_a_program_whose_writing_was_interrupted_is_removed(tmp_path):
    for name in ("whole-cache", "whole-atime", "broken-cache"):
        (tmp_path / name).touch()
    compile_cache.remove_incomplete(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"whole-cache", "whole-atime"}
    assert not (tmp_path / "broken-cache").exists()
