"""How much memory is left, compared with the system's own limit."""

import os
import resource
import subprocess
import sys

import pytest

from inres.system import memory


def test_available_memory_is_no_more_than_the_machine_has():
    free = memory.available_bytes()
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free is None or 0 < free <= machine


def test_a_limit_of_the_address_space_counts():
    """In a process of 2 GB, an array that is allowed can be made, and a larger one is not."""
    program = """if True:
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
        from inres.system import memory
        free = memory.available_bytes()
        assert 2**30 < free < 2**31, free
        bytearray(free - 2**26)
        assert memory.lacking(free - 2**26) == ""
        print(memory.lacking(2**32))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("4.29 GB of memory are needed, "), done.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 2**31


@pytest.mark.parametrize(
    ("need", "free", "message"), [(5, 5, ""), (6, 5, "are needed"), (9, None, "")]
)
def test_nothing_lacks_where_the_system_does_not_say(monkeypatch, need, free, message):
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    assert message in memory.lacking(need)
    assert bool(memory.lacking(need)) == bool(message)
