from inres.system.messages import listed


def test_long_lists_are_cut_and_counted():
    lines = [f"line {i}" for i in range(12)]
    assert listed(lines[:2]) == "line 0\nline 1"
    assert listed(lines, most=12) == "\n".join(lines)
    assert listed(lines, most=3) == "line 0\nline 1\nline 2\n... and 9 more"
    assert listed(lines).splitlines()[-1] == "... and 2 more"
    assert listed([]) == ""
