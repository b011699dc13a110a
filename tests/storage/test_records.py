import math

import numpy as np
import pytest

from inres.storage import records

ROWS = [
    {"scan": "a", "label": 1, "size": 2, "known": None},
    {"scan": None, "label": -(2**63), "size": 2.5, "known": None},
    {"scan": "é'\"\0x", "label": True, "size": math.nan, "known": None},
]
KINDS = {"scan": "text", "label": "integer", "size": "real", "known": "integer"}


def test_columns_of_dicts_and_of_arrays():
    columns = records.columns(ROWS)
    assert columns["label"] == [1, -(2**63), True]
    assert records.kinds(columns) == KINDS
    arrays = {
        "scan": np.array(["a", "b"]),
        "label": np.array([1, 2], np.int8),
        "flag": np.array([True, False]),
        "size": np.array([1, 2], np.float32),
        "mixed": np.array([1, np.float32(2)], object),
        "boxed": [np.int64(3), np.str_("x")][:1],
    }
    got = records.kinds(records.columns(arrays))
    assert got == {
        "scan": "text", "label": "integer", "flag": "integer", "size": "real", "mixed": "real",
        "boxed": "integer",
    }  # fmt: skip
    assert records.kinds({"known": [None, None]}, {"known": "text"}) == {"known": "text"}


@pytest.mark.parametrize(
    ("columns", "error", "text"),
    [
        ({"a b": [1]}, ValueError, "identifier"),
        ({"ID": [1]}, ValueError, "'ID'"),
        ({"a": [1], "A": [1]}, ValueError, "case"),
        ({"a": [2**63]}, ValueError, "64 bits"),
        ({"a": np.array([2**63], np.uint64)}, ValueError, "64 bits"),
        ({"a": ["x", 1]}, TypeError, "mixes"),
        ({"a": [b"x"]}, TypeError, "bytes"),
        ({"a": np.array(["2020-01-01"], "M8[D]")}, TypeError, "date"),
    ],
)
def test_unsupported_columns_are_refused(columns, error, text):
    with pytest.raises(error, match=text):
        records.kinds(columns)


def test_misshapen_columns_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        records.columns({"a": np.zeros((2, 2))})
    with pytest.raises(ValueError, match=r"'a': 2, 'b': 1"):
        records.length({"a": [1, 2], "b": [1]})
    with pytest.raises(ValueError, match="record 1"):
        records.columns([{"a": 1}, {"b": 1}])


def test_kinds_widen_without_loss():
    assert records.widened({"a": "integer"}, {"a": "real"}) == {"a": "real"}
    assert records.widened({"a": "real", "b": "text"}, {"b": "text", "a": "integer"}) == {
        "a": "real",
        "b": "text",
    }
    for new in ({"a": "text"}, {"b": "real"}, {}):
        with pytest.raises(ValueError, match="column"):
            records.widened({"a": "integer"}, new)


def test_a_table_returns_what_was_written(tmp_path):
    rows = [(2 * i, *row.values()) for i, row in enumerate(ROWS)]
    records.write(tmp_path / "t.sqlite", KINDS, [rows[:2], rows[2:]])
    table = records.Table(tmp_path / "t.sqlite")
    (tmp_path / "t.sqlite").unlink()
    assert table.select(["id", "scan", "label", "size", "known"]) == [
        (0, "a", 1, 2.0, None),
        (2, None, -(2**63), 2.5, None),
        (4, "é'\"\0x", 1, None, None),
    ]
    assert table.select([], "size > ?", (2,)) == [(None,)]


def test_invalid_conditions_are_refused():
    records.check_condition(KINDS, "size > ? AND scan = 'a'", (3,))
    bad = (("sise > 3", ()), ("size >", ()), ("size > ?", ()), ("1", (2,)), ("size > ?", (2**70,)))
    for condition, values in bad:
        with pytest.raises(ValueError, match=r"condition .*the columns are scan, label"):
            records.check_condition(KINDS, condition, values)


@pytest.mark.parametrize(
    "condition",
    [
        "size > 2 LIMIT 1",
        "size > 5;",
        "size > 5 ORDER BY size",
        '"sise" > 3',
        'scan = "a"',
        """scan = "it's" OR scan = 'b'""",
    ],
)
def test_misleading_conditions_are_refused(condition):
    with pytest.raises(ValueError, match=r"condition .*the columns are scan, label"):
        records.check_condition(KINDS, condition, ())


@pytest.mark.parametrize("condition", ["'", "(", "size >", "size + '", "[size", "/* open", ""])
def test_an_unfinished_condition_is_reported_without_the_query_around_it(condition):
    with pytest.raises(ValueError, match=r"unrecognized token|incomplete input") as error:
        records.check_condition(KINDS, condition, ())
    assert str(error.value).startswith(f"condition {condition!r}: ")
    assert "ORDER" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_condition_may_quote_columns_and_contain_comments():
    for condition in (
        '"SIZE" > 3', "size > 3 -- the \"big\" ones", "scan = 'say \"a\"'", 'size /* "x" */ > 3',
        "scan = 'A' COLLATE \"NOCASE\"", "records.size > 3",
    ):  # fmt: skip
        records.check_condition(KINDS, condition, ())


def test_a_condition_may_use_the_row_id(tmp_path):
    rows = [(2 * i, *row.values()) for i, row in enumerate(ROWS)]
    records.write(tmp_path / "t.sqlite", KINDS, [rows])
    table = records.Table(tmp_path / "t.sqlite")
    for name in ("id", "rowid", "OID", "_rowid_", "records.id"):
        records.check_condition(KINDS, f"{name} > 1", ())
        assert table.where(KINDS, f"{name} > 1", ()) == [2, 4]
    kinds = {**KINDS, "oid": "integer"}  # a user's column takes precedence
    records.write(tmp_path / "o.sqlite", kinds, [[(*row, 9 - row[0]) for row in rows]])
    assert records.Table(tmp_path / "o.sqlite").where(kinds, "oid > 7", ()) == [0]


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("size > (SELECT avg(size) FROM records)", "avg in conditions|subquery"),
        ("size IN (SELECT size FROM records)", "subquery"),
        ("1) UNION SELECT label FROM records WHERE (1", "subquery"),
        ("(SELECT file FROM pragma_database_list) > ''", "columns of one item"),
        ("(SELECT name FROM sqlite_master) > ''", "columns of one item"),
        ("load_extension('x')", "no function load_extension"),
        ("length(zeroblob(1000000000)) > 1", "no function zeroblob"),
        ("scan LIKE printf('%1000000d', 1)", "no function printf"),
    ],
)
def test_conditions_read_one_item_and_nothing_else(condition, reason):
    with pytest.raises(ValueError, match=reason):
        records.check_condition(KINDS, condition, ())
    for good in ("abs(round(size, 1)) > 2 AND upper(scan) LIKE 'A%'", "label IN (1, 2)"):
        records.check_condition(KINDS, good, ())
