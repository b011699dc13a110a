"""What a search says of its results, and which results are one nodule or one scan."""

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest

from inres.archive import unit_name
from inres.data import items
from inres.figures import style
from inres.searching import table
from inres.searching.hits import Hit, Hits, Query, SearchOptions

NAMES = ("=0", "0~5", "5~6", "6~8", "8~13", "13~18", "18~23", ">23")


def test_nodules_of_unknown_scans_are_told_apart_by_their_patients():
    rows = [items.Item("", "", "n1", 1, patient=patient) for patient in "aab"]
    rows += [items.Item("", "", "", 0), items.Item("", "", "", 0)]
    records = [{"item": row, **vars(item)} for row, item in enumerate(rows)]
    units = [unit_name(record, "nodule") for record in records]
    assert units[0] == units[1]
    assert len(set(units)) == 4


def hits(count, *, pool=5, threshold=3, own=False, distance=1.0):
    record = {
        **{"item": 7, "scan": "1.2.3", "nodule": "n", "label": 4, "diameter_mm": 9.3},
        **{"malignancy": None, "image": "", "patient": "", "x_mm": float("nan")},
    }
    image = np.zeros((4, 4), np.uint8)
    found = tuple(Hit(i + 1, record, i, distance, image) for i in range(count))
    return Hits(Query("q", image, 1), found, pool, threshold, own)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ({"count": 0, "pool": 0}, {}, "no item has a Hamming distance below 3: the pool is empty"),
        ({"count": 0, "pool": 0}, {"rank": "hamming", "where": "label = 9"}, "no item where label"),
        ({"count": 0, "pool": 0, "own": True}, {"nearest": 4}, "(the query's own scan is not"),
        ({"count": 3, "threshold": 6}, {"min_pool": 5}, "5 items in the pool, Hamming distance "),
        ({"count": 3, "threshold": 6}, {"min_pool": 5}, "below 6 (raised from 3)"),
        ({"count": 3}, {"same_class": True, "distinct": "scan"}, "5 items of the predicted class"),
        ({"count": 3}, {"distinct": "scan"}, ", each scan once"),
        ({"count": 1, "pool": 1}, {}, "1 item in the pool, Hamming distance below 3"),
        ({"count": 1}, {"rank": "hamming"}, "the item nearest by Hamming distance"),
        ({"count": 3}, {"rank": "hamming"}, "the 3 items nearest by Hamming distance"),
        ({"count": 3}, {"weights": {"a": 1, "b": 0, "c": 0.5}}, "5 items ranked by a (1), c (0.5)"),
        ({"count": 0, "pool": 0}, {"weights": {"a": 1}}, "no item is left to be found"),
    ],
)
def test_what_is_said_of_the_pool_is_so(given, options, said):
    assert said in table.pool_in_words(hits(**given), SearchOptions(**options))


def test_unknown_values_are_blank_in_the_table():
    (row,) = table.rows(hits(1, distance=float("nan")), NAMES)
    assert row["class"] == "8~13 mm"
    assert row["diameter_mm"] == "9.3"
    assert (row["malignancy"], row["euclidean"], row["x_mm"]) == ("", "", "")
    lines = table.format_rows([row]).splitlines()
    unknown = ("malignancy", "euclidean")  # of every row, so their columns are left out
    assert lines[0].split() == [name for name in table.COLUMNS if name not in unknown]


def test_the_users_own_columns_follow():
    """In the CSV file all of them, in the printed table a few that are known."""
    found = hits(2)
    own = [f"own{n}" for n in range(6)]
    record = {**found[0].record, **{name: f"value-{name}" for name in own[1:]}, "own0": None}
    first = dataclasses.replace(found[0], record=record)
    row, other = table.rows(dataclasses.replace(found, hits=(first, found[1])), NAMES, RATED, own)
    assert [*row][-6:] == [*table.columns(RATED, own)][-6:] == own
    assert [row[name] for name in own] == ["", *(f"value-{name}" for name in own[1:])]
    header, line, _ = table.format_rows([row, other], own).splitlines()
    assert header.split()[-4:] == own[1:5]
    assert line.split()[-4:] == [f"value-{name}" for name in own[1:5]]


def test_spreadsheets_find_no_formulas():
    texts = ("=1+1", "+x", "-x", "@SUM(A1)", "\t=1", " =1", "\uff1d1", '=HYPERLINK("http://x")')
    kept = ("", "-", "+", "-1.5", "+49", "-inf", "1e-5", "a=1", "1.2.3", "'=1", 3, -2.5)
    (row,) = table.without_formulas([dict(enumerate((*texts, *kept)))])
    assert tuple(row.values()) == (*(f"'{text}" for text in texts), *kept)


RATED = ("diameter_mm", "texture", "margin", "subtlety")


def compared():
    """Two results for a query; the second has no texture, and neither has a subtlety."""
    query = Query(
        *("q", np.zeros((4, 4), np.uint8), 4),
        properties={"diameter_mm": 9.0, "texture": 4.86, "margin": 3.0, "subtlety": 2.0},
        known={"diameter_mm": 9.3},
    )
    plain = hits(2)
    values = ({"diameter_mm": 9.3, "texture": 4.5, "margin": 1.0}, {"diameter_mm": 4, "margin": 3})
    apart = ({"diameter_mm": 0.1, "texture": 0.4, "margin": 2.0}, {"diameter_mm": 1.1, "margin": 0})
    found = tuple(
        dataclasses.replace(hit, properties=values[i], differences=apart[i])
        for i, hit in enumerate(plain)
    )
    return dataclasses.replace(plain, query=query, hits=found)


def test_each_property_stands_next_to_the_querys():
    found = compared()
    first, second = table.rows(found, NAMES, RATED)
    assert {*first} == {*table.columns(RATED)}
    assert (first["texture"], first["query_texture"]) == ("4.5", "4.86")
    assert (second["texture"], second["query_texture"]) == ("", "4.86")
    assert (first["diameter_mm"], first["query_diameter_mm"]) == ("9.3", "9")
    lines = table.format_properties(found, RATED).splitlines()
    assert lines[0].split() == [*RATED]
    assert [line.split() for line in lines[1:-1]] == [
        ["query", "9.0", "4.9", "3.0", "2.0"],
        ["record", "9.3"],
        ["1", "9.3", "=", "4.5", "=", "1.0"],
        ["2", "4.0", "3.0", "="],
        ["mean", "difference,", "SD", "0.60", "0.40", "1.00"],
    ]
    assert lines[-1].startswith("= differs by less than 0.5")
    assert table.format_properties(hits(2), ()) == table.format_properties(hits(2), RATED) == ""


def test_the_summary_says_in_which_respects_results_are_similar():
    found = compared()
    assert found.mean_differences == pytest.approx(
        {"diameter_mm": 0.6, "texture": 0.4, "margin": 1}
    )
    assert found.summary == (
        "similar in texture; partly similar in diameter; not similar in margin"
    )
    assert hits(3).summary == hits(0).summary == ""


def test_the_figure_compares_each_result_with_the_query():
    figure = table.figure(compared(), NAMES, RATED)
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if patch.get_height() < 0.1]
    widths = np.array([patch.get_width() for patch in bars])
    apart = np.array([0.1, -0.4, -2.0, -1.1, 0.0])  # below the query's value: to the left
    np.testing.assert_allclose(widths, apart / 2.0 * widths.min() / -1.0, atol=1e-9)
    assert [patch.get_facecolor()[:3] for patch in bars] == [
        mpl.colors.to_rgb(color)
        for color in (*(style.BLUE, style.BLUE), *(style.VERMILION, style.VERMILION), style.BLUE)
    ]
    words = [text.get_text() for text in axes.texts]
    assert words.count("texture") == 3
    assert "9.0 (record 9.3)" in words
    assert any("similar, below 0.5 SD" in text for text in words)
    without = table.figure(hits(2), NAMES)
    assert without.get_size_inches()[1] < figure.get_size_inches()[1]


def test_results_are_a_sequence():
    found = hits(3)
    assert [hit.rank for hit in found] == [1, 2, 3]
    assert found[-1].hamming == 2
    assert len(found[1:]) == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"k": 0}, r"k = 0: must be a whole number of at least 1"),
        ({"k": True}, "k = True: must be a whole number"),
        ({"threshold": 2.5}, r"threshold = 2\.5: must be a whole number"),
        ({"rank": "cosine"}, "rank = 'cosine': must be one of 'euclidean', 'hamming'"),
        ({"rank": ["hamming"]}, r"rank = \['hamming'\]: must be one of"),
        ({"distinct": np.array(["scan"])}, "distinct = .*: must be one of '', 'nodule', 'scan'"),
        ({"distinct": None}, "distinct = None: must be one of"),
        ({"same_class": 1}, "same_class = 1: must be True or False"),
        ({"own_scan": "no"}, "own_scan = 'no': must be True or False"),
        ({"where": ["label > 0"]}, r"where = \['label > 0'\]: must be an SQL condition as text"),
        ({"where": None}, "where = None: must be an SQL condition as text"),
        ({"nearest": 3, "min_pool": 3}, "min_pool = 3: must be 0"),
        ({"weights": ["texture=1"]}, r"weights = \['texture=1'\]: must be a mapping"),
        ({"weights": {"a": 1}, "threshold": 4}, "threshold = 4: leave it out, because weights"),
        ({"weights": {"a": 1}, "min_pool": 4}, "min_pool = 4: leave it out"),
        ({"weights": {"a": 1}, "nearest": 4}, "nearest = 4: leave it out"),
        ({"weights": {"a": 1}, "rank": "hamming"}, "rank = 'hamming': leave it out"),
    ],
)
def test_impossible_options_are_refused_by_name(option, message):
    with pytest.raises(ValueError, match=message):
        SearchOptions(**option)


def test_every_option_is_a_flag_of_the_command():
    from experiments import search

    assert set(search.OPTIONS) == {field.name for field in dataclasses.fields(SearchOptions)}
