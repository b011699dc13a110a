"""Arguments of programs are refused by their name, value and what they must be."""

from pathlib import Path

import numpy as np
import pytest

from inres.searching import arguments


@pytest.mark.parametrize("value", [None, 3, b"a", "", "a\0b", ["a"], np.zeros(2), "~nobody_here/a"])
def test_what_is_no_path(value):
    with pytest.raises(ValueError, match=r"^scan = .*: (must be a path, as text|.*write the path)"):
        arguments.path_of("scan", value)


def test_paths():
    assert arguments.path_of("scan", "~/a") == Path.home() / "a"
    assert arguments.path_of("scan", Path("b")) == Path("b")


@pytest.mark.parametrize("value", [None, 3, b"a", ["a"]])
def test_what_is_no_text(value):
    with pytest.raises(ValueError, match=r"^sort = .*: must be a text"):
        arguments.text("sort", value)


@pytest.mark.parametrize("value", [None, "3", 1.0, True, float("nan"), [1], -1, np.array([1, 2])])
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match=r"^limit = .*: must be a whole number of 0 or more"):
        arguments.whole("limit", value, least=0)


def test_whole_numbers():
    assert arguments.whole("limit", np.int64(3), least=0) == 3
    assert arguments.whole("offset", -3) == -3
