"""What every command does about errors, and about names on any terminal."""

import errno
import os
import subprocess
import sys

import pytest
from cli import ROOT

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
