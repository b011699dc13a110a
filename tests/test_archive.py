"""Searches by weighted properties in an archive, without training: a run of random embeddings."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_run import ARCHIVED, ITEMS, NAMES, NORMAL, make_items, make_run

from inres.archive import Archive
from inres.config import Config, Data, Items
from inres.data import image_stack
from inres.data.properties import PropertyScale, table
from inres.retrieval import native


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    rows = make_items(np.random.default_rng(0))
    scale = PropertyScale.of(NAMES, table(rows, NAMES))
    return Archive(make_run(tmp_path_factory.mktemp("run"), rows, scale))


def brute(archive, item, weights, allowed):
    """Archived items by weighted difference to the query, from the item table and embeddings."""
    run, scale = archive._run, archive._run.property_scale
    estimates = scale.standardise(scale.restore(run.layers[0].properties)).astype(np.float64)
    values = scale.standardise(table(run.items, NAMES)).astype(np.float64)
    for row, one in enumerate(run.items):
        for at, name in enumerate(NAMES):
            if np.isnan(values[row, at]) and (one.label > 0 or name == "lung_height"):
                values[row, at] = estimates[row, at]
    share = np.array([weights.get(name, 0) for name in NAMES], float)
    used, share = share > 0, share / share.sum()
    square = (share[used] * (values[:, used] - estimates[item, used]) ** 2).sum(axis=1)
    rows = [r for r in range(ARCHIVED) if np.isfinite(square[r]) and allowed(run.items[r])]
    return sorted(rows, key=lambda row: (square[row], row)), np.sqrt(square)


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        ({"texture": 1, "margin": 2}, {}),
        ({"texture": 1}, {"k": 1000}),
        ({"diameter_mm": 1, "texture": 0, "lung_height": 0.5}, {"own_scan": True}),
        ({"margin": 3}, {"where": "diameter_mm > 10", "k": 4}),
        ({"margin": 1}, {"same_class": True}),
        ({"lung_height": 1}, {"k": 20}),
    ],
)
def test_weighted_searches_equal_brute_force_over_the_item_table(archive, weights, options):
    run = archive._run
    for item in (1, 2, 55):
        own, predicted = run.items[item].scan, int(run.layers[0].fc3[item].argmax())

        def allowed(one, own=own, predicted=predicted):
            return (
                (one.scan != own or "own_scan" in options)
                and (one.diameter_mm > 10 or "where" not in options)
                and (one.label == predicted or "same_class" not in options)
            )

        want, distance = brute(archive, item, weights, allowed)
        hits = archive.search_item(item, weights=weights, **options)
        found = [hit.record["item"] for hit in hits]
        assert found == want[: options.get("k", 10)]
        assert hits.pool_size == len(want)
        np.testing.assert_allclose(
            [h.distance for h in hits], distance[found], rtol=1e-4, atol=1e-6
        )
        bits = run.layers[0].h >= 0.5
        assert [h.hamming for h in hits] == (bits[found] != bits[item]).sum(axis=1).tolist()


def test_items_are_found_by_their_records_or_in_the_item_table(archive):
    """The table is read for items that are not archived only; the answers say the same."""
    run, read = archive._run, []
    one = dataclasses.replace(run, load_items=lambda: read.append(1) or run.items)
    found = Archive(one)
    assert found.item_count == ITEMS
    for item in range(ARCHIVED):
        query, row = found.search_item(item).query, run.items[item]
        assert (query.scan, query.label, query.diameter_mm) == (
            row.scan,
            row.label,
            row.diameter_mm,
        )
        for name in NAMES:
            value = row.value(name)
            expected = None if np.isnan(value) or (name != NAMES[3] and not row.label) else value
            assert query.known.get(name) == expected
    assert not read
    assert found.search_item(ITEMS - 1).query.scan == run.items[ITEMS - 1].scan
    assert read == [1]


def test_normal_items_are_found_by_their_location_only(archive):
    every = {"k": 100, "own_scan": True}
    textured = archive.search_item(1, weights={"texture": 1}, **every)
    assert len(textured) == sum(item.label > 0 for item in archive._run.items[:ARCHIVED])
    placed = archive.search_item(1, weights={"lung_height": 1}, **every)
    assert len(placed) == ARCHIVED
    both = archive.search_item(1, weights={"lung_height": 1, "texture": 1}, **every)
    assert {hit.record["item"] for hit in both} == {hit.record["item"] for hit in textured}


def test_each_nodule_once_is_its_nearest_item(archive):
    weights, options = {"margin": 1, "texture": 1}, {"k": 8, "own_scan": True}
    every = archive.search_item(1, weights=weights, k=100, own_scan=True)
    units = [(hit.record["scan"], hit.record["nodule"]) for hit in every]
    first = [hit.record["item"] for i, hit in enumerate(every) if units[i] not in units[:i]]
    found = archive.search_item(1, weights=weights, distinct="nodule", **options)
    assert [hit.record["item"] for hit in found] == first[:8]


def test_a_query_has_estimates_and_a_result_what_its_record_says(archive):
    run = archive._run
    hits = archive.search_item(6, nearest=20, k=20)
    restored = run.property_scale.restore(run.layers[0].properties)[6]
    assert hits.query.properties == pytest.approx(dict(zip(NAMES, restored, strict=True)))
    assert "texture" not in hits.query.known  # not in the item's record
    assert hits.query.known["margin"] == run.items[6].value("margin")
    std = dict(zip(NAMES, run.property_scale.std, strict=True))
    for hit in hits:
        one = run.items[hit.record["item"]]
        assert ("diameter_mm" in hit.properties) == (one.label > 0)
        assert hit.properties.get("texture", np.nan) == pytest.approx(
            one.value("texture"), nan_ok=True
        )
        assert {*hit.differences} == {*hit.properties}
        apart = abs(one.value("lung_height") - hits.query.properties["lung_height"])
        assert hit.differences["lung_height"] == pytest.approx(
            apart / std["lung_height"], rel=1e-4, abs=1e-5
        )


def test_a_query_without_a_nodule_has_no_properties_of_one(archive):
    hits = archive.search_item(NORMAL, nearest=20)
    assert [*hits.query.properties] == ["lung_height"]
    assert all({*hit.differences} == {"lung_height"} for hit in hits)
    with pytest.raises(ValueError, match=r"item0: the network sees no nodule .* texture;"):
        archive.search_item(NORMAL, weights={"texture": 1, "margin": 0})
    assert len(archive.search_item(NORMAL, weights={"texture": 0, "lung_height": 1})) == 10


def test_weights_are_refused_with_the_properties_of_the_archive(archive, tmp_path):
    with pytest.raises(ValueError, match=r"no property 'colour'.* diameter_mm, texture, margin, l"):
        archive.search_item(1, weights={"colour": 1})
    with pytest.raises(ValueError, match=r"texture = -1; .* of diameter_mm, texture, margin"):
        archive.search_item(1, weights={"texture": -1})
    with pytest.raises(ValueError, match="threshold = 5: leave it out"):
        archive.search_item(1, weights={"texture": 1}, threshold=5)
    assert archive.options({"weights": {"texture": 1}}).threshold == 3  # not the run's 5
    assert archive.options({"weights": {}}).threshold == 5
    rows = make_items(np.random.default_rng(0))
    nothing = PropertyScale.of((), np.zeros((ITEMS, 0)))
    bare = Archive(make_run(tmp_path, rows, nothing))
    with pytest.raises(ValueError, match="this archive has no properties"):
        bare.search_item(1, weights={"texture": 1})
    hits = bare.search_item(1)
    assert (hits.query.properties, hits.summary) == ({}, "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a.find(where=3), "where = 3: must be a text"),
        (lambda a: a.find(sort=None), "sort = None: must be a text"),
        (lambda a: a.find(offset=1.5), r"offset = 1\.5: must be a whole number"),
        (lambda a: a.find(limit="3"), "limit = '3': must be a whole number"),
        (lambda a: a.remove(None), "where = None: must be a text"),
        (lambda a: a.add(None), "scans = None: must be a path"),
        (lambda a: a.add("a", kind=3), "kind = 3: must be a text"),
        (lambda a: a.add("a", normals=-1), "normals = -1: must be a whole number of 0 or more"),
        (lambda a: a.add("a", workers=0.5), r"workers = 0\.5: must be a whole number of 0 or"),
        (lambda a: a.add("a", data={}), r"data = \{\}: must be an inres\.config\.Data"),
        (lambda a: a.search_scan(None, slice_index=0), "scan = None: must be a path"),
        (lambda a: a.search_scan("a", slice_index=0, series_uid=3), "series_uid = 3: must be a"),
        (lambda a: a.open_scan(b"a"), "path = b'a': must be a path"),
        (lambda a: a.search_image(""), "image = '': must be a path"),
        (lambda a: a.search_code(None, None, scan=3), "scan = 3: must be a text"),
        (lambda a: Archive.open(3), "path = 3: must be a path"),
        (
            lambda a: a.search_image(np.ma.masked_less(np.arange(64).reshape(8, 8), 9)),
            "image: masked pixels; fill them",
        ),
        (
            lambda a: a.search_image(np.zeros((2, 8, 8), np.uint8), z_mm=[1, 10**400]),
            "image: z_mm is .*; must be one number in mm",
        ),
    ],
)
def test_arguments_of_other_types_are_refused_by_name(archive, call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call(archive)


def test_a_slice_that_is_part_of_a_cube_belongs_to_its_scan(tmp_path):
    """The item table of such a run has only the central slice of each nodule."""
    (tmp_path / "items.csv").write_text(
        "image,scan,nodule,label,z_mm\na.png,s1,n,1,0\nb.png,s1,n,1,2\nc.png,s1,n,1,4\n"
    )
    for name in ("a", "b", "c", "other"):
        image = sitk.GetImageFromArray(np.arange(64, dtype=np.uint8).reshape(8, 8))
        sitk.WriteImage(image, str(tmp_path / f"{name}.png"))
    rows = make_items(np.random.default_rng(0))
    run = make_run(tmp_path, rows, PropertyScale.of(NAMES, table(rows, NAMES)))
    config = Config(data=Data(kind="folder"), items=Items(view="cube", crop_mm=40.0))
    central = dataclasses.replace(rows[0], image="b.png", scan="s1")
    archive = Archive(
        dataclasses.replace(
            run,
            config=config,
            load_items=lambda: (central,),
            data_root=tmp_path.resolve(),
            channels=62,
        )
    )

    def scan(*names):
        paths = [tmp_path / f"{name}.png" for name in names]
        stack = image_stack.read_stack(paths, slice_mm=2)
        return archive._prepare_images(stack)[1]

    assert {name: scan(name) for name in "abc"} == dict.fromkeys("abc", "s1")
    assert scan("a", "b", "other") == "s1"
    assert scan("other") == ""


SEARCHES = """
import sys
from pathlib import Path
import numpy as np
from small_run import NAMES, make_items, make_run
from inres import Archive
from inres.data.properties import PropertyScale, table

rows = make_items(np.random.default_rng(0))
run = make_run(Path(sys.argv[1]), rows, PropertyScale.of(NAMES, table(rows, NAMES)))
archive = Archive(run)
assert len(archive.search_item(6, nearest=9)) == 9
assert len(archive.search_item(55, where="diameter_mm > 10", weights={"margin": 1}, k=4)) == 4
stored = run.stored
found = archive.search_many(np.array(stored.codes[:3]), np.array(stored.features[:3]), nearest=9)
assert found.ids.shape == (3, 10), found
assert archive.records.many(found.ids[0, :9])[0]["item"] == found.ids[0, 0]
heavy = {"jax", "flax", "optax", "orbax", "matplotlib"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_searches_without_a_network_import_none(tmp_path):
    if native.kernel() is None:
        pytest.skip("the kernel was not built, so a search uses JAX")
    here = Path(__file__).resolve().parent
    path = os.pathsep.join(map(str, (here, here.parent)))
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_item_of_an_unknown_scan_does_not_find_itself(tmp_path):
    rows = tuple(
        dataclasses.replace(item, scan="") for item in make_items(np.random.default_rng(0))
    )
    archive = Archive(make_run(tmp_path, rows, PropertyScale.of(NAMES, table(rows, NAMES))))

    def found(**options):
        hits = archive.search_item(5, k=ITEMS, min_pool=ITEMS, **options)
        return {hit.record["item"] for hit in hits}

    every = {*range(ARCHIVED)}
    assert found(own_scan=True) == every
    assert found() == every - {5}
    assert found(where="item < 8") == {*range(8)} - {5}
    assert found(where="item = 5 OR item = 6") == {6}
