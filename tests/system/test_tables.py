import csv

from inres.system import tables


def test_csv_latex_and_markdown(tmp_path):
    columns = {"name": "run_name", "score": "mAP", "n": "n"}
    rows = [
        {"name": "a_1 & 50 %", "score": 1 / 3, "n": 12, "unused": 0},
        {"name": "b", "score": float("nan"), "n": 0},
        {"name": "c\\d", "score": 1e-5},
    ]
    paths = tables.write_table(tmp_path / "t", columns, rows)
    assert [p.name for p in paths] == ["t.csv", "t.tex"]
    with open(paths[0], newline="") as file:
        read = list(csv.DictReader(file))
    assert read[0] == {"name": "a_1 & 50 %", "score": repr(1 / 3), "n": "12"}
    assert (read[1]["score"], read[2]["n"]) == ("", "")
    lines = paths[1].read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}"
    assert lines[2] == r"run\_name & mAP & n \\"
    assert lines[4] == r"a\_1 \& 50 \% & $0.333$ & 12 \\"
    assert lines[5] == r"b &  & 0 \\"
    assert lines[6] == r"c\textbackslash{}d & $1.0e-05$ &  \\"
    text = tables.write_markdown(tmp_path / "t.md", columns, [{"name": "a|b", "score": 1 / 3}])
    assert text.splitlines() == [
        "| run_name | mAP | n |",
        "| --- | --- | --- |",
        r"| a\|b | 0.333 |  |",
    ]
    assert (tmp_path / "t.md").read_text() == text
