"""A nodule searched for by its images gives the results of its item."""

import types

import numpy as np
import pytest
import SimpleITK as sitk
from small_network import NAME

from experiments import search
from inres import config as lib
from inres.archive import Archive
from inres.pipeline import artifacts, index, prepare, segment, split, train
from inres.pipeline.workdir import describe
from inres.searching import batch

pytestmark = pytest.mark.usefixtures("quick_programs")

CASES = {"each": ({"neighbours": 2}, {"planes": "each"}), "cube": ({"view": "cube"}, {})}
NODULES = 24


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Nodules of four slices, brighter in class 1; the last third is for testing."""
    root = tmp_path_factory.mktemp("nodules")
    rng = np.random.default_rng(0)
    lines = ["image,scan,nodule,label,z_mm,texture,split"]
    for nodule in range(NODULES):
        label, side = nodule % 2, "test" if nodule >= 2 * NODULES // 3 else "train"
        for z in range(4):
            image = rng.integers(0, 200, (9, 9)) + 40 * label
            name = f"{nodule}_{z}.png"
            sitk.WriteImage(sitk.GetImageFromArray(image.astype(np.uint8)), str(root / name))
            lines.append(f"{name},s{nodule},n{nodule},{label},{2 * z - 7},{1 + z / 7},{side}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module", params=CASES)
def archive(request, root, tmp_path_factory):
    items, model = CASES[request.param]
    config = lib.Config(
        data=lib.Data(kind="folder", root=str(root)),
        items=lib.Items(size_px=9, crop_mm=18.0, cube_mm=18.0, cube_px=9, **items),
        split=lib.Split(kind="column", val_share=0.0, overlap="drop"),
        segment=lib.Segment(enabled=False),
        model=lib.Model(name=NAME, fc1=16, **model),
        hash=lib.Hash(bits=8),
        loss=lib.Loss(name="nll", fine=0.0),
        train=lib.Train(epochs=1, batch=16, checkpoint_every=1),
    )
    workdir = tmp_path_factory.mktemp("run")
    describe(workdir, config, command="test")
    prepare.prepare_items(config, workdir)
    split.split_items(config, workdir)
    segment.segment_items(config, workdir)
    train.train_network(config, workdir)
    index.build_index(config, workdir)
    return Archive.open(workdir)


def central_items(archive):
    return [row for row, item in enumerate(archive._run.items) if not item.offset_mm]


def images_of(root, item):
    """The images of an item's nodule, from the lowest to the highest."""
    return [root / f"{item.nodule[1:]}_{z}.png" for z in range(4)]


def same(hits, want):
    """Whether two searches have the same results; batches of other sizes round differently."""
    found, expected = ([(h.record["item"], h.hamming) for h in part] for part in (hits, want))
    distances = pytest.approx([hit.distance for hit in want], abs=1e-4)
    return found == expected and [hit.distance for hit in hits] == distances


def test_an_item_and_its_images_are_the_same_query(archive, root, monkeypatch):
    inputs = artifacts.network_inputs(archive._run.root / "train")
    encode, seen = archive._encode_one, []
    monkeypatch.setattr(archive, "_encode_one", lambda image: seen.append(image) or encode(image))
    rows = central_items(archive)
    assert len(rows) == NODULES
    for row in (rows[0], rows[1], rows[-1], rows[-2]):  # trained and held out
        want = archive.search_item(row)
        images = images_of(root, archive._run.items[row])
        for given in ({"z_mm": [-7, -5, -3, -1]}, {"slice_mm": 2.0}):
            hits = archive.search_image(images, **given)
            np.testing.assert_array_equal(seen.pop(), inputs[row])
            assert same(hits, want)
            assert len(hits) > 0
            assert hits.query.properties == pytest.approx(want.query.properties, abs=1e-4)
            np.testing.assert_array_equal(hits.query.image, want.query.image)
            assert hits.query.scan == want.query.scan
    alone = archive.search_image(images_of(root, archive._run.items[rows[-1]])[1])
    assert "one slice; its neighbours are unknown" in alone.query.notes[-1]


def test_images_in_a_table_and_on_the_command_line(archive, root, tmp_path, monkeypatch):
    row = central_items(archive)[-1]
    images = images_of(root, archive._run.items[row])
    want = archive.search_item(row)
    names = ",".join(str(path) for path in images)
    table = tmp_path / "queries.csv"
    table.write_text(
        "image,z_mm,slice_mm,scan\n"
        f'"{names}","-7,-5,-3,-1",,\n'
        f'"{names}",,2,\n'
        f'"{names}","-7,-5",,\n'
        f'"{names}",,two,\n'
        ",,2,a.mhd\n"
        ",3,,a.mhd\n"
    )
    rows = batch.read_queries(table)
    assert rows[0].name == images[0].name
    results = [result for _, result in batch.search_rows(archive, rows, {})]
    assert same(results[0], want)
    assert same(results[1], want)
    for result, message in zip(
        results[2:],
        (
            "2 positions in z_mm, but 4 images",
            r"line 5: slice_mm=two: must be one number",
            "line 6: slice_mm is the distance of images; name the images",
            "line 7: a scan needs either x_mm, y_mm and z_mm, or slice",
        ),
        strict=True,
    ):
        assert message in str(result)
    given = {"IMAGE": names, "Z_MM": "-7,-5,-3,-1", "ITEM": None, "SLICE_MM": None}
    for name, value in given.items():
        monkeypatch.setattr(search, name, types.SimpleNamespace(value=value, name=name.lower()))
    assert same(search._search_one(archive, {}), want)
    assert search._query_files("image") == images
    monkeypatch.setattr(search, "Z_MM", types.SimpleNamespace(value="0;2", name="z_mm"))
    with pytest.raises(ValueError, match="--z_mm=0;2: must be numbers in mm separated by commas"):
        search._positions()


def test_images_of_two_scans_are_no_nodule(archive, root):
    paths = [root / "1_0.png", root / "2_0.png"]
    with pytest.raises(ValueError, match=r"2_0\.png: of scan s2, but .*1_0\.png is of scan s1"):
        archive.search_image(paths, slice_mm=2)
