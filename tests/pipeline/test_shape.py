"""The length of a stack, which reveals the class of a nodule, is hidden from the network."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from small_network import NAME

from inres import config as lib
from inres.data import item_store, items, views
from inres.encoding import encoder
from inres.learning import recipe
from inres.learning.checkpoints import Checkpoints
from inres.pipeline import artifacts, prepare, segment, split, train
from inres.system import files

pytestmark = pytest.mark.usefixtures("quick_programs")

CHANCE = np.log(2)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Nodules of class 0 have 1 to 5 slices, those of class 1 have 3 to 9.

    All slices have the same pixels in random order: the same grey to a network that sees their
    mean, but different pictures to the search for leaks.
    """
    root = tmp_path_factory.mktemp("stacks")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    pixels = np.linspace(0, 255, 81).astype(np.uint8)
    lines = ["image,scan,nodule,label,z_mm,split"]
    for nodule in range(96):
        label = nodule % 2
        for z in range(2 * (nodule // 2 % (3, 4)[label] + label) + 1):
            name = f"images/{nodule}_{z}.png"
            image = rng.permutation(pixels).reshape(9, 9)
            sitk.WriteImage(sitk.GetImageFromArray(image), str(root / name))
            side = "test" if nodule >= 64 else "train"
            lines.append(f"{name},s{nodule},n{nodule},{label},{2 * z},{side}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    return root


CASES = {
    "channels": ({"neighbours": 4}, {}),
    "each": ({"neighbours": 4}, {"planes": "each"}),
    "volume": ({"view": "cube"}, {}),
    "three": ({"view": "cube"}, {"planes": "three"}),
}


def config_of(root, case):
    items, model = CASES[case]
    return lib.Config(
        data=lib.Data(kind="folder", root=str(root)),
        items=lib.Items(size_px=9, crop_mm=18.0, cube_mm=18.0, cube_px=9, **items),
        split=lib.Split(kind="column", val_share=0.0, overlap="drop"),
        segment=lib.Segment(enabled=False),
        model=lib.Model(name=NAME, fc1=16, **model),
        hash=lib.Hash(bits=8),
        loss=lib.Loss(name="nll", fine=0.0),
        properties=lib.Properties(names=()),
        train=lib.Train(
            epochs=20, batch=32, learning_rate=0.5, checkpoint_every=20, neighbour_dropout=0.0
        ),
    )


@pytest.fixture(scope="module")
def prepared(stacks, tmp_path_factory):
    """Copies of workdirs with the items of a case, which are prepared once for all its networks."""
    made = {}

    def workdir(case, copy):
        view = config_of(stacks, case).items.view
        if view not in made:
            config = config_of(stacks, case)
            made[view] = tmp_path_factory.mktemp(view)
            prepare.prepare_items(config, made[view])
            split.split_items(config, made[view])
            segment.segment_items(config, made[view])
        return shutil.copytree(made[view], copy)

    return workdir


def held_out_nll(stacks, prepared, workdir, case):
    """Mean NLL of held-out nodules, weighted equally by class, after the real training."""
    config = config_of(stacks, case)
    prepared(case, workdir)
    train.train_network(config, workdir)
    data = artifacts.labelled(artifacts.open_items(workdir), workdir)
    inputs = np.asarray(artifacts.network_inputs(workdir / "train"))
    model = recipe.build_model(config, classes=2, properties=0)
    variables = Checkpoints.read_variables(workdir / "train" / "checkpoints")
    encode = encoder.make_encoder(model, variables, planes=config.model.planes, quiet=True)
    rows = data.on("test")
    rows = rows[[not data.items[row].offset_mm for row in rows]]
    logits, labels = encode(inputs[rows]).fc3, data.labels[rows]
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    errors = -logs[np.arange(len(rows)), labels]
    return np.mean([errors[labels == c].mean() for c in (0, 1)]), inputs, data


@pytest.mark.parametrize("case", CASES)
def test_a_network_that_sees_only_the_shape_of_stacks_is_at_chance(
    stacks, prepared, tmp_path, case
):
    error, inputs, data = held_out_nll(stacks, prepared, tmp_path / "w", case)
    assert error > CHANCE - 0.03
    if case == "each":  # the mean over planes hides their number
        return
    reach = views.known_planes(inputs).sum(axis=1) // 2
    central = np.array([not item.offset_mm for item in data.items])
    shown = [np.sort(reach[(data.side == "train") & central & (data.labels == c)]) for c in (0, 1)]
    assert np.abs(shown[0].mean() - shown[1].mean()) < 0.1
    assert files.read_json(tmp_path / "w" / "train" / "shape.json") == {"reach": reach.max()}
    assert reach[data.side == "test"].max() == reach.max() == 2


def test_it_would_learn_the_shape_otherwise(stacks, prepared, tmp_path, monkeypatch):
    """So the test above can fail."""
    monkeypatch.setattr(
        train, "visible_reach", lambda config, store, data, rows: (np.full(len(data.items), 4), 4)
    )
    assert held_out_nll(stacks, prepared, tmp_path / "w", "volume")[0] < CHANCE - 0.2


@pytest.mark.parametrize("cut", [0.0, 0.2])
def test_ends_of_scans_are_hidden_as_far_as_they_differ(cut):
    """Stacks of normal places are cut by the ends of scans, on one side, and of nodules never."""
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    known = np.ones((200, 6), np.uint8)
    known[: round(100 * cut), 4:] = 0
    arrays = np.zeros((200, 6, 1, 1), np.uint8)
    table = (items.Item("", "s"),) * 200
    store = item_store.ItemStore(None, table, arrays[:, 0], None, arrays, known)
    data = artifacts.Labelled(table, labels, np.repeat("train", 200), ("0", "1", "2"))
    reach, limit = train.visible_reach(lib.Config(), store, data, np.arange(200))
    assert limit == 3
    shares = [np.mean(reach[labels == c] == 1) for c in (0, 1, 2)]
    np.testing.assert_allclose(shares, cut)
    assert set(reach) <= {1, 3}
