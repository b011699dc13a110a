"""Exports of a tiny run without training: what they replace, and what damage is refused."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from inres import config as config_lib
from inres.config import Config, Items, Model
from inres.data import item_table
from inres.data.items import Item
from inres.data.properties import PropertyScale
from inres.encoding.binarize import FineScale
from inres.encoding.encoded import Encoded
from inres.encoding.linear_codes import Hyperplanes
from inres.encoding.variables import fingerprint
from inres.learning.checkpoints import Checkpoints
from inres.pipeline import artifacts, export, export_checks, programs, trained
from inres.retrieval import codes as codes_lib
from inres.storage import store
from inres.system import files

N, SIDE, BITS = 5, 8, 48


def some_items(count):
    return tuple(Item(image=f"{i}.png", scan=f"s{i}", label=i % 3) for i in range(count))


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder with the few files that an export reads directly; the rest of the run is faked."""
    root = tmp_path / "run"
    rng = np.random.default_rng(0)
    h = rng.random((N, BITS), np.float32)
    fc1, fc3, properties = (rng.random((N, width), np.float32) for width in (6, 3, 2))
    encoded = Encoded(fc1, h, fc3, properties)
    variables = {"params": {"dense": {"kernel": rng.random((2, 3), np.float32)}}}
    config = Config()
    hyperplanes = Hyperplanes(rng.random(BITS + 6), rng.random((BITS + 6, BITS)))
    items = some_items(N)
    scale = FineScale.of(encoded)
    (root / "index").mkdir(parents=True)
    store.save(
        root / "index" / "archive",
        codes_lib.pack(h >= 0.5),
        scale.join(encoded),
        [{"scan": item.scan} for item in items],
        bits=BITS,
        model=fingerprint(variables, hyperplanes),
    )
    np.save(root / "index" / "trained.npy", np.zeros((2, 16), np.uint8))
    metrics = {
        "dataset": {"test": 2},
        "protocol": {"queries": 2},
        "rankings": {"two_stage": {"map_macro": 0.5}},
    }
    files.write_json(root / "evaluation" / "metrics.json", metrics)
    files.write_json(root / "environment.json", {"jax": jax.__version__})
    files.write_json(root / "config.json", config_lib.to_dict(config))

    run = trained.TrainedRun(
        root=root,
        config=config,
        class_names=("none", "small", "large"),
        load_items=lambda: items,
        images=rng.integers(0, 255, (N, SIDE, SIDE), np.uint8),
        channels=1,
        reach=0,
        item_side_px=SIDE,
        layers=(encoded,),
        property_scale=PropertyScale(("margin", "own"), np.array([3.0, 0.0]), np.array([1.0, 2.0])),
        hyperplanes=hyperplanes,
        scale=scale,
        stored=store.load(root / "index" / "archive"),
        load_digests=frozenset,
        data_root=None,
        load_network=lambda: (None, variables),
        load_segmenter=lambda: None,
    )
    monkeypatch.setattr(export, "open_workdir", lambda _: run)
    monkeypatch.setattr(programs, "write", lambda run, out: None)  # this network is none
    monkeypatch.setattr(programs, "require_expected", lambda run: None)
    return root


@pytest.fixture
def exported(workdir, tmp_path):
    out = tmp_path / "out"
    export.export_run(workdir, out)
    return out


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what an export replaces ----------------------------------------------------------------------


def test_an_export_opens_with_the_same_content(workdir, exported):
    ours, theirs = export.open_workdir(workdir), export.open_export(exported)
    assert str(theirs.items) == str(ours.items)
    np.testing.assert_array_equal(theirs.images, ours.images)
    for name in ("fc1", "h", "fc3"):
        found = getattr(theirs.layers[0], name)
        np.testing.assert_array_equal(found, getattr(ours.layers[0], name))
    assert (theirs.scale, theirs.channels) == (ours.scale, 1)
    assert theirs.class_names == ours.class_names
    assert theirs.segmenter is None
    assert len(theirs.stored) == N


@pytest.mark.parametrize(
    ("items", "planes", "want"),
    [
        (Items(neighbours=2), "each", {"crop_mm": 48.0, "neighbours": 2, "side_px": 64}),
        (Items(view="slice", size_px=96), "channels", {"neighbours": 0, "side_px": 96}),
        (Items(view="cube", cube_mm=40.0), "nine", {"cube_mm": 40.0, "side_px": 31}),
    ],
)
def test_the_card_says_what_the_network_sees(workdir, items, planes, want):
    run = export.open_workdir(workdir)
    config = dataclasses.replace(run.config, items=items, model=Model(planes=planes))
    metrics = files.read_json(workdir / "evaluation" / "metrics.json")
    card = export.model_card(dataclasses.replace(run, config=config), metrics, {})
    assert card["input"] == {"view": items.view, "planes": planes, **want}


def test_opening_an_export_imports_nothing_for_its_network(exported):
    program = f"""
import sys
from inres import Archive
archive = Archive.open({str(exported)!r})
assert (len(archive), archive.records[2]["scan"]) == ({N}, "s2")
heavy = {{"jax", "flax", "optax", "orbax", "matplotlib"}} & sys.modules.keys()
assert not heavy, heavy
assert archive._run.network and "flax" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_export_replaces_an_earlier_one_and_an_empty_folder(workdir, exported, tmp_path):
    before = content(exported)
    export.export_run(workdir, exported)
    assert content(exported).keys() == before.keys()
    (tmp_path / "empty").mkdir()
    export.export_run(workdir, tmp_path / "empty")
    export.open_export(tmp_path / "empty")


@pytest.mark.parametrize("added", ["notes.txt", "sub/notes.txt", "model.json.bak"])
def test_an_export_with_added_files_is_not_replaced(workdir, exported, added):
    (exported / added).parent.mkdir(exist_ok=True)
    (exported / added).write_text("mine")
    before = content(exported)
    with pytest.raises(export.ExportError, match=rf"{added}: not a file of the exported run"):
        export.export_run(workdir, exported)
    assert content(exported) == before


@pytest.mark.parametrize(
    "card", ['{"class_name": "Sequential"}', "[]", "{", '{"format": "inres-run", "version": 1}']
)
def test_a_folder_with_another_model_json_is_not_replaced(workdir, tmp_path, card):
    folder = tmp_path / "keras"
    folder.mkdir()
    (folder / "model.json").write_text(card)
    (folder / "weights.h5").write_bytes(b"weights")
    before = content(folder)
    with pytest.raises(export.ExportError, match=r"keras: exists and is not an exported run"):
        export.export_run(workdir, folder)
    assert content(folder) == before


def test_a_file_is_not_replaced(workdir, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(export.ExportError, match="file: exists and is not an exported run"):
        export.export_run(workdir, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", ["", "..", "index", "index/export", "scans/export", "evaluation"])
def test_an_export_is_not_written_into_the_results_of_the_run(workdir, place):
    before = content(workdir)
    with pytest.raises(export.ExportError, match=r"contains the run|belongs to the run"):
        export.export_run(workdir, workdir / place)
    assert content(workdir) == before


def test_an_export_is_not_written_into_a_linked_stage(workdir, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (workdir / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(export.ExportError, match="belongs to the run"):
        export.export_run(workdir, tmp_path / "elsewhere")


def test_an_export_may_stand_in_the_workdir(workdir):
    export.export_run(workdir, workdir / "export")
    assert json.loads((workdir / "export" / "model.json").read_text())["format"] == "inres-run"


# --- damage that is refused -----------------------------------------------------------------------


def edit(path, change):
    """Change the JSON in `path`."""
    value = json.loads(path.read_text())
    path.write_text(json.dumps(change(value)))


def seal(folder):
    """Make the checksums agree with the files, so that only the content is wrong."""
    path = folder / "checksums.json"
    edit(path, lambda sums: {name: files.sha256(folder / name) for name in sums})


REQUIRED = (
    "model.json",
    "config.json",
    "network.npz",
    "items.csv",
    "embeddings.npz",
    "properties.json",
    "thumbnails.npy",
    "trained.npy",
    "planes.npz",
)


@pytest.mark.parametrize("name", REQUIRED)
def test_every_required_file_needs_a_checksum(exported, name):
    assert {*json.loads((exported / "checksums.json").read_text())} == {*REQUIRED}
    edit(exported / "checksums.json", lambda sums: {k: v for k, v in sums.items() if k != name})
    with pytest.raises(export.ExportError, match=rf"checksums\.json: no checksum of {name}"):
        export.open_export(exported)


def use(folder):
    """Open an export and read all that a search may need."""
    run = export.open_export(folder)
    run.load_network()
    return run.items, run.trained_inputs


def test_bits_that_change_in_mapped_files_are_found_on_demand(exported):
    """Opening does not read them."""
    use(exported)
    for name in ("thumbnails.npy", "embeddings.npz"):
        path = exported / name
        good = path.read_bytes()
        path.write_bytes(good[:400] + bytes([good[400] ^ 1]) + good[401:])
        with pytest.raises(export.ExportError, match=rf"{name}: damaged \(checksum differs\)"):
            export_checks.verify(exported)
        path.write_bytes(good)
    export_checks.verify(exported)


@pytest.mark.parametrize("name", REQUIRED)
def test_every_changed_or_missing_file_is_named(exported, name):
    path = exported / name
    good = path.read_bytes()
    # The first byte of JSON may be any space.
    path.write_bytes(b" " + good if name.endswith(".json") else good[:-1])
    with pytest.raises(export.ExportError, match=rf"{name}: damaged \(checksum differs\)"):
        export_checks.verify(exported)
    with pytest.raises(ValueError, match=rf"{name}: damaged "):
        use(exported)
    path.unlink()
    with pytest.raises(export.ExportError, match=rf"{name}: no such file"):
        export.open_export(exported)


@pytest.mark.parametrize("name", ["../run/config.json", "archive/manifest.json", "..", "a\\b", ""])
def test_checksums_name_only_files_of_the_folder(exported, name):
    edit(exported / "checksums.json", lambda sums: {**sums, name: "0"})
    with pytest.raises(export.ExportError, match=r"checksums\.json: .* is not the name of a file"):
        export.open_export(exported)


@pytest.mark.parametrize("value", [[], None, {"model.json": 1}, {"model.json": None}])
def test_checksums_are_digests_by_name(exported, value):
    edit(exported / "checksums.json", lambda _: value)
    with pytest.raises(export.ExportError, match=r"checksums\.json: damaged"):
        export.open_export(exported)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", "abc"),
        ("classes", [1, 2]),
        ("classes", []),
        ("channels", "1"),
        ("channels", True),
        ("item_side_px", 8.5),
        ("reach", None),
        ("bits", None),
        ("fingerprint", 3),
        ("segmented", "no"),
        ("scale", [1, 2]),
        ("scale", {"fc1": 1.0}),
        ("scale", {"fc1": 1.0, "fc3": "1"}),
    ],
)
def test_a_field_of_another_type_is_named(exported, field, value):
    edit(exported / "model.json", lambda card: {**card, field: value})
    seal(exported)
    with pytest.raises(export.ExportError, match=rf"model\.json: field {field}: "):
        export.open_export(exported)


@pytest.mark.parametrize(
    "field", ["classes", "channels", "item_side_px", "bits", "fingerprint", "scale"]
)
def test_a_missing_field_is_named(exported, field):
    edit(exported / "model.json", lambda card: {k: v for k, v in card.items() if k != field})
    seal(exported)
    with pytest.raises(export.ExportError, match=rf"model\.json: field {field}: .*None"):
        export.open_export(exported)


def test_a_card_must_say_whether_the_run_is_segmented(exported):
    """Without the field, an export that lost its U-Net would be searched without segmentation."""
    edit(exported / "model.json", lambda card: {k: v for k, v in card.items() if k != "segmented"})
    seal(exported)
    with pytest.raises(export.ExportError, match=r"model\.json: field segmented"):
        export.open_export(exported)


def test_the_unet_of_a_segmented_run_is_required(exported):
    edit(exported / "model.json", lambda card: {**card, "segmented": True})
    seal(exported)
    with pytest.raises(export.ExportError, match=r"checksums\.json: no checksum of unet\.npz"):
        export.open_export(exported)


def test_a_segmented_run_is_exported_with_its_unet(workdir, tmp_path, monkeypatch):
    kernel = np.arange(6, dtype=np.float32)
    checkpoints = Checkpoints(workdir / "segment" / "checkpoints")
    checkpoints.save(1, {"params": {"kernel": kernel}, "batch_stats": {"mean": kernel[:2]}})
    checkpoints.close()
    run = dataclasses.replace(export.open_workdir(workdir), load_segmenter=object)
    monkeypatch.setattr(export, "open_workdir", lambda _: run)
    out = tmp_path / "out"
    export.export_run(workdir, out)
    assert json.loads((out / "model.json").read_text())["segmented"] is True
    unet = files.load_arrays(out / "unet.npz")
    np.testing.assert_array_equal(unet["params/kernel"], kernel)
    np.testing.assert_array_equal(unet["batch_stats/mean"], kernel[:2])
    export.open_export(out)


@pytest.mark.parametrize("name", ["network.npz", "embeddings.npz", "planes.npz", "trained.npy"])
def test_a_damaged_file_with_its_checksum_is_named(exported, name):
    path = exported / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seal(exported)
    with pytest.raises(ValueError, match=rf"{name}: damaged .*; copy the exported run again"):
        use(exported)


def test_thumbnails_and_embeddings_of_another_number_are_named(exported):
    images = np.load(exported / "thumbnails.npy")
    np.save(exported / "thumbnails.npy", images[1:])
    seal(exported)
    with pytest.raises(export.ExportError, match=r"embeddings\.npz: holds 5 .*thumbnails\.npy 4"):
        export.open_export(exported)
    np.save(exported / "thumbnails.npy", images)
    encoded = artifacts.load_embeddings(exported)
    artifacts.save_embeddings(exported / "embeddings.npz", encoded.rows(np.arange(3)))
    seal(exported)
    with pytest.raises(export.ExportError, match=r"embeddings\.npz: holds 3 .*thumbnails\.npy 5"):
        export.open_export(exported)
    artifacts.save_embeddings(exported / "embeddings.npz", encoded)
    item_table.write_table(exported / "items.csv", some_items(4))
    seal(exported)
    with pytest.raises(ValueError, match=r"out: 4 items in the item table, but 5 images"):
        use(exported)
