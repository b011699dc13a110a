"""What validation during training reports is what an evaluation of these items would say."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from small_network import NAME

from inres import config as lib
from inres.data import views
from inres.evaluation import protocol
from inres.pipeline import artifacts, evaluate, index, prepare, segment, split, train
from inres.system import files

pytestmark = pytest.mark.usefixtures("quick_programs")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Nodules of three slices, of which the first and last have the grey of the other class."""
    root = tmp_path_factory.mktemp("nodules")
    rng = np.random.default_rng(0)
    lines = ["image,scan,nodule,label,z_mm,split"]
    for nodule in range(36):
        label, side = nodule % 2, ("train", "train", "val", "test")[nodule // 2 % 4]
        for z in range(3):
            grey = 60 * (label if z == 1 else 1 - label)
            image = rng.integers(0, 180, (8, 8)) + grey
            name = f"{nodule}_{z}.png"
            sitk.WriteImage(sitk.GetImageFromArray(image.astype(np.uint8)), str(root / name))
            lines.append(f"{name},s{nodule},n{nodule},{label},{z},{side}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    return root


def test_validation_searches_what_will_be_archived(root, tmp_path):
    config = lib.Config(
        data=lib.Data(kind="folder", root=str(root)),
        items=lib.Items(size_px=8),
        split=lib.Split(kind="column", overlap="drop"),
        segment=lib.Segment(enabled=False),
        model=lib.Model(name=NAME, fc1=16),
        hash=lib.Hash(bits=16, code="latent", views_weight=0.0),
        search=lib.Search(features="fc1", least_pool=0.0),
        loss=lib.Loss(name="nll"),
        properties=lib.Properties(names=()),
        train=lib.Train(epochs=20, batch=10, eval_every=20, learning_rate=0.5),
        pdf=False,
    )
    prepare.prepare_items(config, tmp_path)
    split.split_items(config, tmp_path)
    segment.segment_items(config, tmp_path)
    train.train_network(config, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "train" / "log.jsonl").read_text().splitlines()]
    (scores,) = [row for row in log if row["kind"] == "val"]
    # The same network evaluated on the validation items, which are then in no archive.
    rows = files.read_csv(tmp_path / "split" / "split.csv", artifacts.SPLIT_COLUMNS)
    for row in rows:
        row["side"] = {"val": "test", "test": ""}.get(row["side"], row["side"])
    files.write_csv(tmp_path / "split" / "split.csv", artifacts.SPLIT_COLUMNS, rows)
    index.build_index(config, tmp_path)
    data = artifacts.labelled(artifacts.open_items(tmp_path), tmp_path)
    images = views.own_slices(artifacts.network_inputs(tmp_path / "train"))
    run = evaluate.EncodedRun.load(config, tmp_path, data, images)
    found = protocol.evaluate(
        run.side(data.on("test"), archived=False),
        run.side(data.archived(), archived=True),
        evaluate.search_settings(config, data.classes),
    )
    assert scores["map_macro"] == pytest.approx(found.rankings["hamming"]["map_macro"])
    assert scores["accuracy"] == pytest.approx(found.classification["accuracy"])
    assert scores["distinct_codes"] == found.codes["hamming"]["distinct_codes"]
    assert scores["map_macro"] > 0.9  # side slices in the gallery would halve it
