"""Tables with every usual separator, as spreadsheets save them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources.boxes import table

from inres.sources import SourceError
from inres.sources._problems import no_problems, refuse
from inres.sources._tables import column_names, read_rows, typed


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_separator(tmp_path, separator):
    lines = ("scan,x_mm,note", "a.mhd,-1.5,", "b.mhd,2,first")
    path = table(tmp_path / "t.csv", *(line.replace(",", separator) for line in lines))
    rows = read_rows(path, ("scan",))
    assert [row.line for row in rows] == [2, 3]
    assert [row.number("x_mm") for row in rows] == [-1.5, 2]
    assert [row.text("note") for row in rows] == ["", "first"]
    assert rows[0].text("absent") == ""
    assert math.isnan(rows[0].number("absent", blank=math.nan))


def test_a_spreadsheets_marks_and_empty_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffscan;x_mm;;\r\nä.mhd;-1,5;;\r\n;;;\r\nb.mhd;2;;\r\n".encode())
    rows = read_rows(path, ("scan",))
    assert [dict(row.values) for row in rows] == [
        {"scan": "ä.mhd", "x_mm": "-1.5"},
        {"scan": "b.mhd", "x_mm": "2"},
    ]
    assert [row.line for row in rows] == [2, 4]


@given(st.lists(st.floats(-1e4, 1e4).map(lambda v: round(v, 4)), min_size=1, max_size=8))
def test_decimal_commas_mean_the_same_numbers(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("t")
    points = table(folder / "p.csv", "scan,x", *(f"a,{v}" for v in values))
    commas = table(folder / "c.csv", "scan;x", *(f"a;{v}".replace(".", ",") for v in values))
    numbers = [[row.number("x") for row in read_rows(p, ("x",))] for p in (points, commas)]
    assert numbers[0] == numbers[1] == values


def test_commas_in_texts_stay(tmp_path):
    path = table(tmp_path / "t.csv", "a;b;c", "1,5;1,2,3;1.234,5", "2;4,5;3")
    assert [dict(row.values) for row in read_rows(path, ("a",))] == [
        {"a": "1.5", "b": "1,2,3", "c": "1.234,5"},
        {"a": "2", "b": "4,5", "c": "3"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfes\x00c\x00", r"t\.csv: not a text table in UTF-8; save it as UTF-8 CSV"),
        (b"name,x\na,1\n", r"t\.csv: column scan missing \(found: name, x\)"),
        (b"scan,x\na,-1,5\n", r"line 2: 3 values instead of 2; put values that .* in quotes"),
        (b"scan,x\na\n", r"line 2: 1 values instead of 2; complete the line"),
        (b"scan,x,x\na,1,2\n", r"column x occurs twice"),
        (b"", r"t\.csv: empty, or its first line is blank; expected the names .*: scan"),
        (b"\nscan,x\na,1\n", r"t\.csv: empty, or its first line is blank"),
        (b"scan,Size MM\na,1\n", r"t\.csv: column Size MM: rename it to size_mm"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_rows(path, ("scan",), ("size_mm",))


def test_marks_of_utf8_and_numbers_of_rows_are_no_names(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeff\ufeffscan\u00a0,Unnamed: 0,,size_mm\na,0,1,-0.0\n", encoding="utf-8")
    (row,) = read_rows(path, ("scan",), ("size_mm",))
    assert dict(row.values) == {"scan": "a", "size_mm": "-0.0"}
    assert math.copysign(1, row.number("size_mm")) == 1
    assert column_names(path)[1:] == ["Unnamed: 0", "", "size_mm"]
    assert column_names(tmp_path) == column_names(tmp_path / "absent.csv") == []


def test_columns_are_typed_by_content(tmp_path):
    path = table(
        tmp_path / "t.csv",
        "kind,grade,texture,empty,code",
        "solid,1,4.5,,7",
        ",2.5,high,,x7",
    )
    problems = no_problems()
    rows = read_rows(path, ())
    names = list(rows[0].values)
    assert typed(rows, names, problems, known=("texture",)) == [
        {"kind": "solid", "grade": 1.0, "texture": 4.5, "code": "7"},
        {"grade": 2.5, "code": "x7"},
    ]
    with pytest.raises(SourceError, match=r"1 problem(.|\n)*line 3: texture is 'high', not a num"):
        refuse(path, problems)


def test_no_problem_is_no_error(tmp_path):
    problems = no_problems()
    assert not problems["a kind that was only asked for"]
    refuse(tmp_path, problems)
