"""The API answers what the library answers."""

import csv
import io
import json
import math

import numpy as np
import pytest
from ct.trees import chest_hu
from PIL import Image
from web.small_archive import PATIENT

from inres.ct.image import to_uint8
from inres.searching import table
from inres.web import openapi
from inres.web.endpoints import ENDPOINTS

PLACE = (-60.0, 0.0, 10.0)
"""A nodule of scan a."""


def picture(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def as_json(hits):
    """What the API must say of hits, from the library's own objects."""

    def known(value):
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [
        {
            "item": hit.record["item"],
            "rank": hit.rank,
            "hamming": hit.hamming,
            "distance": known(hit.distance),
            "record": {name: known(value) for name, value in hit.record.items()},
            "properties": dict(hit.properties),
            "differences": dict(hit.differences),
        }
        for hit in hits
    ]


def same(answer, hits):
    wanted = as_json(hits)
    found = [{name: hit[name] for name in wanted[0]} for hit in answer["hits"]] if wanted else []
    assert found == wanted
    assert len(answer["hits"]) == len(wanted)
    assert answer["pool_size"] == hits.pool_size
    assert answer["threshold"] == hits.threshold
    assert answer["own_scan_excluded"] == hits.own_scan_excluded
    assert answer["summary"] == hits.summary


def test_the_document_lists_every_route(client):
    document = client.get("/api/openapi.json").json()
    assert document == openapi.document()
    listed = {(m.upper(), path) for path, item in document["paths"].items() for m in item}
    assert listed == {(one.method, one.path) for one in ENDPOINTS}
    routes = client.app._app._app.routes
    served = {(m, r.path) for r in routes if hasattr(r, "methods") for m in r.methods - {"HEAD"}}
    assert served == listed | {("GET", openapi.PATH)}
    ids = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(set(ids)) == len(ids)


def test_the_archive_is_described(client, archive):
    assert client.get("/api/health").json()["items"] == archive.item_count
    about = client.get("/api/archive").json()
    assert (about["form"], about["items"], about["archived"]) == ("scans", 12, 11)
    assert [one["name"] for one in about["classes"]][:2] == ["normal", "0~5 mm"]
    assert [one["name"] for one in about["properties"]] == list(archive.properties)
    assert {"name": "kind", "kind": "text"} in about["columns"]
    assert about["options"]["threshold"] == 7
    assert about["roots"] == [{"name": "tree"}]


OPTIONS = [
    {"nearest": 8, "k": 4},
    {"nearest": 11, "own_scan": True, "k": 20},
    {"threshold": 1},
    {"rank": "hamming", "k": 3},
    {"weights": {"texture": 1}},
    {"nearest": 11, "distinct": "scan"},
    {"nearest": 11, "where": "kind = 'it''s <solid>'"},
    {"where": "diameter_mm > 1000"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_searches_equal_those_of_the_library(client, archive, small, options):
    scan = client.opened("subset2/a.mhd")
    opened = archive.search_scan(small.root / "tree/subset2/a.mhd", world_mm=PLACE, **options)
    answer = client.searched({"scan": scan, "world_mm": list(PLACE)}, **options)
    same(answer, opened)
    assert answer["query"]["image"].startswith("data:image/png;base64,")
    assert answer["query"]["predicted"]["label"] == opened.query.predicted
    assert answer["query"]["scan"] == "a"
    for item in (0, 8):
        same(client.searched({"item": item}, **options), archive.search_item(item, **options))
    used = archive.options(options)
    assert answer["pool_text"] == table.pool_in_words(opened, used)


def test_a_code_finds_what_its_item_finds(client, archive):
    packed, features = np.asarray(archive._run.stored.codes), archive._run.stored.features
    query = {"code": packed[3].tolist(), "features": np.asarray(features)[3].tolist()}
    answer = client.searched(query, nearest=5)
    assert answer["hits"][0]["item"] == 4  # id 3
    assert answer["hits"][0]["distance"] == 0
    assert (answer["query"]["image"], answer["query"]["predicted"]) == (None, None)
    assert "class and properties are unknown" in answer["query"]["notes"][0]
    body = {"query": query, "options": {"same_class": True}}
    assert "same_class: leave it out" in client.refused(400, "POST", "/api/search", json=body)
    short = {"query": query | {"features": [1.0]}}
    assert "features" in client.refused(400, "POST", "/api/search", json=short)


def test_respects_have_the_verdicts_of_the_library(client):
    answer = client.searched({"item": 7}, nearest=11, k=11)
    verdicts = set()
    for hit in answer["hits"]:
        assert [one["name"] for one in hit["respects"]] == ["diameter_mm", "texture"]
        for one in hit["respects"]:
            apart = one["difference_sd"]
            assert apart == hit["differences"].get(one["name"])
            assert one["item"] == hit["properties"].get(one["name"])
            unknown = apart is None
            wanted = "unknown" if unknown else "similar" if apart < 0.5 else "partly"
            verdicts.add(one["verdict"])
            assert one["verdict"] == ("different" if not unknown and apart >= 0.8 else wanted)
    assert "unknown" in verdicts
    assert len(verdicts) > 1


def test_results_are_exported_as_the_command_line_writes_them(client, archive):
    body = {"query": {"item": 3}, "options": {"nearest": 6}}
    answer = client.post("/api/export?format=csv", json=body)
    assert answer.headers["content-disposition"] == 'attachment; filename="inres-search.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    hits = archive.search_item(3, nearest=6)
    wanted = table.rows(hits, archive.class_names, archive.properties, archive.columns)
    columns = table.columns(archive.properties, archive.columns)
    for row in wanted:
        row["patient"] = row["patient"].replace(PATIENT, f"'{PATIENT}")  # no formula
    assert any(row["patient"].startswith("'=SUM") for row in wanted)
    assert rows == [{name: str(row.get(name, "")) for name in columns} for row in wanted]
    for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        answer = client.post(f"/api/export?format={kind}", json=body)
        assert answer.content.startswith(magic)
    assert "format must be" in client.refused(400, "POST", "/api/export?format=exe", json=body)


def test_items_have_records_slices_and_origins(client, archive, small):
    store = small.open_store()
    for item in (0, 7):
        about = client.get(f"/api/items/{item}").json()
        assert about["archived"] == (item != 0)
        one = store.items[item]
        assert (about["record"]["item"], about["record"]["scan"]) == (item, one.scan)
        assert about["record"]["diameter_mm"] == one.diameter_mm
        assert about["record"]["kind"] == one.texts.get("kind", "")
        assert about["origin"]["path"] == f"subset{one.subset}/{one.scan}.mhd"
        assert about["origin"]["world_mm"] == [one.x_mm, one.y_mm, one.z_mm]
        planes, known = store.planes(item)
        slices = about["slices"]
        assert slices["count"] == known.sum() == 3
        assert slices["z_mm"] == pytest.approx([one.z_mm - 5, one.z_mm, one.z_mm + 5])
        assert (slices["point"], slices["seen_px"]) == ([one.row, one.col], 32)
        assert slices["window_hu"] == [small.config.items.hu_min, small.config.items.hu_max]
        for k, address in enumerate(slices["images"]):
            np.testing.assert_array_equal(picture(client.get(address)), planes[k])
        np.testing.assert_array_equal(picture(client.get(about["image"])), archive.image(item))
    assert "no item 99; items are 0 to 11" in client.refused(404, "GET", "/api/items/99")
    for wrong in ("-1", "1.0", "x", "1e3", "%00", "9" * 400):
        client.refused(404, "GET", f"/api/items/{wrong}")
    client.refused(404, "GET", "/api/items/3/slices/3.png")


def test_records_are_filtered_and_sorted(client, archive):
    found = client.get("/api/records").json()
    assert found["count"] == 11
    assert [one["item"] for one in found["records"]] == list(range(1, 12))
    assert found["records"][6]["patient"] == PATIENT
    assert any(one["texture"] is None for one in found["records"])
    given = {"sort": "-texture", "limit": 4, "offset": 1}
    page = client.get("/api/records", params=given).json()["records"]
    by_texture = sorted(found["records"], key=lambda one: -(one["texture"] or -1))
    assert page == by_texture[1:5]
    nodules = client.get("/api/records", params={"where": "diameter_mm > 10"}).json()
    assert [one["diameter_mm"] for one in nodules["records"]] == [14, 22]
    by_scan = client.get("/api/records", params={"sort": "scan"}).json()["records"]
    assert [one["scan"] for one in by_scan] == sorted(one["scan"] for one in found["records"])
    wrong = (
        ({"where": "size > 3"}, "no such column: size"),
        ({"where": "1; DROP TABLE records"}, "one statement"),
        ({"where": "(SELECT 1)"}, "subquery"),
        ({"where": "randomblob(9) > 1"}, "no function randomblob"),
        ({"where": "1" * 10_001}, "at most 10000 characters"),
        ({"sort": "size"}, "no column 'size'"),
        ({"limit": "0"}, "limit must be"),
        ({"limit": "1001"}, "at most 1000"),
        ({"offset": "-1"}, "offset must be"),
    )
    for params, message in wrong:
        assert message in client.refused(400, "GET", "/api/records", params=params)


@pytest.mark.parametrize("path", ["subset2/a.mhd", "subset0/b.mhd", "subset0/c.mhd"])
def test_slices_are_upright_and_placed(client, path):
    """Every pixel shows the chest at its place in the world, also of a scan stored upside down."""
    scan = client.opened(path)
    about = client.get(f"/api/scans/{scan}").json()
    assert (about["lungs"], about["notes"], about["series"]) == (2, [], [])
    slices, rows, columns = about["shape"]
    matrix = np.array(about["index_to_world"])
    k = slices // 2
    image = picture(client.get(f"/api/scans/{scan}/slices/{k}.png?window=narrow"))
    assert image.shape == (rows, columns)
    grid = np.stack(np.broadcast_arrays(k, *np.indices((rows, columns)), 1), -1)
    world = (grid @ matrix.T)[..., :3]
    wanted = to_uint8(chest_hu(world), hu_min=-160, hu_max=240)
    unlike = np.abs(image.astype(int) - wanted) > 100
    assert unlike.mean() < 0.03  # nodules, and edges
    step = np.diff(world[:, 0, 1])
    assert (step > 0).all()  # from front to back
    assert about["spacing_mm"][1] == pytest.approx(step.mean())


def test_slices_that_are_not_there(client):
    scan = client.opened("subset2/a.mhd")
    assert "the scan has 0 to 79" in client.refused(404, "GET", f"/api/scans/{scan}/slices/80.png")
    client.refused(404, "GET", f"/api/scans/{scan}/slices/-1.png")
    client.refused(400, "GET", f"/api/scans/{scan}/slices/1.png?window=bone")
    client.refused(404, "GET", "/api/scans/unknown/slices/1.png")


BODIES = [
    ({}, "query must be an object"),
    ({"query": {}}, "exactly one of scan, item, image and code"),
    ({"query": {"item": 1, "scan": "x"}}, "exactly one of"),
    ({"query": {"item": "x"}}, "item must be a whole number"),
    ({"query": {"item": True}}, "item must be a whole number"),
    ({"query": {"item": 12}}, "item 12: the item table has rows 0 to 11"),
    ({"query": {"item": 1}, "more": 1}, "no field 'more'"),
    ({"query": {"item": 1, "world_mm": [0, 0, 0]}}, "no field 'world_mm'"),
    ({"query": {"item": 1}, "options": {"kk": 1}}, "options has no field 'kk'"),
    ({"query": {"item": 1}, "options": {"k": 0}}, "k = 0"),
    ({"query": {"item": 1}, "options": {"k": 1001}}, "at most 1000"),
    ({"query": {"item": 1}, "options": {"k": "3"}}, "k = '3'"),
    ({"query": {"item": 1}, "options": {"where": 3}}, "where = 3"),
    ({"query": {"item": 1}, "options": {"where": "texture >"}}, "condition 'texture >'"),
    ({"query": {"item": 1}, "options": {"weights": {"colour": 1}}}, "no property 'colour'"),
    ({"query": {"item": 1}, "options": {"weights": [1]}}, "weights = [1]"),
    ({"query": {"code": [2**32], "features": [1]}}, "below 2^32"),
    ({"query": {"code": [1], "features": ["a"]}}, "features must be a list of numbers"),
]


@pytest.mark.parametrize(("body", "message"), BODIES)
def test_a_search_that_makes_no_sense_is_refused(client, body, message):
    assert message in client.refused(400, "POST", "/api/search", json=body)


def test_a_place_outside_the_scan_is_refused_without_paths(client, small):
    scan = client.opened("subset2/a.mhd")
    body = {"query": {"scan": scan, "world_mm": [0, 0, 9999]}}
    error = client.refused(400, "POST", "/api/search", json=body)
    assert error.startswith("tree/subset2/a.mhd: (0.0, 0.0, 9999.0) mm is outside the scan")
    for world in ([0, 0], [0, 0, "x"], 3, [0, 0, 1e400]):
        body = json.dumps({"query": {"scan": scan, "world_mm": world}})
        json_type = {"content-type": "application/json"}
        client.refused(400, "POST", "/api/search", content=body, headers=json_type)
