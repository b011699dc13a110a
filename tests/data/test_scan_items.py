"""The items that scans are cut into."""

import dataclasses
import functools

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import LUNGS, in_lungs, write_tree
from data.chests import (
    EXCLUDED,
    SCANS,
    SPACING,
    make_config,
    nodules,
    normals,
    run,
)

from inres.config import ConfigError, Items
from inres.ct.image import to_uint8
from inres.data import collect, queries, scan_items
from inres.data import items as item_table
from inres.data import normals as sampling
from inres.data.audit import sphere_coverage
from inres.data.cut import Cut, cut_scan
from inres.data.item_store import open_store
from inres.data.prepare import prepare
from inres.data.views import canvas
from inres.sources import Finding, Scan, Scans
from inres.system import files
from inres.system.rows import Rows

pytestmark = pytest.mark.slow


def test_store_is_complete_and_clean(store):
    names = {p.name for p in store.root.iterdir()}
    arrays = {"slices.rows", "lung_masks.rows", "audit_slices.rows"}
    assert names == arrays | {"items.csv", "audit.csv", "scans.csv", "meta.json"}
    assert store.slices.shape == store.lung_masks.shape == (15, 112, 112)
    assert Rows(store.root / "audit_slices.rows").shape == (6, 112, 112)
    meta = files.read_json(store.root / "meta.json")
    assert meta["table2"] == {"=0": 12, "8~13": 1, "13~18": 1, "18~23": 1} | {
        name: 0 for name in ("0~5", "5~6", "6~8", ">23")
    }
    assert meta["normals"] == {"asked": 12, "made": 12}
    assert meta["messages"] == []


def test_nodules_carry_their_annotation(store):
    got = [store.items[i] for i in nodules(store)]
    assert [(i.scan, i.subset, i.diameter_mm, i.label) for i in got] == [
        ("b", 0, 9, 4), ("a", 2, 14, 5), ("a", 2, 22, 6)
    ]  # fmt: skip
    assert [(i.x_mm, i.y_mm, i.z_mm) for i in got] == [(70, 10, 30), (-60, 0, 10), (97, 0, -20)]
    assert len({i.nodule for i in got}) == 3


def test_items_have_their_location(store):
    """All of them, in a flipped scan as well: the lungs are ellipsoids at x = -65 and 65."""
    way = np.random.default_rng(0).normal(size=(20_000, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    skin = np.concatenate([np.array(center) + np.array(axes) * way for center, axes in LUNGS])
    for item in store.items:
        world = np.array([item.x_mm, item.y_mm, item.z_mm])
        assert item.value("lung_side") == np.sign(item.x_mm)
        assert item.value("lung_height") == pytest.approx((item.z_mm + 85) / 170, abs=0.03)
        depth = np.linalg.norm(skin - world, axis=1).min()
        assert item.value("pleura_mm") == pytest.approx(depth, abs=1.3 * SPACING)


def test_numbers_of_a_finding_are_properties(tree):
    columns = {"texture": 4.5, "mine": 2, "lung_side": 1.0, "malignancy": 3.0, "text": "5"}
    nodule = Finding("p/0", (-60.0, 0.0, 10.0), 14.0, columns | {"margin": np.nan, "row": 9.0})
    scan = Scan("a", sorted(tree.glob("subset2/*.mhd"))[0], nodules=(nodule,))
    cut = cut_scan(scan.path, make_config(tree).items)
    (placed,) = scan_items.nodule_items(cut, scan, nodule)
    assert placed.item.properties == {"texture": 4.5, "mine": 2.0, "lung_side": 1.0, "row_": 9.0}
    assert placed.item.texts == {"text": "5"}
    assert (placed.item.malignancy, placed.item.row < 9) == (3.0, False)
    (found,) = scan_items.located(cut, [placed])
    assert found.item.properties.items() > placed.item.properties.items(), "the source's side stays"
    assert {"lung_height", "pleura_mm"} <= found.item.properties.keys()


def test_nodules_outside_the_lungs_are_a_message(tmp_path):
    """As after a sign is taken for another: front and back are exchanged."""
    root = write_tree(
        tmp_path / "t", [{"uid": "a", "subset": 0, "nodules": [(-60, 40, 0, 9), (60, -90, 0, 8)]}]
    )
    store = run(make_config(root), root, tmp_path / "out")
    messages = files.read_json(store.root / "meta.json")["messages"]
    (text,) = [text for text in messages if "lie outside the lungs" in text]
    assert text.startswith("1 of 2 nodules lie outside the lungs (first: a/1)")
    assert "check the signs of their positions (LPS or RAS)" in text


def test_nodules_of_nothing_but_lung_are_a_message(tmp_path):
    """As after left and right, or front and back, are exchanged: the other lung is there."""
    drawn = [(-60, 20, 0, 12), (60, 30, 20, 10), (70, -30, -20, 14)]
    root = write_tree(tmp_path / "t", [{"uid": "a", "subset": 0, "nodules": drawn}])
    right = run(make_config(root), root, tmp_path / "right")
    assert files.read_json(right.root / "meta.json")["messages"] == []
    lines = [f"a,{-x},{-y},{z},{d}" for x, y, z, d in drawn]
    head = "seriesuid,coordX,coordY,coordZ,diameter_mm"
    (root / "annotations.csv").write_text("\n".join([head, *lines]) + "\n")
    wrong = run(make_config(root), root, tmp_path / "wrong")
    (text,) = files.read_json(wrong.root / "meta.json")["messages"]
    assert text.startswith("3 of 3 nodules show nothing but aerated lung at their centre (first: a")
    for store, dense in ((right, 1), (wrong, 0)):
        rows = files.read_csv(store.root / "audit.csv", ("dense",))
        assert [float(row["dense"]) for row in rows] == pytest.approx([dense] * 3, abs=0.2)


def test_files_of_scans_with_long_names_differ_and_fit_the_system(tmp_path):
    """A letter of most scripts takes nine bytes in the name of a file."""
    names = [f"{'肺部扫描' * 20}/{n}/{text}" for n in (1, 2) for text in ("a", "á", "a/b")]
    paths = [scan_items.part_path(tmp_path, Scan(name, tmp_path / "s.mhd")) for name in names]
    assert len(set(paths)) == len(names)
    for path in paths:
        path.write_bytes(b"")
        assert len(path.name.encode()) <= 220
    assert scan_items.part_path(tmp_path, Scan("a/b", tmp_path)).name == "a%2Fb.npz"


def test_point_is_the_nodule_in_the_slice(store):
    """The bright disc around the point has the annotated diameter, also in the flipped scan."""
    soft = to_uint8(np.array(-400), hu_min=-1200, hu_max=600)
    for i in nodules(store)[:2]:  # the isolated ones
        item = store.items[i]
        rows, cols = np.nonzero(store.slices[i] > soft)
        near = np.hypot(rows - item.row, cols - item.col) < 1.5 * item.diameter_mm / 2 / SPACING
        assert rows[near].mean() == pytest.approx(item.row, abs=0.5)
        assert cols[near].mean() == pytest.approx(item.col, abs=0.5)
        area = near.sum() * SPACING**2
        assert 2 * np.sqrt(area / np.pi) == pytest.approx(item.diameter_mm, abs=SPACING)


def test_slices_are_the_scan_at_their_world_position(tree, store):
    """Each canvas pixel has the HU of the scan at its world position."""
    for i, item in enumerate(store.items):
        path = tree / f"subset{item.subset}" / f"{item.scan}.mhd"
        image = sitk.ReadImage(str(path))
        for row, col in ((40, 40), (56, 70), (60, 30)):
            x, y = item.x_mm + (col - item.col) * SPACING, item.y_mm + (row - item.row) * SPACING
            # A slice lies within half a voxel of its item's height.
            around = [
                image.EvaluateAtPhysicalPoint((x, y, item.z_mm + dz), sitk.sitkLinear)
                for dz in np.linspace(-1.3, 1.3, 14)
            ]
            near = to_uint8(np.array(around), hu_min=-1200, hu_max=600)
            value = store.slices[i][row, col]
            assert near.min() - 4 <= value <= near.max() + 4


def test_masks_are_the_lungs(store):
    for i, item in enumerate(store.items):
        row, col = np.indices((112, 112))
        world = np.stack(
            [
                item.x_mm + (col - item.col) * SPACING,
                item.y_mm + (row - item.row) * SPACING,
                np.full((112, 112), item.z_mm),
            ],
            -1,
        )
        truth = in_lungs(world)
        mask = store.lung_masks[i] > 0
        assert set(np.unique(store.lung_masks[i])) <= {0, 1}
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_normals_are_clear_of_every_finding(tree, store):
    findings = [(s["uid"], *n) for s in SCANS for n in s.get("nodules", ())] + EXCLUDED
    spread = {uid: 0 for uid in "abc"}
    for i in normals(store):
        item = store.items[i]
        spread[item.scan] += 1
        assert (item.label, item.diameter_mm) == (0, 0)
        for uid, _, _, z, diameter in findings:
            radius = diameter / 2 if diameter > 0 else sampling.UNKNOWN_RADIUS_MM
            if uid == item.scan:
                assert abs(item.z_mm - z) >= radius + 8 - 1e-6
        assert store.lung_masks[i][round(item.row), round(item.col)] == 1
    assert list(spread.values()) == [4, 4, 4]
    for uid in "abc":
        heights = np.sort(
            [store.items[i].z_mm for i in normals(store) if store.items[i].scan == uid]
        )
        assert np.diff(heights).min() >= sampling.MIN_GAP_MM


def test_audit(tree, store):
    rows = files.read_csv(store.root / "audit.csv", collect.AUDIT_COLUMNS)
    planes = np.asarray(Rows(store.root / "audit_slices.rows"))
    assert [row["nodule"] for row in rows] == [store.items[i].nodule for i in nodules(store)]
    inner, outer = rows[1], rows[2]
    assert float(inner["threshold"]) == float(inner["repaired"]) == 1
    assert float(outer["threshold"]) < 0.6, "half of the nodule on the pleura is lost"
    assert float(outer["repaired"]) > 0.85, "and found again"
    for n, i in enumerate(nodules(store)):
        item, row = store.items[i], rows[n]
        three = np.stack([planes[2 * n], store.slices[i], planes[2 * n + 1]]) > 113  # -400 HU
        radius = item.diameter_mm / 2 / SPACING
        share = sphere_coverage(three, (item.row, item.col), radius)
        assert share == pytest.approx(1, abs=0.3), f"the nodule's own voxels are bright, {row}"


def test_masks_of_luna16(store, labelled_store):
    result = labelled_store
    rows = files.read_csv(result.root / "audit.csv", collect.AUDIT_COLUMNS)
    assert all(float(row["luna16"]) > 0.95 for row in rows), "the labels here contain the nodules"
    assert float(rows[2]["threshold"]) < 0.6
    inside = (result.lung_masks[:] > 0) & (store.lung_masks[:] > 0)
    assert (
        2 * inside.sum() / ((result.lung_masks[:] > 0).sum() + (store.lung_masks[:] > 0).sum())
        > 0.9
    )


def test_a_nodule_outside_its_canvas_is_left_out_and_reported(tree, store, tmp_path):
    """One inside the canvas is unchanged, even if its crop extends beyond the border."""
    result = run(make_config(tree, canvas_mm=160.0), tree, tmp_path / "o")
    meta = files.read_json(result.root / "meta.json")
    (message,) = meta["messages"]
    assert message == (
        "1 of 3 nodules left out: outside the canvas round their scan's lungs (first: a/1); "
        "raise config.items.canvas_mm"
    )
    kept = [result.items[i] for i in nodules(result)]
    where = [(store.items[i].nodule, store.items[i].x_mm) for i in nodules(store)]
    assert [(item.nodule, item.x_mm) for item in kept] == [w for w in where if w[0] != "a/1"]
    assert (
        min(min(item.row, item.col, 64 - item.row, 64 - item.col) for item in kept) < 24 / SPACING
    )
    assert meta["table2"] == {"=0": 12, "8~13": 1, "13~18": 1} | {
        name: 0 for name in ("0~5", "5~6", "6~8", "18~23", ">23")
    }
    rows = files.read_csv(result.root / "audit.csv", collect.AUDIT_COLUMNS)
    assert [row["nodule"] for row in rows] == [item.nodule for item in kept]
    assert Rows(result.root / "audit_slices.rows").shape == (4, 64, 64)
    assert result.slices.shape == result.lung_masks.shape == (14, 64, 64)


def test_a_canvas_has_the_same_millimetres_at_every_spacing(tree, store, tmp_path):
    result = run(make_config(tree, spacing_mm=2 * SPACING), tree, tmp_path / "o")
    assert result.slices.shape[1:] == (56, 56)
    assert store.slices.shape[1:] == (112, 112)
    for name in ("scan", "nodule", "x_mm", "y_mm", "z_mm"):
        wide, fine = ([getattr(s.items[i], name) for i in nodules(s)] for s in (result, store))
        assert wide == fine
    default = [Items(spacing_mm=mm).canvas_px for mm in (0.5, 0.7, 1.0, 2.0)]
    assert default == [768, 549, 384, 192]


@pytest.mark.parametrize("sizes", [{"crop_mm": 281.0}, {"crop_mm": 2.0}, {"canvas_mm": 2.0}])
def test_a_crop_is_a_pixel_or_more_and_no_larger_than_the_canvas(tree, sizes):
    with pytest.raises(ConfigError, match=r"crop_mm.*from items\.spacing_mm = 2\.5 to items\.can"):
        make_config(tree, **sizes)


def test_neighbours_are_planes_of_the_scan(tree, tmp_path):
    """They are 3 mm apart in the volume, and unknown beyond its ends."""
    config = make_config(tree, neighbours=2, neighbour_mm=3.0)
    prepare(config, root=tree, out=tmp_path / "o", workers=1)
    found = open_store(tmp_path / "o")
    assert found.neighbours.shape == (len(found.items), 4, 112, 112)
    cached = functools.cache(lambda path: cut_scan(path, config.items))
    for i, item in enumerate(found.items):
        path = tree / f"subset{item.subset}" / f"{item.scan}.mhd"
        cut = cached(path)
        world = (item.x_mm, item.y_mm, item.z_mm)
        z = round(float(cut.volume.world_to_index(np.array(world))[0]))
        heights = [round(z + d / SPACING) for d in (-6, -3, 0, 3, 6)]
        inside = [0 <= h < len(cut.mask) for h in heights]
        grey = to_uint8(cut.volume.hu, hu_min=-1200, hu_max=600)
        grey = np.concatenate([grey, np.zeros_like(grey[:1])])
        want = [
            canvas(grey[h if known else -1], center=cut.center, size=112)
            for h, known in zip(heights, inside, strict=True)
        ]
        planes, known = found.planes(i)
        np.testing.assert_array_equal(planes, want)
        np.testing.assert_array_equal(known, inside)
        if item.nodule:
            opened = queries.open_query_scan(path, config=config, root=None)
            np.testing.assert_array_equal(opened.at(world_mm=world).planes, want)
    prepare(make_config(tree), root=tree, out=tmp_path / "o", workers=1)
    assert open_store(tmp_path / "o").neighbours is None


def test_nodules_have_training_slices_next_to_the_central_one(tree, store, tmp_path):
    more = run(make_config(tree, slices_per_nodule=3), tree, tmp_path / "more")
    central = [i for i, item in enumerate(more.items) if not item.offset_mm]
    assert list(map(str, (more.items[i] for i in central))) == list(map(str, store.items))
    np.testing.assert_array_equal(more.slices[central], store.slices)
    others = [item for item in more.items if item.offset_mm]
    by_nodule = {item.nodule: item for item in store.items if item.nodule}

    @functools.cache
    def central_mm(own):
        """Height of the nodule's central plane, from which offsets are measured."""
        path = tree / f"subset{own.subset}" / f"{own.scan}.mhd"
        volume = cut_scan(path, make_config(tree).items).volume
        index = volume.world_to_index(np.array([own.x_mm, own.y_mm, own.z_mm]))
        return volume.index_to_world(np.array([round(index[0]), *index[1:]]))[2]

    for item in others:
        own = by_nodule[item.nodule]
        assert abs(central_mm(own) + item.offset_mm - own.z_mm) <= own.diameter_mm / 4 + 1e-6
        assert str(item) == str(dataclasses.replace(own, offset_mm=item.offset_mm))
    # The largest has planes within 5.5 mm on either side.
    assert sum(item.nodule == "a/1" for item in others) == 2
    assert len({(i.nodule, i.offset_mm) for i in others}) == len(others)
    assert item_table.table2(more.items) == item_table.table2(store.items)


def test_side_planes_are_within_half_a_radius():
    """On each side, the outermost plane within that distance is among them."""
    rng = np.random.default_rng(0)
    mask = np.zeros((30, 1, 1), bool)
    seen = set()
    for _ in range(300):
        center, radius = rng.uniform(-0.5, 29.5), rng.uniform(0.2, 12)
        count = int(rng.choice([1, 3, 5, 9]))
        cut = Cut(None, None, mask, None, mask, (0, 0), (), Items(slices_per_nodule=count))
        others = scan_items.side_planes(cut, center, radius)
        central = cut.nearest_plane(center)
        near = [z for z in range(30) if abs(z - center) <= radius / 2 and z != central]
        assert set(others) <= set(near)
        assert others == sorted(set(others))
        assert len(others) <= count - 1
        if count > 1:
            ends = [min([*near, central]), max([*near, central])]
            assert [min([*others, central]), max([*others, central])] == ends
        seen.add(len(others))
    assert seen >= {0, 1, 2, 4, 8}


def labelled_store(tree, tmp_path, scans, **items):
    config = make_config(tree, **items)
    jobs = [scan_items.Job(scan, config, 4, scan_items.part_path(tmp_path, scan)) for scan in scans]
    for job in jobs:
        scan_items.work(job)
    out = tmp_path / "store"
    out.mkdir()
    collect.collect(jobs, Scans(tuple(scans)), config, out=out, progress=lambda it, **_: it)
    return open_store(out)


def test_places_are_spread_through_the_lungs_of_a_scan_without_findings(tree, tmp_path):
    path = sorted(tree.glob("subset2/*.mhd"))[0]
    known = {"columns": {"cancer": 1.0, "age": 60.0}, "study_date": "20170102", "spread": True}
    scans = [Scan("a", path, split="test", **known), Scan("b", path, **known | {"columns": {}})]
    scans[1] = dataclasses.replace(scans[1], columns={"cancer": 0.0, "age": "old"})
    store = labelled_store(tree, tmp_path, scans, label="cancer", places_per_scan=6)
    assert store.class_names == ("no nodule", "cancer 0", "cancer 1")
    assert [item.label for item in store.items] == [2] * 6 + [1] * 6
    assert {(i.scan, i.split, i.texts["age"]) for i in store.items} == {
        ("a", "test", "60"), ("b", "", "old")
    }  # fmt: skip
    assert {item.texts["study_date"] for item in store.items} == {"2017-01-02"}
    assert np.isnan(store.column("diameter_mm")).all()
    assert not any(store.column("nodule"))
    world = np.array([(i.x_mm, i.y_mm, i.z_mm) for i in store.items[:6]])
    assert all(in_lungs(point) for point in world)
    # Both lungs, and apart from each other as points spread evenly through them are.
    assert np.sign(world[:, 0]).tolist().count(1.0) in (2, 3, 4)
    apart = np.linalg.norm(world[:, None] - world[None], axis=2) + 1e3 * np.eye(6)
    assert apart.min() > 30


def test_a_nodule_of_unknown_diameter_is_an_item_where_a_column_labels_it(tree, tmp_path):
    path = sorted(tree.glob("subset2/*.mhd"))[0]
    given = [("a/0", (-60.0, 0.0, 10.0), "solid"), ("a/1", (-60.0, 20.0, -30.0), "glass")]
    found = tuple(Finding(name, at, np.nan, {"kind": kind}) for name, at, kind in given)
    scan = Scan("a", path, nodules=found)
    store = labelled_store(tree, tmp_path, [scan], label="kind", normals=3)
    assert store.class_names == ("no nodule", "glass", "solid")
    assert [i.label for i in store.items] == [2, 1, 0, 0, 0]
    assert [i.diameter_mm for i in store.items[2:]] == [0.0] * 3
