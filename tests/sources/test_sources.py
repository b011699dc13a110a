"""Data sources are found by listing the package, and one more takes one file."""

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import chest_image

from inres import sources
from inres.config import Config, ConfigError, Data, Items
from inres.data import prepare, queries
from inres.data.item_store import open_store
from inres.pipeline.prepare import prepare_items
from inres.sources import Finding, Scan, Scans, Source
from inres.system import files

BUILTIN = ("cases", "dsb2017", "folder", "lidc", "lndb", "luna16", "luna25", "phantom", "tianchi")

MINE = '''
"""Scans named by a list, with findings."""

import csv

from inres.sources import Finding, Scan, Scans, Source, register


def read(root, data, progress):
    with open(root / "found.csv") as file:
        rows = list(csv.DictReader(file))
    scans = []
    for name in sorted({row["scan"] for row in rows}):
        nodules = tuple(
            Finding(
                f"{name}#{n}",
                world_mm=tuple(float(row[axis]) for axis in "xyz"),
                diameter_mm=float(row["mm"]),
                columns={"malignancy": float(row["malignancy"])},
            )
            for n, row in enumerate(rows)
            if row["scan"] == name
        )
        scans.append(Scan(name, root / f"{name}.nii.gz", nodules=nodules, patient=name[:2]))
    return Scans(tuple(scans), messages=("read by hand",))


register(Source(name="mine", title="two chests", read=read), module=__name__)
'''


@pytest.fixture
def no_others(monkeypatch):
    """Forget, after the test, what it registered."""
    for name in ("_entries", "_modules"):
        held = getattr(sources._REGISTRY, name)
        monkeypatch.setattr(sources._REGISTRY, name, dict(held))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_of_the_package_is_the_source_of_its_name():
    folder = Path(sources.__file__).parent
    assert sources.names() == BUILTIN == tuple(sorted(p.stem for p in folder.glob("[!_]*.py")))
    for name in BUILTIN:
        assert sources.get(name).name == name


def test_an_unknown_kind_is_one_error_that_lists_those_that_exist():
    with pytest.raises(ConfigError, match=r"data\.kind = 'lnua16'.*'folder'.*'luna16'.*'phantom'"):
        Data(kind="lnua16")
    with pytest.raises(ValueError, match=r"'lnua16'.*folder, .*luna16, .*phantom"):
        sources.get("lnua16")


def test_a_name_is_taken_once(no_others):
    with pytest.raises(ValueError, match=r"'luna16'.*inres\.sources\.luna16.*choose another"):
        sources.register(Source(name="luna16"), module="mine")
    sources.register(Source(name="mine", title="first"), module="mine")
    sources.register(Source(name="mine", title="second"), module="mine")  # the file, loaded again
    assert sources.get("mine").title == "second"


def test_titles():
    titles = {name: sources.get(name).title_of("/data/crops") for name in BUILTIN}
    assert titles["folder"] == titles["cases"] == "crops"
    assert titles["luna16"] == "LUNA16"
    assert titles["phantom"] == "synthetic scans"


def test_config_and_workers_are_light():
    """The config reads no image library, and what prepares scans in processes no JAX."""
    code = """
        import sys
        import inres.config
        print([name for name in ("jax", "SimpleITK", "scipy") if name in sys.modules])
        import inres.data.scan_items, inres.data.scans, inres.phantoms.dataset
        print([name for name in ("jax", "flax", "optax") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n[]\n"


@pytest.fixture
def mine(tmp_path, no_others):
    """A config for two scans of a source in a file of its own."""
    root = tmp_path / "data"
    root.mkdir()
    rows = [("p1_a", -60, 0, 10, 14, 4), ("p1_a", 60, 5, -20, 9, 2), ("p2_b", 70, 10, 30, 7, 5)]
    for name in ("p1_a", "p2_b"):
        nodules = [row[1:5] for row in rows if row[0] == name]
        sitk.WriteImage(chest_image(nodules)[0], str(root / f"{name}.nii.gz"))
    lines = ["scan,x,y,z,mm,malignancy", *(",".join(map(str, row)) for row in rows)]
    (root / "found.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "my_source.py"
    path.write_text(MINE)
    load(path)
    config = Config(data=Data(kind="mine", root=str(root)))
    config.items = Items(spacing_mm=2.5, canvas_mm=280.0, normals=6, size_px=32)
    return config


@pytest.mark.slow
def test_a_source_in_one_file_is_prepared_and_searched(mine, tmp_path, capsys):
    mine.data.workers = 2
    prepare_items(mine, tmp_path)
    store = open_store(tmp_path / "prepare")
    shown = [
        (i.scan, i.nodule, i.diameter_mm, i.label, i.malignancy, i.patient) for i in store.items
    ]
    assert shown[:2] == [("p1_a", "p1_a#0", 14, 5, 4, "p1"), ("p1_a", "p1_a#1", 9, 4, 2, "p1")]
    assert ("p2_b", "p2_b#2", 7, 3, 5, "p2") in shown
    assert len(shown) == 3 + 6
    assert "note: read by hand" in capsys.readouterr().out
    root = Path(mine.data.root)
    for row in (0, 1):
        item = store.items[row]
        scan = queries.open_query_scan(root / f"{item.scan}.nii.gz", config=mine, root=root)
        query = scan.at(world_mm=(item.x_mm, item.y_mm, item.z_mm))
        np.testing.assert_array_equal(query.planes[0], store.slices[row])
        np.testing.assert_array_equal(query.mask, store.lung_masks[row])
    prepare_items(mine, tmp_path)
    assert "prepare: done already" in capsys.readouterr().out
    (root / "note.txt").write_text("any file is part of the data, unless the source says which are")
    with pytest.raises(ValueError, match="input files changed"):
        prepare_items(mine, tmp_path)


@pytest.mark.parametrize(
    ("scans", "message"),
    [
        ((), "no scan"),
        (("a", "a"), r"1 scans of one name \(first: a\)"),
        (("a",), r"1 scans without a lung mask \(config\.data\.lung_masks = 'threshold'.*first: a"),
    ],
)
def test_descriptions_that_cannot_be_cut_are_refused(no_others, tmp_path, scans, message):
    described = Scans(tuple(Scan(uid, tmp_path / f"{uid}.mhd") for uid in scans))
    source = Source(name="odd", read=lambda root, data, progress: described)
    sources.register(source, module="odd")
    config = Config(data=Data(kind="odd", root=str(tmp_path), lung_masks="luna16"))
    with pytest.raises(sources.SourceError, match=message):
        prepare.prepare(config, root=tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"diameter_mm": float("nan")}, r"items.label = 'auto': diameter_mm is unknown of every"),
        *(
            ({"diameter_mm": wrong}, r"1 nodules with a diameter below 0\.5 mm; is it in another")
            for wrong in (0.0, -1.0, 0.008)
        ),
        (
            {"diameter_mm": 5000.0},
            r"1 findings.*first: n0: diameter_mm is 5000; must be 0 to 200 mm",
        ),
        ({"diameter_mm": 200.5}, r"1 findings with a diameter that cannot be"),
        ({"columns": {"a b": 1.0, "A_b": 1.0}}, r"columns 'a b' and 'A_b' become one, A_b; rename"),
        ({"columns": {"texture": 7.0}}, r"1 properties.*first: n0: texture is 7; must be 1 to 5"),
        ({"columns": {"Lung Side": 1.0}}, r"1 columns.*first: n0: Lung Side, known is lung_side"),
    ],
)
def test_a_nodule_that_cannot_be_is_refused(no_others, tmp_path, known, message):
    nodule = Finding("n0", **{"world_mm": (0.0, 0.0, 0.0), "diameter_mm": 9.0} | known)
    described = Scans((Scan("a", tmp_path / "a.mhd", nodules=(nodule,)),))
    source = Source(name="odd", read=lambda root, data, progress: described)
    sources.register(source, module="odd")
    config = Config(data=Data(kind="odd", root=str(tmp_path)))
    with pytest.raises(sources.SourceError, match=message):
        prepare.prepare(config, root=tmp_path, out=tmp_path / "out")


def test_two_nodules_at_one_place_are_refused(no_others, tmp_path):
    nodules = [Finding(f"n{n}", (0.0, 0.0, z), 9.0) for n, z in enumerate((1.0, 2.0, 1.0))]
    described = Scans((Scan("a", tmp_path / "a.mhd", nodules=tuple(nodules)),))
    sources.register(Source(name="odd", read=lambda root, data, progress: described), module="odd")
    config = Config(data=Data(kind="odd", root=str(tmp_path)))
    message = r"1 nodules at the place of another one.*first: n2 at \(0\.0, 0\.0, 1\.0\)"
    with pytest.raises(sources.SourceError, match=message):
        prepare.prepare(config, root=tmp_path, out=tmp_path / "out")


def test_an_empty_root_is_refused_unless_the_data_is_synthetic(tmp_path):
    for kind in ("luna16", "folder"):
        with pytest.raises(ConfigError, match=r"config\.data\.root is empty; set it to"):
            sources.get(kind).root_of(Data(kind=kind), written=tmp_path)
    phantom = sources.get("phantom")
    assert phantom.root_of(Data(), written=tmp_path) == tmp_path
    assert phantom.root_of(Data(root=str(tmp_path / "a")), written=tmp_path) == tmp_path / "a"


def test_the_store_depends_on_what_it_is_made_from():
    """Fields of the network's view are no inputs; strict counts are, since others are unchecked."""
    crops = prepare.settings(Config(data=Data(kind="folder")))
    assert crops == {
        "data": {"kind": "folder"},
        "items": {
            **{"hu_min": -1200.0, "hu_max": 600.0, "unit": "auto", "neighbours": 0},
            "label": "auto",
        },
    }
    scans = prepare.settings(Config(data=Data(kind="luna16", seed=3)))
    assert scans["data"] == {
        **{"kind": "luna16", "max_thickness_mm": 2.5, "kernel": ""},
        **{"lung_masks": "threshold", "seed": 3},
    }
    view = {"view", "crop_mm", "segmented", "size_px", "unit"}
    cube = {"cube_mm", "cube_px", "slice_mm"}
    inside = prepare.settings(Config(data=Data(kind="luna16"), items=Items(normal_inside_mm=5.0)))
    assert {*inside["items"]} - {*scans["items"]} == {"normal_inside_mm"}  # 0: as before it existed
    assert {*inside["items"], *view, *cube} == {*vars(Items())}
    cubes = prepare.settings(Config(data=Data(kind="luna16"), items=Items(view="cube")))
    assert {*cubes["items"]} - {*scans["items"]} >= {"cube_mm", "cube_px"}
    strict = prepare.settings(Config(data=Data(kind="luna16", expect_counts="strict")))
    assert strict["data"]["expect_counts"] == "strict"


def test_pixel_size_is_known_of_scans_alone():
    items = Items(spacing_mm=0.8)
    sizes = {kind: sources.get(kind).pixel_mm(items) for kind in BUILTIN}
    assert sizes == dict.fromkeys(BUILTIN, 0.8) | {"folder": 0.0}


def test_phantoms_are_read_without_luna16s_counts(tmp_path):
    config = Config(data=Data(kind="phantom"))
    config.phantom.scans, config.phantom.subsets = 1, 1
    config.phantom.matrix, config.phantom.extent_mm = 128, 80.0
    source = sources.get("phantom")
    source.write(tmp_path, config, 1)
    found = source.read(tmp_path, config.data, lambda steps, **_: steps)
    assert len(found.scans) == 1
    assert found.messages == ()
    assert files.read_json(next((tmp_path / "findings").glob("*.json")))["annotations"]
    assert {p.suffix for p in source.files(tmp_path, config.data)} == {".mhd", ".zraw", ".csv"}
