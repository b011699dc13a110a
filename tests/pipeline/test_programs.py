"""The networks of an exported run as programs: what they compute, and that they need no Flax."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import quick
from untrained import untrained

from inres import Archive
from inres import config as lib
from inres.data import views
from inres.data.items import Item
from inres.data.properties import PropertyScale
from inres.encoding import encoder, stablehlo
from inres.encoding.binarize import FineScale
from inres.encoding.in_batches import Encoders
from inres.encoding.variables import by_path, fingerprint, nested
from inres.learning import recipe, sight
from inres.pipeline import export, networks, programs, trained
from inres.retrieval import codes
from inres.storage import store
from inres.system import files

pytestmark = pytest.mark.usefixtures("quick_programs")

ROOT = Path(__file__).resolve().parents[2]
N, SIDE, CHANNELS, CLASSES, BITS = 6, 16, 6, ("none", "small", "large"), 16


def setting(precision="float32", planes="each", model="inres_net"):
    cubes = model == "inres_net_3d" or planes == "nine"
    return lib.Config(
        items=lib.Items(size_px=SIDE, neighbours=0 if cubes else 1)
        if not cubes
        else lib.Items(view="cube", cube_px=9),
        model=lib.Model(
            name=model, planes=planes, stem=4, fc1=8, compression="plain", residual="plain"
        ),
        segment=lib.Segment(width=4, depth=2, size_px=SIDE),
        hash=lib.Hash(bits=BITS, code="latent"),
        search=lib.Search(features="fc1", threshold=BITS + 1, least_pool=0.0),
        train=lib.Train(precision=precision, flips=True, quarter_turns=cubes),
    )


def network(config, shape):
    """The network of a config with random variables, for images of a shape."""
    model = recipe.build_model(config, classes=len(CLASSES), properties=2)
    planes, seen = sight.split(np.zeros((1, *shape), np.float32), config.model.planes)
    return model, untrained(model, sight.flatten(planes, seen), seen)


def make_run(root, precision):
    """A run with an untrained network and U-Net, all of whose items are encoded as queries."""
    config = setting(precision)
    model, variables = network(config, (SIDE, SIDE, CHANNELS))
    masks = untrained(
        recipe.build_unet(config.segment, precision=precision), np.zeros((1, SIDE, SIDE, 1))
    )
    images = np.random.default_rng(1).integers(1, 255, (N, SIDE, SIDE), np.uint8)
    encode = encoder.make_unseen_encoder(config, model, variables, channels=CHANNELS)
    encoded = encode(views.single(images, CHANNELS))
    items = tuple(Item(image=f"{i}.png", scan=f"s{i}", label=i % 3) for i in range(N))
    (root / "index").mkdir(parents=True)
    np.save(root / "index" / "trained.npy", np.zeros((0, 16), np.uint8))
    rankings = {"two_stage": {"map_macro": 0.5}}
    metrics = {"dataset": {}, "protocol": {"queries": 0}, "rankings": rankings}
    files.write_json(root / "evaluation" / "metrics.json", metrics)
    files.write_json(root / "environment.json", {})
    store.save(
        root / "index" / "archive",
        codes.pack(encoded.h >= 0.5),
        encoded.fc1,
        [
            {"item": i, "scan": item.scan, "label": item.label, "nodule": "", "diameter_mm": 5.0}
            for i, item in enumerate(items)
        ],
        bits=BITS,
        model=fingerprint(variables),
        group="scan",
        label="label",
    )
    run = trained.TrainedRun(
        root=root,
        config=config,
        class_names=CLASSES,
        load_items=lambda: items,
        images=images,
        channels=CHANNELS,
        reach=1,
        item_side_px=24,
        layers=(encoded,),
        property_scale=PropertyScale(("margin", "own"), np.array([3.0, 0.0]), np.array([1.0, 2.0])),
        hyperplanes=None,
        scale=FineScale.of(encoded),
        stored=store.load(root / "index" / "archive"),
        load_digests=frozenset,
        data_root=None,
        load_network=lambda: (model, variables),
        load_segmenter=lambda: networks.unet_segmenter(config, masks),
    )
    return run, masks


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def exported(request, tmp_path_factory):
    """A run, and the folder that it is exported to."""
    root = tmp_path_factory.mktemp(request.param)
    run, masks = make_run(root / "run", request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "open_workdir", lambda _: run)
        patch.setattr(networks, "unet_variables", lambda _: masks)
        export.export_run(root / "run", root / "out")
    return run, root / "out"


def test_programs_give_what_the_networks_give(exported):
    run, out = exported
    opened = export.open_export(out, portable=True)
    rng = np.random.default_rng(2)
    inputs = views.with_known(rng.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8), np.ones(3, bool))
    for name in Encoders._fields:
        for count in (5, 1):
            ours, theirs = (getattr(r.encoders, name)(inputs[:count]) for r in (run, opened))
            for layer, values in vars(ours).items():
                assert len(values) == count
                np.testing.assert_allclose(getattr(theirs, layer), values, rtol=1e-4, atol=1e-5)
    slices = rng.integers(0, 256, (3, 24, 24), np.uint8)
    np.testing.assert_array_equal(opened.segmenter(slices), run.segmenter(slices))
    assert 0 < run.segmenter(slices).mean() < 1


def test_an_export_says_its_precision_and_holds_small_programs(exported):
    run, out = exported
    card = json.loads((out / "model.json").read_text())
    assert card["precision"] == run.config.train.precision
    sums = json.loads((out / "checksums.json").read_text())
    names = {path.name for path in out.glob("*.jaxexport")}
    assert names == {programs.ENCODER, programs.QUERY_ENCODER, programs.SEGMENTER}
    assert names | {programs.EXPECTED} <= sums.keys()
    for name in names:
        content = (out / name).read_bytes()
        assert len(content) < 100_000  # the variables are in network.npz and unet.npz
        assert b".py" not in content  # no files of the machine that exported


def test_programs_are_for_three_platforms_and_any_number_of_images(exported):
    _, out = exported
    for name in (programs.ENCODER, programs.QUERY_ENCODER, programs.SEGMENTER):
        made = jax.export.deserialize(bytearray((out / name).read_bytes()))
        assert made.platforms == ("cpu", "cuda", "tpu")
        assert str(made.in_avals[-1].shape[0]) == "b"
        assert made.in_avals[-1].dtype == np.uint8
        text = made.mlir_module()
        assert "f64" not in text
        assert "callback" not in text


WITHOUT_FLAX = """
import json, sys
sys.modules.update(dict.fromkeys(("flax", "optax", "orbax"), None))  # as if not installed
import numpy as np
from inres import Archive

folder, images = sys.argv[1], np.load(sys.argv[2])
archive = Archive.open(folder)
codes, features = archive.encode(images)
hits = archive.search_item(2, k=3)
found = archive.search_image(images[0], k=3)
print(json.dumps([
    codes.tolist(), features.tolist(), *([[hit.record["item"], hit.hamming] for hit in some]
    for some in (hits, found)), found.query.predicted,
]))
"""


def test_an_archive_is_searched_where_flax_is_not_installed(exported, tmp_path):
    run, out = exported
    if run.config.train.precision != "float32":
        pytest.skip("a new process for one precision is enough")
    images = np.random.default_rng(3).integers(1, 255, (3, SIDE, SIDE), np.uint8)
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FLAX, str(out), str(tmp_path / "images.npy")],
        env={**quick.environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    packed, features, hits, found, predicted = json.loads(done.stdout)
    archive = Archive.open(out, networks="flax")
    assert "flax" in sys.modules
    want = archive.encode(images)
    np.testing.assert_array_equal(packed, want[0])
    np.testing.assert_allclose(features, want[1], rtol=1e-4, atol=1e-5)
    ours = archive.search_image(images[0], k=3)
    assert found == [[hit.record["item"], hit.hamming] for hit in ours]
    assert predicted == ours.query.predicted
    own = archive.search_item(2, k=3)
    assert hits == [[hit.record["item"], hit.hamming] for hit in own]


def copy_of(out, folder):
    """A copy of an export, to be damaged."""
    folder.mkdir()
    for path in out.rglob("*"):
        place = folder / path.relative_to(out)
        if path.is_dir():
            place.mkdir()
        else:
            os.link(path, place)
    return folder


def replace(folder, name, content):
    """Replace a file, with its checksum."""
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    sums = json.loads((folder / "checksums.json").read_text())
    (folder / "checksums.json").unlink()
    files.write_json(folder / "checksums.json", sums | {name: files.sha256(folder / name)})


def test_programs_of_another_network_are_found(exported, tmp_path):
    _, out = exported
    export.verify(out)
    folder = copy_of(out, tmp_path / "copy")
    expected = dict(np.load(folder / "expected.npz"))
    expected["unseen/fc1"] = expected["unseen/fc1"] * 1.2
    np.savez(tmp_path / "other.npz", **expected)
    replace(folder, "expected.npz", (tmp_path / "other.npz").read_bytes())
    with pytest.raises(export.ExportError, match="unseen/fc1 of the exported programs differs"):
        export.verify(folder)
    expected.pop("masks")
    np.savez(tmp_path / "other.npz", **expected)
    replace(folder, "expected.npz", (tmp_path / "other.npz").read_bytes())
    with pytest.raises(export.ExportError, match=r"expected\.npz: holds .*must be .*'masks'"):
        export.verify(folder)


def test_a_program_that_cannot_be_read_is_named(exported, tmp_path):
    _, out = exported
    folder = copy_of(out, tmp_path / "copy")
    replace(folder, programs.ENCODER, b"not a program")
    with pytest.raises(ValueError, match=r"encoder\.jaxexport: damaged, or not for JAX"):
        Archive.open(folder, networks="exported").encode(np.zeros((1, SIDE, SIDE), np.uint8))


def test_an_export_of_an_older_version_needs_flax(exported, tmp_path):
    _, out = exported
    folder = copy_of(out, tmp_path / "copy")
    sums = json.loads((folder / "checksums.json").read_text())
    gone = {name for name in sums if name.endswith(".jaxexport")} | {programs.EXPECTED}
    for name in gone:
        (folder / name).unlink()
    (folder / "checksums.json").unlink()
    files.write_json(folder / "checksums.json", {n: s for n, s in sums.items() if n not in gone})
    export.verify(folder)
    image = np.ones((1, SIDE, SIDE), np.uint8)
    assert len(Archive.open(folder).encode(image)) == 2
    with pytest.raises(export.ExportError, match=r"has no encoder\.jaxexport.*older version"):
        Archive.open(folder, networks="exported").encode(image)


def test_only_an_exported_run_is_opened_with_programs(tmp_path):
    with pytest.raises(ValueError, match=r"not an exported run, but networks is 'exported'"):
        Archive.open(tmp_path, networks="exported")
    with pytest.raises(ValueError, match="networks is 'torch': must be one of auto, flax, export"):
        Archive.open(tmp_path, networks="torch")


@pytest.mark.parametrize(
    ("model", "planes"),
    [
        ("inres_net", "channels"),
        ("inres_net", "nine"),
        ("inres_net_3d", "channels"),
    ],
)
def test_every_network_and_way_to_see_planes_is_exported(model, planes, tmp_path):
    config = setting(planes=planes, model=model)
    cubes = config.items.view == "cube"
    shape = (9, 9, 18) if cubes else (SIDE, SIDE, CHANNELS)
    made, variables = network(config, shape)
    every, weight = views.unseen(config, channels=shape[-1])

    def layers(given, images):
        return encoder.apply(made, every[:2], planes, given, images, weight)

    stablehlo.write(tmp_path / "program", layers, variables, shape)
    program = stablehlo.load(tmp_path / "program", by_path(variables), remedy="")
    rng = np.random.default_rng(4)
    images = views.with_known(
        rng.integers(0, 256, (3, *shape[:2], shape[2] // 2), np.uint8), np.ones(shape[2] // 2, bool)
    )
    for ours, theirs in zip(program(images), layers(variables, images), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_variables_by_path_are_nested_again():
    tree = {"params": {"a": {"kernel": np.ones(2)}, "b": np.zeros(3)}, "batch_stats": {}}
    flat = by_path(tree)
    assert [*flat] == ["params/a/kernel", "params/b"]
    assert nested(flat)["params"]["a"]["kernel"] is tree["params"]["a"]["kernel"]
