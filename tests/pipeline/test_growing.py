"""Items added to an archive on disk, and removed from it."""

import dataclasses
import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from small_run import ARCHIVED, ITEMS, NAMES, make_items, make_run

from inres.config import Config, Data, Items
from inres.data import identity
from inres.data.identity import Identity
from inres.data.items import Item
from inres.data.properties import PropertyScale, table
from inres.encoding.encoded import Encoded
from inres.encoding.in_batches import Encoders
from inres.pipeline import added, evaluate, growing, stages
from inres.pipeline.trained import with_added
from inres.retrieval import codes
from inres.storage import store, updates


@pytest.fixture
def run(tmp_path):
    rows = make_items(np.random.default_rng(0))
    return make_run(tmp_path, rows, PropertyScale.of(NAMES, table(rows, NAMES)))


def reopened(run):
    return with_added(dataclasses.replace(run, stored=store.load(run.stored.path)))


def batch(run, count, seed=0):
    """New items, their images and layers."""
    rng = np.random.default_rng(seed)
    items = [
        Item("", f"new{seed}", f"new{seed}/{n}", -1, 9.5, properties={"texture": 2.0, "odd": 1.0})
        for n in range(count)
    ]
    encoded = Encoded(
        *(rng.random((count, layer.shape[1]), np.float32) for layer in vars(run.layers[0]).values())
    )
    return items, rng.integers(0, 255, (count, 8, 8), np.uint8), encoded


def append(run, *given):
    with added.lock(run.stored.path):
        added.remove_leftovers(run.stored.path)
        growing.append(run, *given)


def test_added_items_follow_those_of_the_run(run):
    first, second = batch(run, 3, 1), batch(run, 2, 2)
    append(run, *first)
    append(run, *second)
    now = reopened(run)
    assert len(now.stored) == ARCHIVED + 5
    assert [item.scan for item in now.items[ITEMS:]] == ["new1"] * 3 + ["new2"] * 2
    np.testing.assert_array_equal(now.images[ITEMS + 4], second[1][1])
    np.testing.assert_array_equal(np.stack(list(now.images))[:ITEMS], run.images)
    assert now.images.shape == (ITEMS + 5, 8, 8)
    np.testing.assert_array_equal(now.layers[1].fc1, first[2].fc1)
    for place in range(2):
        found, expected = now.encoded(ITEMS + 3 + place), second[2].rows(np.array([place]))
        for name, layer in vars(found).items():
            np.testing.assert_array_equal(layer, getattr(expected, name))
    np.testing.assert_array_equal(now.encoded(7).h, run.layers[0].h[7:8])
    np.testing.assert_array_equal(now.estimates[-2:], second[2].properties)
    np.testing.assert_array_equal(now.stored.features[ARCHIVED + 3 :], second[2].fc1)
    packed = codes.pack(first[2].h >= 0.5)
    np.testing.assert_array_equal(now.stored.codes[ARCHIVED : ARCHIVED + 3], packed)
    records = now.stored.records.many([ARCHIVED, ARCHIVED + 4])
    assert [(r["item"], r["scan"], r["texture"], r["label"]) for r in records] == [
        (ITEMS, "new1", 2.0, -1), (ITEMS + 4, "new2", 2.0, -1)
    ]  # fmt: skip
    assert np.isnan(records[0]["margin"])
    assert "odd" not in records[0]
    assert growing._dropped(first[0], run.stored.records.columns) == ["odd"]


def test_an_open_run_keeps_its_state(run):
    before = reopened(run)
    append(run, *batch(run, 3))
    updates.remove(run.stored.path, [0, 1])
    assert len(before.stored) == len(before.stored.codes) == ARCHIVED
    assert len(before.items) == len(before.images) == ITEMS
    assert before.stored.records[0]["item"] == 0


def test_items_are_removed_by_condition(run):
    append(run, *batch(run, 3))
    now = reopened(run)
    nodules = [row for row in range(ARCHIVED) if run.items[row].diameter_mm > 10]
    assert growing.remove(now, "diameter_mm > 10") == len(nodules) > 0
    now = reopened(run)
    assert len(now.stored) == ARCHIVED + 3 - len(nodules)
    assert not now.stored.records.where("diameter_mm > 10").size
    assert growing.remove(now, "scan = 'new0'") == 3
    # Numbers of items are not used twice.
    append(run, *batch(run, 2, 3))
    assert reopened(run).stored.records.where("item >= ?", (ITEMS + 3,)).size == 2
    with pytest.raises(ValueError, match="meet it; an archive keeps at least one"):
        growing.remove(now, "item >= 0")
    with pytest.raises(ValueError, match="no such column: size"):
        growing.remove(now, '"size" > 3')


def test_what_a_killed_addition_left_is_ignored_and_then_removed(run):
    """Killed after the items were written, before they entered the archive."""
    items, images, encoded = batch(run, 3, 1)
    archive = run.stored.path
    with added.lock(archive):
        left = added.write(
            archive, items, images, encoded, first_item=ITEMS, first_id=added.next_id(archive)
        )
    assert left.root.is_dir()
    hold = added.folder(archive) / ".b.csv.abcdefgh.inres-part"
    hold.mkdir()
    assert len(reopened(run).items) == ITEMS
    append(run, *batch(run, 2, 2))
    now = reopened(run)
    assert [item.scan for item in now.items[ITEMS:]] == ["new2"] * 2
    assert len(now.stored) == ARCHIVED + 2
    assert not hold.exists()


def test_prepared_items_of_other_data_are_not_added(tmp_path):
    """A killed addition is continued, but not by a command for another table of the same folder."""
    config = Config(data=Data(kind="cases"))

    def pending(stamp, root="data"):
        return growing._pending(tmp_path / "added", config, tmp_path / root, stamp=stamp)

    (tmp_path / "added").mkdir()
    (pending("a") / "part.npz").touch()
    assert (pending("b") / "part.npz").is_file()  # each scan is compared with its own files
    (pending("b") / "items.csv").touch()
    assert (pending("b") / "items.csv").is_file()
    assert not any(pending("c").iterdir())
    (pending("c") / "part.npz").touch()
    assert not any(pending("c", root="elsewhere").iterdir())


def test_the_stamp_of_data_changes_with_its_files(tmp_path):
    names = [tmp_path / name for name in ("a.csv", "b.csv")]
    for path in names:
        path.write_text("x")
    both = growing._stamp(names)
    assert both == growing._stamp(names[::-1])
    assert both != growing._stamp(names[:1])
    names[0].write_text("xy")
    assert both != growing._stamp(names)


def test_a_failure_leaves_the_archive_as_it_was(run, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(updates, "add", full)
    with pytest.raises(OSError, match="No space"):
        append(run, *batch(run, 3))
    monkeypatch.undo()
    assert not list(added.folder(run.stored.path).glob("0*"))
    assert len(reopened(run).stored) == ARCHIVED
    items, images, encoded = batch(run, 2)
    broken = dataclasses.replace(encoded, fc1=np.full_like(encoded.fc1, np.nan))
    with pytest.raises(ValueError, match="finite"):
        append(run, items, images, broken)
    assert not list(added.folder(run.stored.path).glob("0*"))


def test_damage_is_named(run):
    append(run, *batch(run, 3))
    (folder,) = added.folder(run.stored.path).glob("0*")
    path = folder / "images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(added.AddedError, match=r"images\.npy: missing or damaged"):
        added.verify(*added.segments(run.stored.path))
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"images\.npy: damaged"):
        reopened(run)
    np.save(path, np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(added.AddedError, match=r"images\.npy: 2 images"):
        reopened(run)
    data[-1] ^= 1
    path.write_bytes(data)
    table = (folder / "items.csv").read_text()
    (folder / "items.csv").write_text(table.replace("new0", "newO"))
    with pytest.raises(added.AddedError, match=r"items\.csv: missing or damaged"):
        assert reopened(run).items
    (folder / "added.json").write_text("{}")
    with pytest.raises(added.AddedError, match=r"added\.json: damaged"):
        reopened(run)


def test_a_scan_under_another_name_is_a_copy(run, tmp_path):
    """By its voxels, of archived scans alone, and once within one addition."""
    own = [Identity("s1", "1.2", "a"), Identity("s2", "", "b"), Identity("test part", "", "c")]
    known = dataclasses.replace(run, load_scans=lambda: (*own, Identity("s3", "", "")))
    new = [
        *(Identity("x", "", "a"), Identity("y", "", "c"), Identity("z", "1.2", "d")),
        *(Identity("twice", "", "d"), Identity("old", "", "")),
    ]
    identity.write(tmp_path / "scans.csv", new)
    copies, notes = growing._copies(known, {"s1", "s2", "s3"}, tmp_path)
    assert copies == {"x", "twice"}
    assert [note.split(",")[0] for note in notes] == [
        "x: skipped",
        "twice: skipped",
        "z: the SeriesInstanceUID is that of s1 in the archive",
    ]
    assert growing._copies(run, {"s1"}, tmp_path / "images of a folder") == (set(), [])


def test_scans_that_others_added_since_the_run_was_opened_are_known(run, tmp_path, monkeypatch):
    items, images, encoded = batch(run, 2)
    identity.write(tmp_path / "scans.csv", [Identity("new0", "", "a")])
    with added.lock(run.stored.path):
        growing.append(run, items, images, encoded, scans=tmp_path / "scans.csv")
    seen = []

    def prepared(*_, out, skip, **__):
        (out / "items.csv").touch()
        seen.append(skip)

    monkeypatch.setattr(growing.prepare, "input_files", lambda *_: [])
    monkeypatch.setattr(growing.prepare, "prepare", prepared)
    monkeypatch.setattr(growing.item_store, "open_store", lambda _: None)
    monkeypatch.setattr(growing, "_messages", lambda _: ())
    monkeypatch.setattr(growing, "_added", lambda now, *_: now.load_scans())
    kind = run.config.data.kind
    found = growing.add(run, Data(kind=kind, root=str(tmp_path)))
    assert "new0" in seen[0]
    assert found == (Identity("new0", "", "a"),)


def test_two_writers_exclude_each_other(run):
    archive = run.stored.path
    held = pytest.raises(added.AddedError, match="another program is adding")
    with added.lock(archive), held, added.lock(archive):
        pass


def test_images_of_several_arrays_are_one_sequence():
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 255, (n, 2, 2), np.uint8) for n in (3, 1, 2)]
    images = added.Images(parts)
    for row, image in itertools.zip_longest(range(6), np.concatenate(parts)):
        np.testing.assert_array_equal(images[row], image)
    with pytest.raises(IndexError):
        images[6]


# --- folders of images ----------------------------------------------------------------------------


def folder_of(root, names, *, side=8, classes=(1, 0), heights=(0.0,)):
    """Scans of two items each; the first is a nodule, of which there is a slice at each height."""
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(len(names))
    lines = ["image,scan,nodule,label,z_mm,kind"]
    for scan in names:
        for n, label in enumerate(classes):
            for z in heights if n == 0 else (heights[0],):
                image = f"images/{scan.lstrip('x')}_{n}_{z:g}.png"
                pixels = rng.integers(1, 255, (side, side), np.uint8)
                sitk.WriteImage(sitk.GetImageFromArray(pixels), str(root / image))
                kind = "soft" if label else ""
                lines.append(f"{image},{scan},{'' if label == 0 else n},{label},{z},{kind}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    return Data(kind="folder", root=str(root))


def of_images(run, *, channels, label="auto", **changes):
    """The run as one of a folder, with an encoder that takes its inputs only."""
    fc3, properties = run.layers[0].fc3.shape[1], run.layers[0].properties.shape[1]

    def encode(images):
        assert images.shape[1:] == (8, 8, channels)
        seen = images.reshape(len(images), -1).astype(np.float32)
        sizes = run.layers[0].fc1.shape[1], run.layers[0].h.shape[1], fc3, properties
        return Encoded(*(seen[:, :1] / 255 * np.ones(size, np.float32) for size in sizes))

    config = Config(
        data=Data(kind="folder"),
        items=Items(neighbours=1, size_px=8, label=label, segmented=False),
        hash=run.config.hash,
        search=run.config.search,
    )
    encoders = Encoders(encode, encode)
    return dataclasses.replace(
        run, config=config, channels=channels, reach=1, load_encoders=lambda: encoders, **changes
    )


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("heights", [(0.0,), (-2.0, 0.0, 2.0)])
def test_new_images_have_as_many_planes_as_those_of_the_archive(run, tmp_path, channels, heights):
    own = of_images(run, channels=channels)
    found = growing.add(own, folder_of(tmp_path / "f", ["new"], heights=heights))
    assert (found.items, found.scans) == (2, 1)
    assert [item.label for item in reopened(run).items[ITEMS:]] == [1, 0]


def test_an_archive_of_slices_gets_slices(run, tmp_path):
    """Several slices of a nodule were items of their own, so new ones are too."""
    rows = tuple(dataclasses.replace(item, scan="s", nodule="n") for item in run.items)
    own = of_images(run, channels=1, load_items=lambda: rows)
    data = folder_of(tmp_path / "f", ["new"], heights=(-2.0, 0.0, 2.0))
    assert growing.add(own, data).items == 4


def test_images_of_another_size_are_refused(run, tmp_path):
    own = of_images(run, channels=1)
    with pytest.raises(ValueError, match=r"/f/images/new_0_0\.png: 12 pixels a side, .* have 8; "):
        growing.add(own, folder_of(tmp_path / "f", ["new"], side=12))
    assert len(reopened(run).stored) == ARCHIVED
    assert growing.add(own, folder_of(tmp_path / "g", ["new"])).items == 2


@pytest.mark.parametrize(
    ("label", "names", "want"),
    [
        ("auto", None, [1, 0, -1, 0]),
        ("label", None, [1, 0, -1, 0]),
        ("kind", ("no nodule", "hard", "soft"), [2, 0, 2, 0]),
    ],
)
def test_added_items_of_known_and_unknown_class_are_read_again(run, tmp_path, label, names, want):
    """Also where images of two folders have one name."""
    own = of_images(run, channels=1, label=label)
    own = dataclasses.replace(own, class_names=names or own.class_names)
    growing.add(own, folder_of(tmp_path / "f", ["new"]))
    again = with_added(dataclasses.replace(own, stored=store.load(own.stored.path)))
    growing.add(again, folder_of(tmp_path / "g", ["xnew"], classes=(11, 0)))
    now = reopened(run)
    assert [item.label for item in now.items[ITEMS:]] == want
    first, _, third, _ = now.items[ITEMS:]
    assert first.image == third.image
    assert now.stored.records.many([ARCHIVED + 2])[0]["label"] == want[2]


def test_a_changed_archive_is_not_evaluated(run):
    """What is evaluated are the items of the run."""
    archive = run.stored.path
    evaluate._require_whole(archive, ARCHIVED)
    with pytest.raises(stages.StageError, match="items were added to the archive or removed"):
        evaluate._require_whole(archive, ARCHIVED + 1)
    append(run, *batch(run, 2))
    with pytest.raises(stages.StageError, match=r"make it again by --redo=index"):
        evaluate._require_whole(archive, ARCHIVED)
    growing.remove(reopened(run), "scan = 'new0'")
    evaluate._require_whole(archive, ARCHIVED)
    growing.remove(reopened(run), "item = 3")
    with pytest.raises(stages.StageError, match="added to the archive or removed from it"):
        evaluate._require_whole(archive, ARCHIVED)
