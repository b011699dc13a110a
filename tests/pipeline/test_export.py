"""Exports of a tiny run without training: what they replace, and what damage is refused."""

import json

import jax
import numpy as np
import pytest

from inres import config as config_lib
from inres.config import Config
from inres.data.items import Item
from inres.encoding.binarize import FineScale
from inres.encoding.encoder import Encoded
from inres.encoding.linear_codes import Hyperplanes
from inres.pipeline import artifacts, export, trained
from inres.retrieval import codes as codes_lib
from inres.storage import store
from inres.system import files

N, SIDE, BITS = 5, 8, 48


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder with the few files that an export reads directly; the rest of the run is faked."""
    root = tmp_path / "run"
    rng = np.random.default_rng(0)
    h = rng.random((N, BITS), np.float32)
    encoded = Encoded(rng.random((N, 6), np.float32), h, rng.random((N, 3), np.float32))
    variables = {"params": {"dense": {"kernel": rng.random((2, 3), np.float32)}}}
    config = Config()
    hyperplanes = Hyperplanes(rng.random(BITS + 6), rng.random((BITS + 6, BITS)))
    items = tuple(Item(image=f"{i}.png", scan=f"s{i}", label=i % 3) for i in range(N))
    scale = FineScale.of(encoded)
    (root / "index").mkdir(parents=True)
    store.save(
        root / "index" / "archive",
        codes_lib.pack(h >= 0.5),
        scale.join(encoded),
        [{"scan": item.scan} for item in items],
        bits=BITS,
        model=artifacts.fingerprint(variables, hyperplanes),
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
        items=items,
        images=rng.integers(0, 255, (N, SIDE, SIDE), np.uint8),
        channels=1,
        item_side_px=SIDE,
        embeddings=encoded,
        hyperplanes=hyperplanes,
        scale=scale,
        stored=store.load(root / "index" / "archive"),
        trained_inputs=frozenset(),
        data_root=None,
        load_network=lambda: (None, variables),
        load_segmenter=lambda: None,
    )
    monkeypatch.setattr(export, "open_workdir", lambda _: run)
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
        found = getattr(theirs.embeddings, name)
        np.testing.assert_array_equal(found, getattr(ours.embeddings, name))
    assert (theirs.scale, theirs.channels) == (ours.scale, 1)
    assert theirs.class_names == ours.class_names
    assert theirs.segmenter is None
    assert len(theirs.stored) == N


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
