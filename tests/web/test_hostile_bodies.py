"""Bodies and conditions that are made to do harm."""

import json
import threading
import time

import pytest

ITEM = {"query": {"item": 3}, "options": {"nearest": 3}}
JSON_TYPE = {"content-type": "application/json"}
NASTY = (
    *(None, True, -1, 0, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, 1e-320, "", "x", "\0", "-0"),
    *("\ud800", "\u202e", "9" * 25, [], [None], [[]], [1e308] * 3),
    *({}, {"": {}}, {"texture": 1e308}),
)


def send(client, path, body):
    """The answer to JSON that need not be text."""
    return client.post(path, content=json.dumps(body).encode(), headers=JSON_TYPE)


def test_options_of_any_type_are_answered_or_refused(client):
    options = ("k", "threshold", "min_pool", "nearest", "rank", "same_class", "distinct", "where")
    for name in (*options, "own_scan", "weights"):
        for value in NASTY:
            answer = send(client, "/api/search", ITEM | {"options": {"nearest": 3, name: value}})
            assert answer.status_code in (200, 400), (name, value, answer.text)
    for name in ITEM:
        for value in NASTY:
            answer = send(client, "/api/search", ITEM | {name: value})
            assert answer.status_code in (200, 400), (name, value, answer.text)


def test_queries_of_any_type_are_answered_or_refused(client):
    scan = client.opened("subset2/a.mhd")
    queries = (
        *({"item": 3}, {"scan": scan, "world_mm": [0, 0, 0]}, {"scan": scan, "slice_index": 1}),
        *({"image": "x", "z_mm": [1], "slice_mm": 1}, {"code": [1], "features": [0.5] * 16}),
    )
    opens = ({"root": "tree", "path": "subset2/a.mhd", "series_uid": ""}, {"scan": scan})
    for query in queries:
        for name in query:
            for value in NASTY:
                answer = send(client, "/api/search", {"query": query | {name: value}})
                assert answer.status_code in (200, 400, 404), (query, name, value, answer.text)
    for body in opens:
        for name in body:
            for value in NASTY:
                answer = send(client, "/api/scans", body | {name: value})
                assert answer.status_code in (202, 400, 404), (body, name, value, answer.text)
    for name in ("offset", "limit", "sort", "where"):
        for value in (v for v in NASTY if isinstance(v, int | str) and v != "\ud800"):
            answer = client.get("/api/records", params={name: value})
            assert answer.status_code in (200, 400), (name, value, answer.text)


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": ' * 50_000,
        b'{"query": {"item": 1}, "query": {"item": 2}}',
        b'{"query": {"item": 1e999}}',
        b'{"query": {"item": -Infinity}}',
        b'{"query": {"item": 1}}garbage',
        b"\xff\xfe{\x00",
        b'{"query": {"item": 1, "\\u0000": 1}}',
    ],
)
def test_odd_json_is_answered_or_refused(client, body):
    answer = client.post("/api/search", content=body, headers=JSON_TYPE)
    assert answer.status_code in (200, 400)


REFUSED = (
    *("ATTACH 'x' AS y", "1; ATTACH 'x' AS y", "PRAGMA user_version", "1) UNION SELECT 1 WHERE (1"),
    *("item IN sqlite_master", "item IN (SELECT 1)", "item IN pragma_database_list"),
    *("EXISTS(VALUES(1))", "load_extension('x')", "readfile('/etc/passwd')", "zeroblob(1e9) > 1"),
    *("printf('%1000000000d')", "replace('a', 'a', 'b')", "group_concat(item)", "max(item)"),
    *("max(item) OVER ()", "?", ":a", "json('[]')", "'{}' -> '$'", "scan REGEXP 'a'", "random()"),
    *("RAISE(FAIL, 'x')", "(" * 4000 + "1" + ")" * 4000, "NOT " * 2400 + "1"),
    *("1" + "+1" * 4900, "'", "[", "`", "\0", "1\0; DROP", "\ud800"),
)
HARMLESS = ("1 --", "1 /*", "item > 1 /* x */ --", '"item" > 1', "-" * 900 + "1")


def test_conditions_read_columns_and_nothing_else(client):
    for where in (*REFUSED, *HARMLESS, "/*" * 5000, '"', "-" * 9000 + "1", "\u202e1"):
        start = time.monotonic()
        answer = send(client, "/api/search", ITEM | {"options": {"where": where, "nearest": 3}})
        assert time.monotonic() - start < 2, where[:100]
        assert answer.status_code in (200, 400), where[:100]
        if where in REFUSED:
            assert answer.status_code == 400, where[:100]


@pytest.mark.parametrize(
    "where",
    [
        "'" + "a" * 4000 + "' LIKE '" + "%a" * 2400 + "b'",
        "'" + "a" * 4000 + "' LIKE '" + "%_a" * 1600 + "b'",
        "'" + "a" * 4000 + "' GLOB '" + "*a" * 2400 + "b'",
        "'" + "a" * 4000 + "' GLOB '" + "*[a-z]" * 900 + "b'",
        "instr('" + "a" * 5000 + "', '" + "a" * 4000 + "b')",
    ],
)
def test_patterns_that_take_long_hold_nobody_up(client, where):
    start = time.monotonic()
    body = {"query": {"item": 3}, "options": {"where": where, "nearest": 3}}
    assert client.post("/api/search", json=body).status_code in (200, 400)
    assert time.monotonic() - start < 2


def test_a_slow_condition_does_not_hold_up_others(client, archive, monkeypatch):
    """Others read records meanwhile."""
    table = archive._run.stored.shards[0].table
    begun, go, rows = threading.Event(), threading.Event(), table._evaluating.rows

    def slow(*given):
        begun.set()
        assert go.wait(10)
        return rows(*given)

    monkeypatch.setattr(table._evaluating, "rows", slow)
    body = {"query": {"item": 3}, "options": {"where": "label > 0", "nearest": 3}}
    answers = []
    one = threading.Thread(target=lambda: answers.append(client.post("/api/search", json=body)))
    one.start()
    assert begun.wait(5)
    assert client.post("/api/search", json=ITEM).status_code == 200
    go.set()
    one.join()
    assert answers[0].status_code == 200
