"""From a LUNA16 tree to the item store, and queries by the same road."""

import csv
import dataclasses
import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import in_lungs, to_image, write_tree

from experiments import prepare as stage
from inres.config import Config, ConfigError, Data, Items
from inres.ct import scan
from inres.ct.header import Grid, ScanError
from inres.ct.image import to_uint8
from inres.data import items as item_table
from inres.data import prepare as room
from inres.data import queries
from inres.data.audit import sphere_coverage
from inres.data.cut import Cut, cut_scan
from inres.data.items import open_store
from inres.data.views import canvas
from inres.pipeline.stages import StageError
from inres.sources import luna16
from inres.sources.luna16 import Luna16Error
from inres.system import files

pytestmark = pytest.mark.slow

SPACING = 2.5
SCANS = [
    {"uid": "a", "subset": 2, "nodules": [(-60, 0, 10, 14), (97, 0, -20, 22)]},
    {"uid": "b", "subset": 0, "nodules": [(70, 10, 30, 9)], "flips": (-1, -1, 1)},
    {"uid": "c", "subset": 0, "spacing": (2.8, 3.0, 2.0)},
]
EXCLUDED = [("c", 60, 0, 40, -1), ("c", -60, 0, -40, 12), ("b", 60, 0, -30, 3.5)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    return write_tree(root, SCANS, excluded=EXCLUDED, masks=True)


def make_config(root, **items):
    items = {"spacing_mm": SPACING, "canvas_mm": 280.0, "normals": 12, "size_px": 32} | items
    return Config(data=Data(kind="phantom", root=str(root)), items=Items(**items))


def run(config, root, out, **kwargs):
    kwargs = {"workers": 1, "progress": lambda steps, **_: steps} | kwargs
    room.prepare(config, root=root, out=out, **kwargs)
    return open_store(out)


@pytest.fixture(scope="module")
def store(tree, tmp_path_factory):
    return run(make_config(tree), tree, tmp_path_factory.mktemp("out") / "items")


def config_of_labels(root):
    return Config(
        data=Data(kind="phantom", root=str(root), lung_masks="luna16"),
        items=make_config(root).items,
    )


@pytest.fixture(scope="module")
def labelled_store(tree, tmp_path_factory):
    return run(config_of_labels(tree), tree, tmp_path_factory.mktemp("out") / "labelled")


def table(store):
    return (store.root / "items.csv").read_text()


def query(path, config, *, series_uid="", **place):
    opened = queries.open_query_scan(
        path, config=config, root=config.data.root, series_uid=series_uid
    )
    found = opened.at(**place)
    assert found.segmentable
    return found.planes, found.mask, found.point, found.notes


def image_query(path, config):
    found = queries.read_query_image(path, config=config, root=config.data.root)
    return found.planes, found.mask, found.point, found.notes


def test_an_image_of_12_bits_is_no_query(tmp_path, tree):
    path = tmp_path / "q.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(0, 3600, 25, "u2").reshape(12, 12)), path)
    for kind in ("phantom", "folder"):
        config = Config(data=Data(kind=kind, root=str(tree)))
        with pytest.raises(ScanError, match=r"q\.png: 16-bit pixels from 0 to 3575, so 12-bit"):
            image_query(path, config)


def nodules(store):
    return [i for i, item in enumerate(store.items) if item.nodule]


def normals(store):
    return [i for i, item in enumerate(store.items) if not item.nodule]


def test_store_is_complete_and_clean(store):
    names = {p.name for p in store.root.iterdir()}
    arrays = {"slices.npy", "lung_masks.npy", "audit_slices.npy"}
    assert names == arrays | {"items.csv", "audit.csv", "meta.json"}
    assert store.slices.shape == store.lung_masks.shape == (15, 112, 112)
    assert np.load(store.root / "audit_slices.npy").shape == (6, 112, 112)
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


def test_point_is_the_nodule_in_the_slice(store):
    """The bright disc round the point has the annotated diameter, in the flipped scan too."""
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
    """Each canvas pixel, taken back to the world, has the HU of the scan there."""
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
            radius = diameter / 2 if diameter > 0 else room.UNKNOWN_RADIUS_MM
            if uid == item.scan:
                assert abs(item.z_mm - z) >= radius + 8 - 1e-6
        assert store.lung_masks[i][round(item.row), round(item.col)] == 1
    assert list(spread.values()) == [4, 4, 4]
    for uid in "abc":
        heights = np.sort(
            [store.items[i].z_mm for i in normals(store) if store.items[i].scan == uid]
        )
        assert np.diff(heights).min() >= room.MIN_GAP_MM


def test_audit(tree, store):
    rows = files.read_csv(store.root / "audit.csv", room.AUDIT_COLUMNS)
    planes = np.load(store.root / "audit_slices.npy")
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


def test_two_workers_and_a_second_run_give_the_same(tree, store, tmp_path):
    other = run(make_config(tree), tree, tmp_path / "o", workers=2)
    for name in ("items.csv", "audit.csv", "meta.json", "slices.npy", "lung_masks.npy"):
        assert (other.root / name).read_bytes() == (store.root / name).read_bytes()
    changed = make_config(tree)
    changed.data = dataclasses.replace(changed.data, seed=1)
    assert table(run(changed, tree, tmp_path / "p")) != table(store)


def test_interrupted_run_goes_on_where_it_stopped(tree, store, tmp_path, monkeypatch):
    config, out = make_config(tree), tmp_path / "o"
    work, done = room._work, []

    def stopping(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.entry.uid)
        work(job)

    monkeypatch.setattr(room, "_work", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(config, tree, out)
    assert not (out / "items.csv").exists()
    assert sorted(p.name for p in (out / "scans").iterdir()) == ["b.npz", "c.npz"]
    first = done.copy()
    done.clear()
    result = run(config, tree, out)
    assert (first, done) == (["b", "c"], ["a"])
    assert table(result) == table(store)
    np.testing.assert_array_equal(result.slices, store.slices)


@pytest.mark.parametrize("change", ["clearance", "finding", "damage", "view"])
def test_only_what_changed_is_done_again(tree, tmp_path, monkeypatch, change):
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "o"
    monkeypatch.setattr(room, "_assemble", lambda *a, **k: None)
    monkeypatch.setattr(room.shutil, "rmtree", lambda *a, **k: None)
    config = make_config(root)
    room.prepare(config, root=root, out=out, workers=1, progress=lambda s, **_: s)
    done = []
    monkeypatch.setattr(room, "_work", lambda job: done.append(job.entry.uid))
    expected = ["b", "c", "a"]
    if change == "clearance":
        config = make_config(root, normal_clearance_mm=9.0)
    elif change == "finding":
        with open(root / "annotations_excluded.csv", "a") as file:
            file.write("c,1,1,1,4\n")
        expected = ["c"]
    elif change == "damage":
        (out / "scans" / "b.npz").write_bytes((out / "scans" / "b.npz").read_bytes()[:1000])
        expected = ["b"]
    elif change == "view":
        config, expected = make_config(root, view="slice", size_px=64), []
    room.prepare(config, root=root, out=out, workers=1, progress=lambda s, **_: s)
    assert done == expected


def test_masks_of_luna16(store, labelled_store):
    result = labelled_store
    rows = files.read_csv(result.root / "audit.csv", room.AUDIT_COLUMNS)
    assert all(float(row["luna16"]) > 0.95 for row in rows), "its labels here hold the nodules"
    assert float(rows[2]["threshold"]) < 0.6
    inside = (result.lung_masks[:] > 0) & (store.lung_masks[:] > 0)
    assert (
        2 * inside.sum() / ((result.lung_masks[:] > 0).sum() + (store.lung_masks[:] > 0).sum())
        > 0.9
    )


def test_fewer_clear_slices_than_asked(tree, tmp_path):
    result = run(make_config(tree, normals=500), tree, tmp_path / "o")
    meta = files.read_json(result.root / "meta.json")
    assert meta["normals"]["made"] == len(normals(result)) < 200
    assert f"{meta['normals']['made']} normal slices instead of 500" in meta["messages"][0]
    assert len(run(make_config(tree, normals=0), tree, tmp_path / "p").items) == 3


def test_a_nodule_outside_of_its_canvas_is_no_item_and_told(tree, store, tmp_path):
    """One that is inside stays as it is, though its crop reaches over the border."""
    result = run(make_config(tree, canvas_mm=160.0), tree, tmp_path / "o")
    meta = files.read_json(result.root / "meta.json")
    (message,) = meta["messages"]
    assert message == (
        "1 of 3 nodules left out: outside of the canvas round their scan's lungs (first: a/1); "
        "raise --config.items.canvas_mm"
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
    rows = files.read_csv(result.root / "audit.csv", room.AUDIT_COLUMNS)
    assert [row["nodule"] for row in rows] == [item.nodule for item in kept]
    assert np.load(result.root / "audit_slices.npy").shape == (4, 64, 64)
    assert result.slices.shape == result.lung_masks.shape == (14, 64, 64)


def test_no_nodule_inside_and_no_normal_is_no_store(tree, tmp_path):
    config = make_config(tree, canvas_mm=50.0, normals=0)
    with pytest.raises(room.PrepareError, match=r"not one item.*items\.canvas_mm = 50\b"):
        run(config, tree, tmp_path / "o")


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


def test_even_shares():
    rng = np.random.default_rng(0)
    assert room._even([5, 5, 5], 9, rng) == [3, 3, 3]
    assert room._even([1, 9, 2], 9, rng) == [1, 6, 2]
    assert room._even([1, 0, 2], 9, rng) == [1, 0, 2]
    for _ in range(20):
        offered = rng.integers(0, 9, 12)
        total = int(rng.integers(0, offered.sum() + 1))
        take = np.array(room._even(offered.tolist(), total, rng))
        assert take.sum() == total
        assert np.all(take <= offered)
        assert np.all((take >= take.max() - 1) | (take == offered))


def test_table2_of_the_real_annotations(real_data):
    found, _ = luna16.read_findings(real_data("luna16_csv") / "annotations.csv")
    rows = [
        item_table.Item("", uid, f.name, int(item_table.size_class(f.diameter_mm)))
        for uid, findings in found.items()
        for f in findings
    ]
    assert list(room.table2(rows).values()) == [0, 270, 232, 276, 234, 100, 55, 19]


# Bad input


def test_unreadable_scans_do_not_stop_the_others(tree, tmp_path):
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "o"
    data = root / "subset0" / "b.zraw"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF  # of the right size, so that it shows on reading only
    data.write_bytes(bytes(content))
    with pytest.raises(room.PrepareError, match=r"1 of 3 scans could not be read(.*\n)+.*b\.zraw"):
        run(make_config(root), root, out)
    assert sorted(p.name for p in out.iterdir()) == ["scans"]
    assert sorted(p.name for p in (out / "scans").iterdir()) == ["a.npz", "c.npz"]
    with pytest.raises(room.PrepareError, match=r"1 of 1 scans could not be read(.*\n)+.*b\.zraw"):
        run(make_config(root), root, out, workers=2)


def test_a_scan_fetched_again_goes_on_in_the_same_workdir(tree, tmp_path, monkeypatch):
    root = shutil.copytree(tree, tmp_path / "tree")
    config, data = make_config(root), root / "subset0" / "b.zraw"
    config.data.workers = 1
    whole = data.read_bytes()
    data.write_bytes(whole[:-100] + bytes(100))
    with pytest.raises(room.PrepareError, match="1 of 3 scans could not be read"):
        stage.run(config, tmp_path)
    data.write_bytes(whole)
    work, done = room._work, []
    monkeypatch.setattr(room, "_work", lambda job: (done.append(job.entry.uid), work(job)))
    stage.run(config, tmp_path)
    assert done == ["b"]
    data.touch()
    with pytest.raises(StageError, match="other data: input files changed; use another"):
        stage.run(config, tmp_path)


def test_truncated_scan_is_found_before_work_starts(tree, tmp_path):
    root, out = shutil.copytree(tree, tmp_path / "tree"), tmp_path / "o"
    data = root / "subset0" / "b.zraw"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(Luna16Error, match=r"b\.zraw: truncated"):
        run(make_config(root), root, out)
    assert not out.exists()


def test_scan_without_lungs_is_told_and_kept(tree, tmp_path):
    root = shutil.copytree(tree, tmp_path / "tree")
    path = root / "subset0" / "b.mhd"
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.Cast(image + 1000, sitk.sitkInt16), str(path), True)
    result = run(make_config(root), root, tmp_path / "o")
    (message,) = files.read_json(result.root / "meta.json")["messages"]
    assert "b.mhd: no lungs found (values -" in message
    assert result.lung_masks[0].any()


def test_no_room_is_told_before_work_starts(tree, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10, 10, 1000)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(room, "_work", lambda job: pytest.fail("work started"))
    with pytest.raises(OSError, match="are needed, 1e-06 are free") as error:
        run(make_config(tree), tree, tmp_path / "o")
    assert error.value.errno == errno.ENOSPC


def test_room_is_asked_for_what_is_still_to_be_written(tree, store, tmp_path, monkeypatch):
    """Where all scans are done, for the store alone; for its arrays to the last byte."""
    out = tmp_path / "o"
    monkeypatch.setattr(room, "_assemble", lambda *a, **k: None)
    monkeypatch.setattr(room.shutil, "rmtree", lambda *a, **k: None)
    room.prepare(make_config(tree), root=tree, out=out, workers=1)
    monkeypatch.undo()
    need = sum(np.load(path, mmap_mode="r").nbytes for path in store.root.glob("*.npy"))

    def free(count):
        usage = shutil._ntuple_diskusage(10**12, 10**12 - count, count)
        monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage)

    done = out / "scans" / "a.npz"
    content = done.read_bytes()
    done.unlink()
    free(need)
    with pytest.raises(OSError, match="are needed"):
        run(make_config(tree), tree, out)
    done.write_bytes(content)
    free(need - 1)
    with pytest.raises(OSError, match="are needed"):
        run(make_config(tree), tree, out)
    free(need)
    assert table(run(make_config(tree), tree, out)) == table(store)


@pytest.mark.parametrize("full_at", ["scan", "store"])
def test_full_disk_leaves_nothing_half_written(tree, store, tmp_path, monkeypatch, full_at):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if full_at == "scan":
            patch.setattr(np, "savez_compressed", full)
        else:
            patch.setattr(files, "write_csv", full)
        with pytest.raises(OSError, match=r"disk is full; (make room|free some).*/o[/']"):
            run(make_config(tree), tree, tmp_path / "o")
    assert not list((tmp_path / "o").rglob(".*"))
    assert not (tmp_path / "o" / "items.csv").exists()
    assert table(run(make_config(tree), tree, tmp_path / "o")) == table(store)


CTRL_C = """
import sys
from pathlib import Path
from inres.config import Config, Data, Items
from inres.data.prepare import prepare
if __name__ == "__main__":
    root, out = sys.argv[1:]
    config = Config(data=Data(kind="phantom", root=root), items=Items(normals=4))
    print("go", flush=True)
    prepare(config, root=root, out=out, workers=2)
"""


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_ends_all_processes_at_once(tree, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(CTRL_C)
    root = Path(room.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, str(script), str(tree), str(tmp_path / "o")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(root)},
        encoding="utf-8",
    )
    assert process.stdout.readline() == "go\n"
    time.sleep(2.5)  # workers are starting or at work: a scan takes longer at full size
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT or "KeyboardInterrupt" in errors
    for _ in range(100):
        if not group_lives(process.pid):
            break
        time.sleep(0.1)
    assert not group_lives(process.pid)
    assert not (tmp_path / "o" / "items.csv").exists()


# Queries


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("lung_masks", ["threshold", "luna16"])
def test_query_by_world_is_the_gallery_item(tree, store, labelled_store, which, lung_masks):
    wants_labels = lung_masks == "luna16"
    config = config_of_labels(tree) if wants_labels else make_config(tree)
    gallery = labelled_store if wants_labels else store
    i = nodules(gallery)[which]
    item = gallery.items[i]
    path = tree / f"subset{item.subset}" / f"{item.scan}.mhd"
    world = (item.x_mm, item.y_mm, item.z_mm)
    planes, mask, point, messages = query(path, config, world_mm=world)
    np.testing.assert_array_equal(planes, gallery.slices[i][None])
    np.testing.assert_array_equal(mask, gallery.lung_masks[i])
    assert point == pytest.approx((item.row, item.col), abs=1e-3)
    assert messages == ()


def test_query_from_elsewhere_says_that_its_lungs_are_of_another_kind(
    tree, store, labelled_store, tmp_path
):
    """A scan of the tree has its labels by whatever path; a copy is found by threshold."""
    config = config_of_labels(tree)
    i = nodules(store)[2]
    item = store.items[i]
    world = (item.x_mm, item.y_mm, item.z_mm)
    linked = tmp_path / "linked"
    linked.symlink_to(tree)
    planes, mask, _, messages = query(linked / "subset2" / "a.mhd", config, world_mm=world)
    np.testing.assert_array_equal(planes, labelled_store.slices[i][None])
    np.testing.assert_array_equal(mask, labelled_store.lung_masks[i])
    assert messages == ()
    for path in (tree / "subset2").glob("a.*"):
        shutil.copy(path, tmp_path)
    copy = tmp_path / "a.mhd"
    planes, mask, _, (message,) = query(copy, config, world_mm=world)
    np.testing.assert_array_equal(planes, store.slices[i][None])
    np.testing.assert_array_equal(mask, store.lung_masks[i])
    assert (mask != labelled_store.lung_masks[i]).any()
    assert message.startswith(f"{copy}: no scan of {tree} with a mask in seg-lungs-LUNA16")
    assert "by threshold" in message
    assert query(copy, make_config(tree), world_mm=world)[3] == ()


def test_many_places_of_a_scan_are_read_once(tree, store, monkeypatch):
    """Every item of a scan, from one reading."""
    config, read = make_config(tree), []
    monkeypatch.setattr(queries, "cut_scan", lambda *a, **k: read.append(a) or cut_scan(*a, **k))
    opened = queries.open_query_scan(tree / "subset2" / "a.mhd", config=config, root=None)
    rows = [i for i, item in enumerate(store.items) if item.scan == "a"]
    for i in rows:
        item = store.items[i]
        found = opened.at(world_mm=(item.x_mm, item.y_mm, item.z_mm))
        np.testing.assert_array_equal(found.planes, store.slices[i][None])
        np.testing.assert_array_equal(found.mask, store.lung_masks[i])
    assert len(rows) > 3
    assert len(read) == 1
    assert opened.header.shape == scan.read_header(tree / "subset2" / "a.mhd").shape


def test_neighbours_are_planes_of_the_scan(tree, tmp_path):
    """Those of the volume itself, at 3 mm; beyond its ends the last one; alike for a query."""
    config = make_config(tree, neighbours=2, neighbour_mm=3.0)
    room.prepare(config, root=tree, out=tmp_path / "o", workers=1)
    found = open_store(tmp_path / "o")
    assert found.neighbours.shape == (len(found.items), 4, 112, 112)
    cached = functools.cache(lambda path: cut_scan(path, config))
    for i, item in enumerate(found.items):
        path = tree / f"subset{item.subset}" / f"{item.scan}.mhd"
        cut = cached(path)
        world = (item.x_mm, item.y_mm, item.z_mm)
        z = round(float(cut.volume.world_to_index(np.array(world))[0]))
        heights = [
            min(max(round(z + d / SPACING), 0), len(cut.mask) - 1) for d in (-6, -3, 0, 3, 6)
        ]
        want = [
            canvas(
                to_uint8(cut.volume.hu[h], hu_min=-1200, hu_max=600), center=cut.center, size=112
            )
            for h in heights
        ]
        np.testing.assert_array_equal(found.planes(i), want)
        if item.nodule:
            asked, _, _, _ = query(path, config, world_mm=world)
            np.testing.assert_array_equal(asked, want)
    room.prepare(make_config(tree), root=tree, out=tmp_path / "o", workers=1)
    assert open_store(tmp_path / "o").neighbours is None


def test_a_scan_without_air_is_no_hu(tree):
    path = sorted(tree.glob("subset*/*.mhd"))[0]
    image = sitk.ReadImage(str(path))
    shifted = sitk.Cast(image + 2048, sitk.sitkUInt16)
    shifted.CopyInformation(image)
    sitk.WriteImage(shifted, str(tree.parent / "raised.mha"))
    with pytest.raises(ScanError, match=r"raised\.mha: values \d+ to \d+ are not HU.*subtract"):
        cut_scan(tree.parent / "raised.mha", make_config(tree))


@pytest.mark.parametrize("flip", [1, -1])
def test_slice_number_counts_as_stored(tmp_path, flip):
    scans = [{"uid": "a", "subset": 0, "spacing": (3.2, 3.2, SPACING), "flips": (1, 1, flip)}]
    nodule = (-60.0, 0.0, 31.25, 14)
    root = write_tree(tmp_path, [scans[0] | {"nodules": [nodule]}])
    path, config = root / "subset0" / "a.mhd", make_config(root)
    stored = scan.read_scan(path)
    number = round(float(stored.world_to_index(np.array(nodule[:3]))[0]))
    planes, mask, point, messages = query(path, config, slice_index=number)
    expected, _, _, _ = query(path, config, world_mm=nodule[:3])
    np.testing.assert_array_equal(planes, expected)
    assert mask[56, 30:80].any()
    assert point == (56.0, 56.0)
    assert "give a world coordinate" in messages[0]
    whole = make_config(root, view="slice")
    assert query(path, whole, slice_index=number)[3] == ()


def test_places_outside_of_a_scan(tree):
    path, config = tree / "subset0" / "b.mhd", make_config(tree)
    with pytest.raises(ScanError, match=r"b\.mhd: \(0\.0, 0\.0, 999\.0\) mm lies outside"):
        query(path, config, world_mm=(0, 0, 999))
    with pytest.raises(ScanError, match="no slice 80; it has 0 to 79"):
        query(path, config, slice_index=80)
    with pytest.raises(ScanError, match="no slice -1"):
        query(path, config, slice_index=-1)
    with pytest.raises(ValueError, match="either"):
        query(path, config)


def test_sagittal_scan_has_no_axial_slice_numbers(tree, tmp_path):
    image = sitk.ReadImage(str(tree / "subset0" / "b.mhd"))
    path = tmp_path / "sagittal.nii.gz"
    sitk.WriteImage(sitk.PermuteAxes(image, [1, 2, 0]), str(path))
    with pytest.raises(ScanError, match="not axial"):
        query(path, make_config(tree), slice_index=3)
    world = (70.0, 10.0, 30.0)
    got = query(path, make_config(tree), world_mm=world)
    expected = query(tree / "subset0" / "b.mhd", make_config(tree), world_mm=world)
    assert np.abs(got[0].astype(int) - expected[0]).max() <= 1
    assert got[2] == pytest.approx(expected[2], abs=1e-3)


def test_single_images(tree, tmp_path):
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    path = tmp_path / "a.png"
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))
    image, mask, point, messages = image_query(path, make_config(tree))
    np.testing.assert_array_equal(image, grey[None])
    assert mask is None
    assert np.isnan(point).all()
    assert "pixel size" in messages[0]
    folder = Config(data=Data(kind="folder", root="x"))
    assert image_query(path, folder)[3] == ()
    hu = tmp_path / "hu.mha"
    sitk.WriteImage(sitk.GetImageFromArray(grey.astype(np.int16) * 10 - 1200), str(hu))
    image, _, _, _ = image_query(hu, folder)
    np.testing.assert_array_equal(
        image[0], to_uint8(grey.astype(float) * 10 - 1200, hu_min=-1200, hu_max=600)
    )
    with pytest.raises(ScanError, match="80 slices, a scan"):
        image_query(tree / "subset0" / "b.mhd", make_config(tree))


def test_an_array_is_the_query_that_its_file_is(tree, tmp_path):
    hu = np.arange(-1200, 600, 15, dtype=np.int16).reshape(10, 12)
    grey = to_uint8(hu, hu_min=-1200, hu_max=600)
    crops = make_config(tree)
    folder = Config(data=Data(kind="folder", root=str(tree)))
    for array in (grey, hu, hu.astype(np.float32), grey.astype(np.uint16) * 257):
        for config in (crops, folder):
            path = tmp_path / f"{array.dtype}.{'png' if array.dtype.kind == 'u' else 'tif'}"
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
            want = queries.read_query_image(path, config=config, root=tree)
            found = queries.query_image(array, config=config)
            np.testing.assert_array_equal(found.planes, want.planes)
            assert found.mask is want.mask is None
            assert np.isnan([found.point, want.point]).all()
            assert found.segmentable == want.segmentable == (config is folder)
            shape = (1, 12, 12) if config is folder else (1, 10, 12)
            assert found.planes.shape == shape
    with pytest.raises(ScanError, match=r"image: shape \(3, 10, 12\); an item is one 2-D slice"):
        queries.query_image(np.zeros((3, 10, 12), np.uint8), config=crops)
    with pytest.raises(ScanError, match="image: 16-bit pixels from 0 to 119, so 12-bit data"):
        queries.query_image(np.arange(120, dtype=np.uint16).reshape(10, 12), config=crops)


def test_single_ct_slice_takes_the_road_of_scans(tree, tmp_path):
    image = sitk.ReadImage(str(tree / "subset2" / "a.mhd"))
    path = tmp_path / "slice.mha"
    number = 44
    sitk.WriteImage(image[:, :, number : number + 1], str(path))
    planes, mask, point, _ = image_query(path, make_config(tree))
    assert len(planes) == 1
    slice_ = planes[0]
    assert slice_.shape == (112, 112)
    assert point == (56.0, 56.0)
    stored = scan.read_scan(path)
    upright = scan.resample(scan.canonical(stored), SPACING)
    hu = to_uint8(upright.hu[0], hu_min=-1200, hu_max=600)
    assert any(
        np.array_equal(slice_, canvas(hu, center=(r, c), size=112))
        for r in range(30, 90)
        for c in range(40, 90)
    )
    assert mask is not None
    assert slice_[mask > 0].mean() < 60


def test_dicom_folder_and_file_as_queries(real_data, tree):
    config = make_config(tree)
    folder = real_data("dicom_slices")
    from_folder = query(folder, config, slice_index=1)
    assert from_folder[0].shape == (1, 112, 112)
    assert from_folder[0].max() > 150
    image, mask, _, _ = image_query(folder / "1.dcm", config)
    assert mask is not None
    assert image[0, mask > 0].mean() < image[0, mask == 0].max()
    with pytest.raises(ScanError, match=r"no series 1\.2"):
        query(folder, config, slice_index=1, series_uid="1.2")


# Real geometry


def test_world_to_voxel_with_real_origins(real_data):
    """Every annotation of the 544 series with known geometry, against SimpleITK."""
    path = real_data("luna16_csv") / "origin_spacing_of_1004_nodules.csv"
    rows = files.read_csv(path, ["coord_x"])
    assert len(rows) == 1004
    turned = set()
    for row in rows:
        spacing, origin, world = (
            tuple(float(row[f"{name}_{axis}"]) for axis in "xyz")
            for name in ("spacing", "origin", "coord")
        )
        # Eleven series lie turned by 180 degrees in plane; the table has no direction.
        sign = -1.0 if world[0] < origin[0] else 1.0
        turned |= {row["seriesuid"]} if sign < 0 else set()
        direction = np.diag([sign, sign, 1.0])
        image = to_image(np.zeros((1, 1, 1), np.int16), spacing, origin, direction)
        grid = Grid(spacing_mm=spacing, origin_mm=origin, direction=direction)
        index = grid.world_to_index(np.array(world))
        expected = image.TransformPhysicalPointToContinuousIndex(world)
        np.testing.assert_allclose(index[::-1], expected, atol=1e-6)
        assert np.all((index >= 0) & (index[0] < 1000))
        assert np.all(index[1:] < 512)
    assert len(turned) == 11


def test_real_chunks_are_where_their_names_say(real_data):
    """Chunks of 32 x 48 x 48 HU round a candidate, whose voxel is in the file's name."""
    chunks = sorted(real_data("luna16_hu_chunks").glob("*.npz"))
    assert len(chunks) == 6
    with open(real_data("luna16_csv") / "origin_spacing_of_1004_nodules.csv") as file:
        known = {row["seriesuid"]: row for row in csv.DictReader(file)}
    places = files.read_csv(real_data("luna16_hu_chunks") / "present_candidates.csv", ["coord_x"])
    checked = 0
    for place in places:
        row = known.get(place["seriesuid"])
        if row is None:
            continue
        number = Path(place["file_path"]).stem.split("_")[-1].split(":")
        spacing, origin = (
            tuple(float(row[f"{name}_{axis}"]) for axis in "xyz") for name in ("spacing", "origin")
        )
        grid = Grid(spacing_mm=spacing, origin_mm=origin, direction=np.eye(3))
        world = np.array([float(place[f"coord_{axis}"]) for axis in "xyz"])
        np.testing.assert_allclose(grid.world_to_index(world), [int(n) for n in number], atol=1.0)
        chunk = np.load(real_data("luna16_hu_chunks") / Path(place["file_path"]).name)["ct_chunk"]
        if float(place["diameter_mm"]) > 0:
            assert chunk[15:18, 23:26, 23:26].mean() > -700, "a nodule is no air"
        checked += 1
    assert checked >= 3


def test_nodules_train_with_slices_beside_the_central_one(tree, store, tmp_path):
    more = run(make_config(tree, slices_per_nodule=3), tree, tmp_path / "more")
    central = [i for i, item in enumerate(more.items) if not item.offset_mm]
    assert list(map(str, (more.items[i] for i in central))) == list(map(str, store.items))
    np.testing.assert_array_equal(more.slices[central], store.slices)
    beside = [item for item in more.items if item.offset_mm]
    by_nodule = {item.nodule: item for item in store.items if item.nodule}

    @functools.cache
    def central_mm(own):
        """Height of the nodule's central plane, which the offset counts from."""
        path = tree / f"subset{own.subset}" / f"{own.scan}.mhd"
        volume = cut_scan(path, make_config(tree)).volume
        index = volume.world_to_index(np.array([own.x_mm, own.y_mm, own.z_mm]))
        return volume.index_to_world(np.array([round(index[0]), *index[1:]]))[2]

    for item in beside:
        own = by_nodule[item.nodule]
        assert abs(central_mm(own) + item.offset_mm - own.z_mm) <= own.diameter_mm / 4 + 1e-6
        assert str(item) == str(dataclasses.replace(own, offset_mm=item.offset_mm))
    # The largest has planes within 5.5 mm on either side.
    assert sum(item.nodule == "a/1" for item in beside) == 2
    assert len({(i.nodule, i.offset_mm) for i in beside}) == len(beside)
    assert room.table2(more.items) == room.table2(store.items)


def test_no_plane_beside_is_further_than_half_of_the_radius():
    """Nor does one stop short: of either side the outermost that is near enough is shown."""
    rng = np.random.default_rng(0)
    mask = np.zeros((30, 1, 1), bool)
    cut = Cut(None, mask, None, mask, (0, 0), ())
    seen = set()
    for _ in range(300):
        center, radius = rng.uniform(-0.5, 29.5), rng.uniform(0.2, 12)
        count = int(rng.choice([1, 3, 5, 9]))
        config = Config(items=Items(slices_per_nodule=count))
        beside = room._planes_beside(cut, center, radius, config)
        central = cut.nearest_plane(center)
        near = [z for z in range(30) if abs(z - center) <= radius / 2 and z != central]
        assert set(beside) <= set(near)
        assert beside == sorted(set(beside))
        assert len(beside) <= count - 1
        if count > 1:
            ends = [min([*near, central]), max([*near, central])]
            assert [min([*beside, central]), max([*beside, central])] == ends
        seen.add(len(beside))
    assert seen >= {0, 1, 2, 4, 8}
