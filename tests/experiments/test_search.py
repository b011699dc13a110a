"""The search command: where it writes, what it refuses before it searches, and interrupts."""

import os
import types

import numpy as np
import pytest
from cli import refused, results

from experiments import search
from inres.searching import batch
from inres.searching.hits import Hit, Hits, Query


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("queries.csv", ("--queries={}/queries.csv", "--out={}/queries")),
        ("foo.png", ("--image={}/foo.png", "--out={}/foo")),
        ("foo.png", ("--image={}/linked/foo.png", "--out={}/foo")),
        ("w/search/queries.csv", ("--queries={}/w/search/queries.csv",)),
        ("w/search/foo.png", ("--image={}/w/search/foo.png",)),
    ],
)
@pytest.mark.e2e
def test_the_query_is_not_overwritten(tmp_path, name, flags):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("item\n3\n")
    (tmp_path / "linked").symlink_to(tmp_path)
    where = f"--workdir={tmp_path / 'w'}"  # without a run: refused before it is opened
    error = refused("search", where, *(flag.format(tmp_path) for flag in flags))
    assert f"{path}: the query itself" in error
    assert "choose another --out" in error
    assert path.read_text() == "item\n3\n"


@pytest.mark.e2e
def test_outputs_need_a_name_of_their_own(tmp_path):
    flags = (f"--workdir={tmp_path / 'w'}", "--item=3")
    assert "--out=/: a folder; add a name" in refused("search", *flags, "--out=/")
    (tmp_path / "a.svg").mkdir()
    error = refused("search", *flags, f"--out={tmp_path / 'a'}")
    assert f"{tmp_path / 'a.svg'}: a folder with the name of an output" in error


@pytest.mark.e2e
def test_a_table_of_queries_is_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path, what in ((tmp_path / "pipe.csv", "a pipe or device"), (tmp_path, "a folder")):
        error = refused("search", f"--workdir={tmp_path / 'w'}", f"--queries={path}")
        assert f"{path}: {what}, not a regular file" in error


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/out: results cannot be written there .*--out"):
        search._require_writable(tmp_path / "file" / "out")

    def read_only(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(search.tempfile, "TemporaryFile", read_only)
    with pytest.raises(ValueError, match=r"Permission denied\); choose another --out"):
        search._require_writable(tmp_path / "out")


def test_an_interrupted_table_keeps_the_finished_rows(tmp_path, monkeypatch, capsys):
    class Interrupted:
        class_names = ("a", "b")
        properties = ("texture",)
        columns = ()

        def search_item(self, item):
            if item == 3:
                raise KeyboardInterrupt
            if item == 2:
                raise ValueError("no such item")
            return Hits(Query(f"item{item}", np.zeros((4, 4), np.uint8), 1), (), 0, 3, False)

    (tmp_path / "queries.csv").write_text("item\n1\n2\n3\n4\n")
    rows = batch.read_queries(tmp_path / "queries.csv")
    monkeypatch.setattr(search, "OUT", types.SimpleNamespace(value=str(tmp_path / "found")))
    with pytest.raises(KeyboardInterrupt):
        search._search_table(Interrupted(), rows, {}, tmp_path)
    assert [(row["query"], row["note"]) for row in results(tmp_path / "found")] == [
        ("1", ""),
        ("2", "failed: no such item"),
    ]
    assert "1 of 4 queries searched, 1 found nothing, 1 failed" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):  # nothing finished: earlier results are kept
        search._search_table(Interrupted(), rows[2:], {}, tmp_path)
    assert len(results(tmp_path / "found")) == 2


def test_weights_are_a_list_of_names_and_numbers():
    assert search._weights(["texture=1", " margin = 2.5"]) == {"texture": 1.0, "margin": 2.5}
    assert search._weights([]) == {}


@pytest.mark.parametrize("texts", [["texture"], ["texture=a"], ["=1"], ["texture=1", "texture=2"]])
def test_other_weights_are_refused_before_a_run_is_opened(texts):
    with pytest.raises(ValueError, match=r"--weights=.*: must be different properties with a numb"):
        search._weights(texts)


def test_the_table_of_many_queries_has_the_properties_of_query_and_result(tmp_path, monkeypatch):
    image = np.zeros((4, 4), np.uint8)
    record = {"item": 7, "scan": "s", "nodule": "n", "label": 1}
    record |= {"diameter_mm": 9.0, "malignancy": None}

    class Archive:
        class_names = ("a", "b")
        properties = ("diameter_mm", "texture")
        columns = ()

        def search_item(self, item, **options):
            assert options == {"weights": {"texture": 1.0}}
            query = Query(f"item{item}", image, 1, properties={"diameter_mm": 8.0, "texture": 4.8})
            hit = Hit(
                1, record, 3, 0.1, image, {"diameter_mm": 9.0, "texture": 5.0}, {"texture": 0}
            )
            return Hits(query, (hit,), 5, 17, False)

    (tmp_path / "queries.csv").write_text("item\n1\n")
    rows = batch.read_queries(tmp_path / "queries.csv")
    monkeypatch.setattr(search, "OUT", types.SimpleNamespace(value=str(tmp_path / "found")))
    search._search_table(Archive(), rows, {"weights": {"texture": 1.0}}, tmp_path)
    (row,) = results(tmp_path / "found")
    assert (row["texture"], row["query_texture"]) == ("5", "4.8")
    assert (row["diameter_mm"], row["query_diameter_mm"]) == ("9", "8")


def test_columns_of_the_user_do_not_replace_those_of_the_query(tmp_path, monkeypatch):
    image = np.zeros((4, 4), np.uint8)
    record = {"item": 7, "scan": "s", "nodule": "n", "label": 1, "diameter_mm": 9.0}
    record |= {"malignancy": None, "note": "seen twice", "query": "why", "pool": 3.0}

    class Archive:
        class_names = ("a", "b")
        properties = ("pool",)
        columns = ("note", "query")

        def search_item(self, item, **options):
            query = Query(f"item{item}", image, 1, notes=("one slice",))
            return Hits(query, (Hit(1, record, 3, 0.1, image, {"pool": 3.0}, {}),), 5, 17, False)

    (tmp_path / "queries.csv").write_text("item\n1\n")
    rows = batch.read_queries(tmp_path / "queries.csv")
    monkeypatch.setattr(search, "OUT", types.SimpleNamespace(value=str(tmp_path / "found")))
    search._search_table(Archive(), rows, {}, tmp_path)
    head = (tmp_path / "found.csv").read_text().splitlines()[0].split(",")
    assert len({*head}) == len(head)
    (row,) = results(tmp_path / "found")
    assert (row["query"], row["pool"], row["note"]) == ("1", "5", "one slice")
    assert (row["query_"], row["pool_"], row["note_"]) == ("why", "3", "seen twice")
