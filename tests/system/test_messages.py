import pytest

from inres.system.messages import listed, printable, short


def test_long_lists_are_cut_and_counted():
    lines = [f"line {i}" for i in range(12)]
    assert listed(lines[:2]) == "line 0\nline 1"
    assert listed(lines, most=12) == "\n".join(lines)
    assert listed(lines, most=3) == "line 0\nline 1\nline 2\n... and 9 more"
    assert listed(lines).splitlines()[-1] == "... and 2 more"
    assert listed([]) == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("1.2.840", "1.2.840"),
        ("\u80ba \U0001f600\u200d\u2640", "\u80ba \U0001f600\u200d\u2640"),
        ("a\tb\nc\rd\0e\x1b[31m", r"a\tb\nc\rd\x00e\x1b[31m"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        ("a\udcff", r"a\udcff"),
    ],
)
def test_names_are_shown_on_one_line_of_any_encoding(name, shown):
    assert printable(name) == shown
    assert len(printable(name).splitlines()) == 1
    printable(name).encode()


def test_a_long_name_is_cut_as_it_is_shown():
    assert short("a" * 100) == "a" * 100
    assert short("a" * 101) == "a" * 97 + "..."
    assert len(short("\u202e" * 50)) == 100  # six characters each
