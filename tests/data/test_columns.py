"""Names and kinds of further columns."""

import pytest

from inres.data import columns


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Age at study", "Age_at_study"), (" a ", "a"), ("3d", "_3d"), ("größe (mm)", "größe__mm_"),
        ("", "_"), ("ID", "ID_"), ("class", "class_"), ("a-b", "a_b"), ("名前", "名前"),
    ],
)  # fmt: skip
def test_names_are_identifiers(name, expected):
    assert columns.column_name(name) == expected
    assert expected.isidentifier()
    assert columns.column_name(expected) == expected


def test_names_that_become_one_are_refused():
    assert columns.column_names(["a b", "c"]) == {"a b": "a_b", "c": "c"}
    with pytest.raises(ValueError, match="columns 'a b' and 'A-B' become one, A_B; rename one"):
        columns.column_names(["a b", "A-B"])


def test_equal_names_and_more_columns_than_records_hold_are_refused():
    with pytest.raises(ValueError, match="two columns become one, label_; rename one"):
        columns.column_names(["label_", "a", "label_"])
    columns.column_names(f"c{n}" for n in range(1000))
    with pytest.raises(ValueError, match="1001 further columns, 1000 at most; remove some"):
        columns.column_names(f"c{n}" for n in range(1001))


def test_columns_are_numbers_or_texts():
    given = {"a": 1.5, "b": " x ", "c": "", "d": float("nan"), "e": 2, "f": float("inf")}
    assert columns.split(given) == ({"a": 1.5, "e": 2.0}, {"b": "x"})
    assert columns.split(given, ["a", "e"]) == ({}, {"a": "1.5", "b": "x", "e": "2"})


def test_columns_become_numbers_unless_they_are_texts():
    assert columns.as_numbers({"a": "1", "b": "2", "c": 3}, ["b"]) == {"a": 1.0, "b": "2", "c": 3.0}
