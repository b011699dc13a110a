"""Tables as CSV and LaTeX."""

import csv

from inres import tables


def test_the_same_rows_as_csv_and_latex(tmp_path):
    rows = [
        {"name": "50 % & a_b", "value": 0.123456789, "n": 3},
        {"name": ">23", "value": None, "n": 12345},
    ]
    written = tables.write(tmp_path / "t", ("name", "value", "n"), rows)
    assert [path.name for path in written] == ["t.csv", "t.tex"]
    with open(written[0], newline="") as file:
        read = list(csv.DictReader(file))
    assert read[0] == {"name": "50 % & a_b", "value": "0.123456789", "n": "3"}
    assert read[1]["value"] == ""
    assert written[1].read_text() == (
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        "name & value & n \\\\\n"
        "\\midrule\n"
        "50 \\% \\& a\\_b & 0.123 & 3 \\\\\n"
        "\\textgreater{}23 &  & 12345 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )
