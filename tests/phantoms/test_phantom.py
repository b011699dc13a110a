"""Synthetic scans contain what is annotated, and are stored in LUNA16's layout."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from inres.config import Data, Phantom
from inres.phantoms import dataset, luna16_layout, nodules
from inres.phantoms.drawing import Blob, Canvas, Tube, draw_blob, draw_vessels
from inres.phantoms.plan import Nodule, class_shares, plan_dataset
from inres.phantoms.ratings import NAMES
from inres.phantoms.scan import make_scan
from inres.sources import phantom
from inres.system import files

pytestmark = pytest.mark.slow

SMALL = Phantom(scans=10, nodules_per_scan=8.0, matrix=128, extent_mm=80.0)
TWO = Phantom(
    scans=2, subsets=2, nodules_per_scan=4.0, normal_scans=0.0, matrix=128, extent_mm=80.0
)


def quiet(steps, **_):
    return steps


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    dataset.write_dataset(root, SMALL, seed=3, workers=1, progress=quiet)
    return root


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A data set that no test changes."""
    root = tmp_path_factory.mktemp("two")
    dataset.write_dataset(root, TWO, seed=2, workers=1, progress=quiet)
    return root


def read_findings(root, name):
    rows = files.read_csv(root / f"{name}.csv", luna16_layout.COLUMNS)
    return [(r["seriesuid"], *(float(r[c]) for c in luna16_layout.COLUMNS[1:])) for r in rows]


def headers(root):
    return {p.stem: p for p in root.glob("subset*/*.mhd")}


def image_of(scan, array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(scan.spacing)
    image.SetOrigin(scan.origin)
    image.SetDirection(scan.direction)
    return image


def test_tree_has_luna16s_layout(tree):
    assert {p.name for p in tree.iterdir() if p.is_dir()} >= {f"subset{k}" for k in range(10)}
    scans = headers(tree)
    assert len(scans) == SMALL.scans
    for uid, path in scans.items():
        image = sitk.ReadImage(str(path))
        mask = sitk.ReadImage(str(tree / "seg-lungs-LUNA16" / f"{uid}.mhd"))
        assert image.GetPixelID() == sitk.sitkInt16
        assert mask.GetSize() == image.GetSize()
        assert mask.GetOrigin() == image.GetOrigin()
        assert mask.GetDirection() == image.GetDirection()
        assert set(np.unique(sitk.GetArrayViewFromImage(mask))) <= {0, 3, 4, 5}
        assert image.GetSize()[:2] == (128, 128)
        assert 0.6 <= image.GetSpacing()[2] <= 2.5
        assert 0.5 <= image.GetSpacing()[0] * 128 / 512 <= 0.9
        assert "CompressedData = True" in path.read_text(errors="replace")
    assert not list(tree.rglob(".*"))


def test_annotated_centres_lie_in_the_lungs_through_the_affine(tree):
    scans = headers(tree)
    found = read_findings(tree, "annotations")
    assert len(found) == SMALL.scans * SMALL.nodules_per_scan
    for uid, *point, diameter in found:
        mask = sitk.ReadImage(str(tree / "seg-lungs-LUNA16" / f"{uid}.mhd"))
        assert uid in scans
        index = mask.TransformPhysicalPointToIndex(point)
        assert all(0 <= i < n for i, n in zip(index, mask.GetSize(), strict=True))
        margin = diameter / 2 + 3 * mask.GetSpacing()[2]
        z = mask.TransformPhysicalPointToContinuousIndex(point)[2] * mask.GetSpacing()[2]
        assert margin <= z <= (mask.GetSize()[2] - 1) * mask.GetSpacing()[2] - margin
        near = tuple(slice(max(0, i - 1), i + 2) for i in index[::-1])
        assert np.isin(sitk.GetArrayFromImage(mask)[near], (3, 4)).any()


def test_ratings_reach_the_source(tree):
    read = phantom.read(tree, Data(kind="phantom"), quiet)
    for scan in read.scans:
        known = files.read_json(tree / "findings" / f"{scan.uid}.json")["annotations"]
        assert [f.columns for f in scan.nodules] == [one["ratings"] for one in known]
        assert all(set(f.columns) == set(NAMES) for f in scan.nodules)
    assert sum(len(scan.nodules) for scan in read.scans) == 80


def test_findings_do_not_overlap_and_excluded_ones_are_marked(tree):
    nodules = read_findings(tree, "annotations")
    for k, (uid, *p, d) in enumerate(nodules):
        for other, *q, e in nodules[:k]:
            assert other != uid or np.linalg.norm(np.subtract(p, q)) > (d + e) / 2
    excluded = read_findings(tree, "annotations_excluded")
    diameters = np.array([row[-1] for row in excluded])
    assert (diameters == -1).any()
    assert (diameters > 0).any()
    assert np.all((diameters == -1) | ((diameters > 1.5) & (diameters <= 3)))
    assert {row[0] for row in excluded} <= set(headers(tree))


def test_solid_centres_are_dense_and_lungs_are_not():
    scan = make_scan(TWO, seed=0, index=0)
    lung = np.isin(scan.lungs, (3, 4))
    assert -900 < np.median(scan.hu[lung]) < -800
    assert 0.5 < lung.sum() * np.prod(scan.spacing) / 1e6 < 4.5  # litres
    image = image_of(scan, scan.hu)
    for finding in scan.annotations:
        if finding.kind == "solid" and finding.diameter_mm > 6:
            z, y, x = image.TransformPhysicalPointToIndex(finding.centre)[::-1]
            assert scan.hu[z, y, x] > -250
    # The patient's left lung lies at larger x, whichever way the array runs.
    left, right = (np.argwhere(scan.lungs == v).mean(axis=0)[::-1] for v in (3, 4))
    to_world = image.TransformContinuousIndexToPhysicalPoint
    assert to_world(left.tolist())[0] > to_world(right.tolist())[0] + 60
    touching = ndimage.binary_dilation(scan.lungs == 3) & (scan.lungs == 4)
    assert not touching.any()


def test_a_threshold_and_a_cleared_border_find_the_lungs():
    scan = make_scan(TWO, seed=1, index=1)
    dark = np.zeros(scan.hu.shape, bool)
    for k, plane in enumerate(scan.hu < -400):
        parts, _ = ndimage.label(plane)
        edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        dark[k] = plane & ~np.isin(parts, edge)
    true = scan.lungs > 0
    assert 2 * (dark & true).sum() / (dark.sum() + true.sum()) > 0.93


def test_scans_follow_from_seed_and_index():
    plans = plan_dataset(TWO, seed=5)
    assert plans == plan_dataset(TWO, seed=5)
    one, again = (make_scan(TWO, seed=5, index=0) for _ in range(2))
    assert one.hu.tobytes() == again.hu.tobytes()
    assert one.lungs.tobytes() == again.lungs.tobytes()
    assert [f.diameter_mm for f in one.annotations] == [f.diameter_mm for f in again.annotations]
    other = make_scan(TWO, seed=5, index=1, plan=dataclasses.replace(plans[0], index=1))
    assert other.hu.shape == one.hu.shape
    assert (other.hu != one.hu).mean() > 0.5
    assert plan_dataset(TWO, seed=6)[0].uid != plans[0].uid


def test_same_seed_writes_the_same_bytes(two, tmp_path):
    dataset.write_dataset(tmp_path, TWO, seed=2, workers=2, progress=quiet)
    written = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*.*")} for root in (two, tmp_path)
    ]
    assert written[0] == written[1]
    assert len(written[0]) == 2 * 5 + 2


def test_padding_and_flipped_axes():
    plan = dataclasses.replace(plan_dataset(TWO, seed=0)[0], padding_hu=-2000)
    straight, flipped = (
        make_scan(TWO, seed=0, index=0, plan=dataclasses.replace(plan, flipped=f))
        for f in (False, True)
    )
    assert flipped.direction == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    assert np.all(straight.hu[:, 0, 0] == -2000)
    assert np.all(straight.hu[:, 64, 64] >= -1024)
    # The same patient: the flipped array, turned back, shows the same lungs.
    turned = flipped.lungs[:, ::-1, ::-1] > 0
    assert (
        2 * (turned & (straight.lungs > 0)).sum() / (turned.sum() + (straight.lungs > 0).sum())
        > 0.99
    )
    for a, b in zip(straight.annotations, flipped.annotations, strict=True):
        np.testing.assert_allclose(a.centre, b.centre, atol=3.0)


@pytest.mark.parametrize("diameter", [4.0, 7.0, 12.0, 28.0])
@pytest.mark.parametrize("margin", ["smooth", "lobulated", "spiculated"])
def test_volume_of_a_solid_nodule_is_that_of_its_diameter(diameter, margin):
    side, n = 0.5, int(2.4 * diameter / 0.5) + 12
    axis = (np.arange(n) - n / 2).astype(np.float32) * side
    volumes = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        canvas = Canvas(np.full((n, n, n), -860, np.int16), axis, axis, axis, side, 0.8)
        finding = nodules.Finding(np.zeros(3), diameter, "solid", margin, "isolated", 0.0)
        nodules.draw_nodule_at(canvas, finding, rng, blood_hu=40.0)
        parts, _ = ndimage.label(canvas.hu > (canvas.hu.max() - 860) / 2)
        middle = n // 2
        volumes.append((parts == parts[middle, middle, middle]).sum() * side**3)
    measured = (6 * np.mean(volumes) / np.pi) ** (1 / 3)
    # Spicules are no part of the diameter, but their feet are of the volume.
    assert measured == pytest.approx(diameter, rel=0.12 if margin == "spiculated" else 0.07)


def test_isolated_nodule_in_a_noise_free_scan_has_its_diameter():
    config = dataclasses.replace(TWO, matrix=384)
    nodule = Nodule(14.0, "solid", "smooth", "isolated")
    plan = dataclasses.replace(
        plan_dataset(config, seed=4)[0],
        nodules=(nodule,),
        excluded=0,
        thickness_mm=1.0,
    )
    scan = make_scan(config, seed=4, index=0, plan=plan, noise=0.0)
    (finding,) = scan.annotations
    assert finding.place == "isolated"
    image = image_of(scan, scan.hu)
    c = np.array(image.TransformPhysicalPointToContinuousIndex(finding.centre))[::-1]
    axes = [
        (np.arange(n) - v) * s for n, v, s in zip(scan.hu.shape, c, scan.spacing[::-1], strict=True)
    ]
    z, y, x = np.ix_(*axes)
    near = np.sqrt(z * z + y * y + x * x) < 9
    volume = (near & (scan.hu > -420)).sum() * np.prod(scan.spacing)
    assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(14.0, rel=0.08)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), lobes=st.integers(0, 7))
def test_half_contrast_surface_of_a_blob_is_its_closed_form(seed, lobes):
    rng = np.random.default_rng(seed)
    axis = (np.arange(56) - 27.5).astype(np.float32) * 0.5
    canvas = Canvas(np.full((56, 56, 56), -860, np.int16), axis, axis, axis, 0.5, 1.0)
    directions = rng.normal(size=(lobes, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    blob = Blob(
        centre=rng.uniform(-0.5, 0.5, 3),
        axes_mm=rng.uniform(3.5, 6.5, 3),
        rotation=np.linalg.qr(rng.normal(size=(3, 3)))[0],
        lobe_directions=directions,
        lobe_heights=rng.uniform(-0.05, 0.12, lobes),
        lobe_sharpness=4.0,
        hu=40.0,
        edge_mm=0.0,
    )
    draw_blob(canvas, blob, rng)
    way = rng.normal(size=3)
    way /= np.linalg.norm(way)
    rho = 1 / np.linalg.norm(blob.rotation @ way / blob.axes_mm)
    lobe = np.exp(4.0 * (directions @ way - 1)) - (1 - np.exp(-8.0)) / 8.0
    surface = blob.centre + way * rho * (1 + blob.lobe_heights @ lobe)
    at = ((surface - axis[0]) / 0.5)[::-1, None]
    value = ndimage.map_coordinates(canvas.hu.astype(float), at, order=1)[0]
    assert abs(value - (-860 + 40) / 2) < 900 * 0.22  # within a fifth of a millimetre


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), radius=st.floats(0.4, 3.0))
def test_thin_tubes_have_the_mass_of_their_cross_section(seed, radius):
    rng = np.random.default_rng(seed)
    axis = (np.arange(48) - 23.5).astype(np.float32) * 0.6
    canvas = Canvas(np.full((48, 48, 48), -860, np.int16), axis, axis, axis, 0.6, 1.0)
    way = np.array([*rng.uniform(-0.6, 0.6, 2), 1.0])
    p, q = (np.array(v) * 40 * way / np.linalg.norm(way) for v in (-1, 1))
    draw_vessels(canvas, [Tube(p, q, radius, radius)], 40.0)
    area = ((canvas.hu[20:28].astype(float) + 860) / 900).sum() * 0.36 / 8
    cosine = abs(way[2]) / np.linalg.norm(way)
    assert area == pytest.approx(np.pi * radius**2 / cosine, rel=0.12)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 2000))
def test_class_shares_are_table_2s(count):
    shares = class_shares(count)
    assert sum(shares) == count
    exact = np.array((270, 232, 276, 234, 100, 55, 19)) * count / 1186
    assert np.all(np.abs(shares - exact) <= (1 if count >= 63 else 2))
    assert count < 14 or min(shares) >= 1


def test_table_2_itself_and_every_class_in_every_fold_that_can_hold_it():
    config = Phantom(scans=50, nodules_per_scan=1186 / 50)
    plans = plan_dataset(config, seed=1)
    diameters = np.array([n.diameter_mm for p in plans for n in p.nodules])
    counts = np.histogram(diameters, [0, 5, 6, 8, 13, 18, 23, 99])[0]
    assert counts.tolist() == [270, 232, 276, 234, 100, 55, 19]
    assert diameters.min() > 3
    for fold in range(10):
        mine = np.array([n.diameter_mm for p in plans if p.subset == fold for n in p.nodules])
        held = np.histogram(mine, [0, 5, 6, 8, 13, 18, 23, 99])[0]
        assert np.all(np.abs(held - counts / 10) < 1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scans=st.integers(10, 60))
def test_plans_distribute_everything_and_keep_normal_scans_normal(seed, scans):
    config = Phantom(scans=scans, nodules_per_scan=8.0)
    plans = plan_dataset(config, seed=seed)
    assert [p.index for p in plans] == list(range(scans))
    assert sum(len(p.nodules) for p in plans) == scans * 8
    empty = sum(not p.nodules for p in plans)
    assert empty == round(0.1 * scans)
    assert any(p.flipped for p in plans)
    assert not all(p.flipped for p in plans)
    test = np.array([n.diameter_mm for p in plans if p.subset == 9 for n in p.nodules])
    assert np.histogram(test, [0, 5, 6, 8, 13, 18, 23, 99])[0].min() >= 1
    assert len({n.kind for p in plans for n in p.nodules}) == 4
    assert len({n.margin for p in plans for n in p.nodules}) == 3
    assert len({n.place for p in plans for n in p.nodules}) == 3


def test_a_complete_data_set_is_kept_and_a_damaged_one_completed(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.*")}
    dataset.write_dataset(tmp_path, TWO, seed=2, workers=1, progress=quiet)
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.*")}
    assert after == before
    gone = sorted(tmp_path.glob("subset*/*.mhd"))[0]
    gone.unlink()
    (tmp_path / "annotations.csv").unlink()
    dataset.write_dataset(tmp_path, TWO, seed=2, workers=1, progress=quiet)
    again = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.*")}
    assert {p: b for p, (_, b) in again.items()} == {p: b for p, (_, b) in before.items()}
    kept = [p for p in before if gone.stem not in p.name and p.suffix != ".csv"]
    assert all(again[p] == before[p] for p in kept)
    old = tmp_path / "findings" / f"{gone.stem}.json"  # as an older version wrote it
    found = files.read_json(old)
    for nodule in found["annotations"]:
        del nodule["ratings"]
    files.write_json(old, found)
    dataset.write_dataset(tmp_path, TWO, seed=2, workers=1, progress=quiet)
    rated = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.*")}
    assert {p: b for p, (_, b) in rated.items()} == {p: b for p, (_, b) in before.items()}
    assert all(rated[p] == before[p] for p in kept)


def test_no_temporary_file_is_left_if_the_clean_up_is_interrupted(tmp_path, monkeypatch):
    hold = tmp_path / "subset0" / f".scan.mhd.abcdefgh{files.HOLD}"

    def stopped(*_):
        hold.mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "_write_scan", stopped)
    with pytest.raises(KeyboardInterrupt):
        dataset.write_dataset(tmp_path, TWO, seed=2, workers=1, progress=quiet)
    assert not hold.exists()


def test_scans_of_another_seed_are_refused(two):
    with pytest.raises(ValueError, match=r"made with another config\.phantom or seed.*remove"):
        dataset.write_dataset(two, TWO, seed=3, workers=1, progress=quiet)


def test_lack_of_room_is_an_error_that_names_the_field():
    config = dataclasses.replace(TWO, nodules_per_scan=2000.0)
    with pytest.raises(ValueError, match=r"phantom\.nodules_per_scan"):
        make_scan(config, seed=0, index=0)


def test_an_interrupt_leaves_complete_files_and_another_run_adds_the_rest(tmp_path):
    config = dataclasses.replace(TWO, scans=6, nodules_per_scan=2.0)
    script = tmp_path / "make.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from inres.config import Phantom\n"
        "from inres.phantoms import dataset\n"
        "if __name__ == '__main__':\n"
        f"    dataset.write_dataset(Path(sys.argv[1]), {config!r}, seed=1, workers=2)\n"
    )
    root = tmp_path / "scans"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen(
        [sys.executable, script, root], env=env, stderr=subprocess.PIPE, encoding="utf-8"
    )
    deadline = time.monotonic() + 60
    while not list(root.glob("subset*/*.mhd")):
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=20)
    assert run.returncode != 0
    assert "KeyboardInterrupt" in said
    assert not (root / "annotations.csv").exists()
    assert not [p for p in root.rglob("*") if p.name.startswith(".")]
    made = headers(root)
    assert 0 < len(made) < config.scans
    for path in made.values():
        sitk.ReadImage(str(path))
    times = {p: p.stat().st_mtime_ns for p in made.values()}
    dataset.write_dataset(root, config, seed=1, workers=1, progress=quiet)
    assert len(headers(root)) == config.scans
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert len(read_findings(root, "annotations")) == 12
