"""Modules of the page by themselves, run in a browser."""

import http.server
import json
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from web.browser import launched

import inres

STATIC = Path(inres.__file__).parent / "web" / "static"


class Files(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *given):
        super().__init__(*given, directory=STATIC)

    def log_message(self, *given):
        pass


@pytest.fixture(scope="module")
def page():
    with launched() as browser, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = browser.new_page()
        opened.goto(f"http://127.0.0.1:{server.server_port}/icon.svg")
        yield opened
        server.shutdown()


def run(page, module, body, given=None):
    """The result of JavaScript with the module's names in `m` and the argument in `given`."""
    return page.evaluate(
        f"async given => {{ const m = await import('/js/{module}.js'); {body} }}", given
    )


# --- conditions -----------------------------------------------------------------------------------

ROWS = [
    (1, "it's", 5.0),
    (2, "IT'S so", None),
    (3, "", -2.5),
    (4, None, 8.0),
    (5, "a%b_c", 0.0),
    (6, 'say "hi"; DROP TABLE t --', 12.25),
]
COLUMNS = [
    {"name": "number", "kind": "integer"},
    {"name": 'a "text"', "kind": "text"},
    {"name": "size", "kind": "real"},
]
CASES = [
    (("number", "=", "3", ""), lambda n, t, s: n == 3),
    (("number", "≠", "3", ""), lambda n, t, s: n != 3),
    (("size", "≥", "5", ""), lambda n, t, s: s is not None and s >= 5),
    (("size", "<", "\N{MINUS SIGN}2", ""), lambda n, t, s: s is not None and s < -2),
    (("size", "between", "-3", "5,0"), lambda n, t, s: s is not None and -3 <= s <= 5),
    (("size", "unknown", "", ""), lambda n, t, s: s is None),
    (("size", "known", "", ""), lambda n, t, s: s is not None),
    (("size", ">", "DROP", ""), lambda n, t, s: True),
    (("nowhere", ">", "1", ""), lambda n, t, s: True),
    (('a "text"', "is", "it's", ""), lambda n, t, s: t == "it's"),
    (('a "text"', "is not", "it's", ""), lambda n, t, s: t is not None and t != "it's"),
    (('a "text"', "contains", "IT'S", ""), lambda n, t, s: "it's" in (t or "").lower()),
    (('a "text"', "contains", "%b_", ""), lambda n, t, s: "%b_" in (t or "")),
    (('a "text"', "contains", '"; drop', ""), lambda n, t, s: '"; drop' in (t or "").lower()),
    (('a "text"', "starts with", "it", ""), lambda n, t, s: (t or "").lower().startswith("it")),
    (('a "text"', "unknown", "", ""), lambda n, t, s: not t),
]


@pytest.fixture(scope="module")
def database():
    database = sqlite3.connect(":memory:")
    database.execute('CREATE TABLE t (number INTEGER, "a ""text""" TEXT, size REAL)')
    database.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)
    yield database
    database.close()


@pytest.mark.parametrize(("condition", "meets"), CASES)
def test_a_condition_selects_the_rows_that_meet_it(page, database, condition, meets):
    column, operator, value, upper = condition
    one = {"column": column, "operator": operator, "value": value, "upper": upper}
    filters = {"classes": [], "smallest": None, "largest": None, "conditions": [one], "sql": ""}
    where = run(
        page,
        "where",
        "return m.whereOf(given.filters, given.columns);",
        {"filters": filters, "columns": COLUMNS},
    )
    found = database.execute(f"SELECT number FROM t WHERE {where or 1}").fetchall()
    assert [number for (number,) in found] == [row[0] for row in ROWS if meets(*row)]


def test_filters_are_joined_by_and_also_after_a_comment(page):
    one = {"column": "size", "operator": ">", "value": "1", "upper": ""}
    filters = {
        "classes": [3, 1],
        "smallest": 4,
        "largest": 9.5,
        "conditions": [one],
        "sql": "number = 1 OR number = 6 -- either",
    }
    where = run(
        page,
        "where",
        "return m.whereOf(given.filters, given.columns);",
        {"filters": filters, "columns": COLUMNS},
    )
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (number INTEGER, label INTEGER, diameter_mm REAL, size REAL)")
    rows = [
        (n, label, d, s) for n in (1, 2, 6) for label in (1, 2) for d in (3, 5, 10) for s in (0, 2)
    ]
    database.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    found = database.execute(f"SELECT * FROM t WHERE {where}").fetchall()
    database.close()
    wanted = [r for r in rows if r[0] in (1, 6) and r[1] == 1 and r[2] == 5 and r[3] == 2]
    assert found == wanted


# --- geometry -------------------------------------------------------------------------------------


def test_places_equal_those_of_numpy(page):
    rng = np.random.default_rng(0)
    for _ in range(5):
        matrix = np.eye(4)
        matrix[:3] = rng.normal(0, 2, (3, 4))
        index = rng.uniform(-10, 300, 3)
        world = (matrix @ [*index, 1])[:3]
        there, back = run(
            page,
            "geometry",
            "return [m.toWorld(given.matrix, given.index), m.toIndex(given.matrix, given.world)];",
            {"matrix": matrix.tolist(), "index": index.tolist(), "world": world.tolist()},
        )
        np.testing.assert_allclose(there, world, rtol=1e-9)
        np.testing.assert_allclose(back, index, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-100.6, 67.3, -231.8", [-100.6, 67.3, -231.8]),
        ("  \N{MINUS SIGN}1 2;3 ", [-1, 2, 3]),
        ("1, 2", None),
        ("1, 2, 3, 4", None),
        ("1, 2, x", None),
        ("1, 2, Infinity", None),
    ],
)
def test_a_place_as_text(page, text, place):
    assert run(page, "geometry", "return m.parsePlace(given);", text) == place


# --- windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [(-1350, 150), (-160, 240), (-1200, 600)])
def test_grey_values_of_another_window(page, to):
    """Compares with windowing the HU that the grey values stand for."""
    low, high = -1200, 600
    table = run(page, "tones", "return [...m.toneTable(given[0], given[1])];", [(low, high), to])
    hu = np.linspace(low, high, 256)
    wanted = np.interp(hu, to, (0, 255))
    np.testing.assert_allclose(table, wanted, atol=0.51)


# --- images ---------------------------------------------------------------------------------------

LOADER = """
const log = [];
const waiting = new Map();
const load = (url, signal) => new Promise((resolve, reject) => {
  log.push(url);
  signal.addEventListener('abort', () => reject(new DOMException('', 'AbortError')));
  waiting.set(url, () => createImageBitmap(new ImageData(64, 64)).then(resolve));
});
const settle = () => new Promise((resolve) => setTimeout(resolve, 30));
const finish = async () => {
  for (const call of waiting.values()) call();
  waiting.clear();
  await settle();
};
"""


def test_decoded_images_take_no_more_than_their_limit(page):
    kept, first, last = run(
        page,
        "images",
        LOADER
        + """
        const images = m.createImages(10 * 64 * 64 * 4, load);
        for (let k = 0; k < 60; k += 1) {
          images.want(given, [`${k}`, `${k + 1}`]);
          await finish();
        }
        return [images.bytes() / (64 * 64 * 4), images.get('0'), Boolean(images.get('59'))];
        """,
        {},
    )
    assert 2 <= kept <= 10
    assert first is None
    assert last


def test_the_most_urgent_image_is_requested_first_and_what_nobody_wants_is_dropped(page):
    before, after = run(
        page,
        "images",
        LOADER
        + """
        const images = m.createImages(1e9, load);
        const view = {};
        images.want(view, Array.from({ length: 20 }, (_, k) => `old ${k}`));
        const before = [...log];
        log.length = 0;
        images.want(view, ['new 0', 'new 1']);
        await settle();
        return [before, log];
        """,
    )
    assert before == [f"old {k}" for k in range(len(before))]
    assert 1 < len(before) < 6  # a browser's connections to one server, less those for searches
    assert after == ["new 0", "new 1"]


# --- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        "",
        "#results",
        "#q=%E0%A4%A",
        "#q=1",
        "#q=[]",
        "#q={}",
        '#q={"query":1}',
    ],
)
def test_what_is_no_link_is_left_alone(page, link):
    assert run(page, "link", "return m.parseLink(given, []);", link) is None


def test_fields_of_a_link_with_the_wrong_type_are_left_out(page):
    hostile = {
        "query": {"item": 3},
        "options": {
            "k": "many",
            "threshold": 4,
            "weights": {"texture": "x"},
            "evil": 1,
            "where": ["x"],
            "own_scan": True,
        },
        "view": {"slice": "0", "window": 3, "filters": {"classes": "12", "conditions": [{"a": 1}]}},
    }
    read = run(
        page,
        "link",
        "return m.parseLink('#q=' + encodeURIComponent(given), []);",
        json.dumps(hostile),
    )
    assert read["given"] == {"threshold": 4, "own_scan": True}
    assert (read["slice"], read["window"]) == (None, None)
    assert read["filters"]["sql"] == ""
    assert read["filters"]["conditions"] == []


# --- scrolling together ---------------------------------------------------------------------------


def test_a_pair_scrolls_by_height(page):
    """A scan of slices 1.25 mm apart and an item with neighbours 5 mm away, both from below."""
    found = run(
        page,
        "pair",
        """
        const stack = (count, own, height) => ({ count, own, height });
        const pair = m.pairOf(stack(100, 40, (k) => -200 + 1.25 * k),
          stack(3, 1, (k) => 30 + 5 * (k - 1)));
        const at = (position) => pair.slices(position).map(({ slice, beyond }) => [slice, beyond]);
        return { mm: pair.millimetres, low: pair.low, high: pair.high, own: at(0), four: at(4),
          far: at(12) };
        """,
    )
    assert found["mm"] == 1.25
    assert (found["low"], found["high"]) == (-40, 59)
    assert found["own"] == [[40, False], [1, False]]
    assert found["four"] == [[44, False], [2, False]]
    assert found["far"] == [[52, False], [2, True]]
