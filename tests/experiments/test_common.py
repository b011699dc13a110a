"""What every command does about errors, and about names on any terminal."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from cli import ROOT

from experiments import common, launch

pytestmark = pytest.mark.e2e

PROGRAM = """
import sys
from experiments import common

def run(arguments):
    print("\\u80ba \\udcff")
    if arguments:
        raise {error}

common.launch_with_arguments(run)
"""


def launched(error, *arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(error=error), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "INRES_COMPILE_CACHE": "off"},
        capture_output=True,
        text=True,
        encoding="ascii",
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ('MemoryError("13 GiB")', "error: not enough memory (13 GiB); close other programs, or"),
        (f'OSError({errno.EDQUOT}, "full", "/a")', "error: /a: full; run the same command again"),
    ],
)
def test_an_error_is_one_line_in_any_encoding(error, message):
    done = launched(error, "x")
    assert done.returncode == 1
    assert done.stdout == "\\u80ba \\udcff\n"
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_names_in_any_script_are_printed(tmp_path):
    done = launched("None")
    assert done.returncode == 0
    assert done.stdout == "\\u80ba \\udcff\n"


@pytest.mark.parametrize(
    ("error", "processes", "status"),
    [
        (SystemExit(3), 2, 3), (SystemExit("text"), 2, 1), (TypeError("a bug"), 2, 1),
        (SystemExit(0), 2, None), (SystemExit(3), 1, None), (TypeError("a bug"), 1, None),
    ],
)  # fmt: skip
def test_one_of_several_processes_that_fails_does_not_wait_for_others(
    error, processes, status, monkeypatch, capsys
):
    ended = []

    def run(*_, **__):
        raise error

    def end(message, status):
        ended.append(status)
        raise error

    monkeypatch.setattr(common.app, "run", run)
    monkeypatch.setattr(common, "_end_now", end)
    monkeypatch.setattr(common.together, "count", lambda: processes)
    with pytest.raises(type(error)):
        common._run(print)
    assert ended == ([] if status is None else [status])
    assert ("a bug" in capsys.readouterr().err) == (status == 1 and type(error) is TypeError)


@pytest.mark.parametrize(("joins", "calls"), [(True, ["dir"]), (False, [])])
def test_a_launcher_leaves_compiled_programs_to_those_it_starts(joins, calls, monkeypatch):
    """Its own directory, for all cores, would be theirs by the environment."""
    seen = []
    monkeypatch.setattr(common, "keep_programs", seen.append)
    monkeypatch.setattr(common, "COMPILE_CACHE", SimpleNamespace(value="dir"))
    monkeypatch.setattr(common, "DEBUG", SimpleNamespace(value=False))
    for name in ("COORDINATOR", "PROCESSES", "PROCESS"):
        monkeypatch.setattr(common, name, SimpleNamespace(value=None))
    monkeypatch.setattr(common.logging, "set_verbosity", lambda _: None)
    monkeypatch.setattr(common, "_run", lambda main: main(["command"]))
    common.launch_with_arguments(lambda _: None, joins=joins)
    assert seen == calls


def test_a_launcher_passes_its_directory_of_compiled_programs_on(monkeypatch):
    seen = []
    monkeypatch.setattr(launch.launching, "launch", lambda *a, flags: seen.append((a, flags)))
    monkeypatch.setattr(common, "PROCESSES", SimpleNamespace(value=2))
    for given, flags in (("dir", ["--compile_cache=dir"]), (None, [])):
        monkeypatch.setattr(common, "COMPILE_CACHE", SimpleNamespace(value=given))
        with pytest.raises(SystemExit):
            launch.start(["-m", "x"])
        assert seen.pop() == ((["-m", "x"], 2), flags)
