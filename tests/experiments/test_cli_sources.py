"""Every source through the real command line: its own config, prepared from a small data set."""

import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from cli import call, refused, results
from ct.trees import chest_image
from sources.boxes import quiet, table

from inres.config import Phantom
from inres.phantoms import tianchi_layout
from inres.phantoms.dataset import write_dataset
from inres.phantoms.dsb2017_layout import DSB2017
from inres.phantoms.layout import findings_path
from inres.phantoms.plan import plan_dataset
from inres.phantoms.tianchi_layout import TIANCHI

pytestmark = pytest.mark.e2e

SMALL = (
    *(
        "--config.items.spacing_mm=2.5",
        "--config.items.canvas_mm=280.0",
        "--config.items.size_px=32",
    ),
    *("--config.items.normals=9", "--config.data.workers=1"),
)
NODULES = [(-60.0, 0.0, 10.0, 14.0), (60.0, 5.0, -20.0, 9.0), (70.0, 10.0, 30.0, 6.0)]


def prepared(name, root, workdir, *more):
    """The rows of the items, and what was printed, with the config of that name."""
    config = f"--config=experiments/configs/{name}.py"
    done = call(
        "prepare", config, f"--config.data.root={root}", f"--workdir={workdir}", *SMALL, *more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return results(workdir / "prepare" / "items"), done.stdout


def phantoms(root, layout):
    config = Phantom(
        scans=4, subsets=4, nodules_per_scan=3.0, normal_scans=0.25, matrix=128, extent_mm=80.0
    )
    write_dataset(root, config, seed=2, workers=1, progress=quiet, layout=layout)
    return [json.loads(path.read_text())["annotations"] for path in (root / "findings").iterdir()]


def chest(path, nodules=(), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(chest_image(nodules, **more)[0], str(path), True)
    return path


def test_tianchi(tmp_path):
    drawn = phantoms(tmp_path / "t", TIANCHI)
    rows, printed = prepared("tianchi", tmp_path / "t", tmp_path / "w")
    nodules = [row for row in rows if row["nodule"]]
    assert sorted(float(row["diameter_mm"]) for row in nodules) == pytest.approx(
        sorted(f["diameter_mm"] for scan in drawn for f in scan), abs=1e-5
    )
    folds = {row["subset"] for row in rows}
    assert len(folds) == 3
    assert "100" in folds, "the official validation"
    assert len(rows) - len(nodules) == 9
    assert "1 of 4 scans left out: no table has nodules of them" in printed


def test_dsb2017(tmp_path):
    phantoms(tmp_path / "d", DSB2017)
    rows, printed = prepared("dsb2017", tmp_path / "d", tmp_path / "w", "--config.items.normals=0")
    assert {float(row["cancer"]) for row in rows} == {0, 1}
    by_scan = {}
    for row in rows:
        by_scan.setdefault(row["scan"], set()).add((row["label"], row["cancer"], row["subset"]))
        assert row["nodule"] == row["diameter_mm"] == ""
    assert len(by_scan) == 4
    assert len(rows) == 4 * 8
    assert all(len(known) == 1 for known in by_scan.values())
    assert "files next to the patients' folders ignored" in printed


def test_lndb(tmp_path):
    root = tmp_path / "l"
    chest(root / "data0" / "LNDb-0001.mhd", NODULES)
    chest(root / "data3" / "LNDb-0002.mhd", seed=1)
    head = "LNDbID,RadID,RadFindingID,FindingID,x,y,z,AgrLevel,Nodule,Volume,Text"
    rows = [
        f'1,"1,3","1,1",{n},{x},{y},{z},2,"1,1",{math.pi * d**3 / 6},"5,4"'
        for n, (x, y, z, d) in enumerate(NODULES[:2], 1)
    ]
    x, y, z, _ = NODULES[2]
    table(root / "trainNodules_gt.csv", head, *rows, f"1,2,1,3,{x},{y},{z},0,0,14.137,")
    items, _ = prepared("lndb", root, tmp_path / "w")
    nodules = [row for row in items if row["nodule"]]
    assert [float(row["diameter_mm"]) for row in nodules] == pytest.approx([14, 9])
    assert {(row["texture"], row["texture_sd"], row["readers"]) for row in nodules} == {
        ("4.5", "0.5", "2.0")
    }
    near = [row for row in items if row["scan"] == "LNDb-0001" and not row["nodule"]]
    assert all(abs(float(row["z_mm"]) - z) > 8 for row in near), "a finding that is no nodule"


def test_luna25(tmp_path):
    root = tmp_path / "l"
    lines = []
    for year, uid in ((1999, "1.2.1"), (2000, "1.2.2")):
        chest(root / "luna25_images" / f"{uid}.mha", NODULES, seed=year)
        for n, (x, y, z, _) in enumerate(NODULES):
            lines.append(
                f"7,{uid},{year}0102,{x},{y},{z},{n},7_{n}_{year}0102,7_{n},{n % 2},63,Female"
            )
    head = (
        "PatientID,SeriesInstanceUID,StudyDate,CoordX,CoordY,CoordZ,LesionID,AnnotationID,"
        "NoduleID,label,Age_at_StudyDate,Gender"
    )
    table(root / "LUNA25_Public_Training_Development_Data.csv", head, *lines)
    rows, _ = prepared("luna25", root, tmp_path / "w")
    nodules = [row for row in rows if row["nodule"]]
    assert len(nodules) == 6
    assert {(row["malignant"], row["patient"], row["sex"]) for row in nodules} == {
        ("0.0", "7", "female"), ("1.0", "7", "female")
    }  # fmt: skip
    assert len({(row["label"], row["malignant"]) for row in nodules}) == 2
    assert {row["nodule_id"] for row in nodules} == {"7_0", "7_1", "7_2"}
    assert {row["study_date"] for row in nodules} == {"1999-01-02", "2000-01-02"}
    assert {row["diameter_mm"] for row in nodules} == {""}
    audit = results(tmp_path / "w" / "prepare" / "audit")
    assert {float(row["diameter_mm"]) for row in audit} == {6}, "of the sphere that was audited"


def write_cases(root):
    """Scans in three formats, a mask, a scan without nodules, and columns of text."""
    chest(root / "肺 one.nii.gz", NODULES[:2])
    chest(root / "two.mha", NODULES[1:], flips=(-1, -1, 1), seed=1)
    chest(root / "three.nrrd", seed=2)
    image = sitk.ReadImage(str(root / "two.mha"))
    values = np.zeros(image.GetSize()[::-1], np.uint8)
    z, y, x = np.indices(values.shape)
    for *centre, diameter in NODULES[1:]:
        i, j, k = image.TransformPhysicalPointToContinuousIndex(centre)
        away = ((x - i) * 3.2) ** 2 + ((y - j) * 3.2) ** 2 + ((z - k) * 2.5) ** 2
        values[away <= (diameter / 2) ** 2] = 1
    mask = sitk.GetImageFromArray(values)
    mask.CopyInformation(image)
    sitk.WriteImage(mask, str(root / "mask.nii.gz"))
    (a, b) = NODULES[:2]
    return table(
        root / "cases.csv",
        "scan;x_mm;y_mm;z_mm;space;mask;diameter_mm;patient;texture;kind",
        f"肺 one.nii.gz;{-a[0]};{-a[1]};{a[2]};RAS;;14;p1;4,5;solid".replace(".0", ",0"),
        f"肺 one.nii.gz;{b[0]};{b[1]};{b[2]};LPS;;9;p1;2;glass",
        "two.mha;;;;;mask.nii.gz;;p2;;solid",
        "three.nrrd;;;;;;0;p3;;",
    )


def test_cases(tmp_path):
    path = write_cases(tmp_path / "c")
    rows, _ = prepared("cases", path, tmp_path / "w")
    nodules = [row for row in rows if row["nodule"]]
    nodules.sort(key=lambda row: row["scan"] == "two.mha")
    assert [row["scan"] for row in nodules] == ["肺 one.nii.gz"] * 2 + ["two.mha"] * 2
    places = [tuple(float(row[name]) for name in ("x_mm", "y_mm", "z_mm")) for row in nodules]
    np.testing.assert_allclose(places, [n[:3] for n in (*NODULES[:2], *NODULES[1:])], atol=1.7)
    assert places[:2] == [n[:3] for n in NODULES[:2]]
    sizes = [float(row["diameter_mm"]) for row in nodules]
    assert sizes == pytest.approx([14, 9, 9, 6], rel=0.15)
    assert [row["kind"] for row in nodules] == ["solid", "glass", "solid", "solid"]
    assert [row["texture"] for row in nodules] == ["4.5", "2.0", "", ""]
    assert {row["scan"] for row in rows if not row["nodule"]} >= {"three.nrrd"}
    by_kind, _ = prepared("cases", path, tmp_path / "k", "--config.items.label=kind")
    assert len({(row["label"], row["kind"]) for row in by_kind if row["nodule"]}) == 2


def test_a_table_that_cannot_be_is_one_error(tmp_path):
    path = write_cases(tmp_path / "c")
    path.write_text(path.read_text() + "four.mha;;;;;;;;;\ntwo.mha;1;2;3;LPI;;;;;\n")
    error = refused(
        "prepare",
        "--config=experiments/configs/cases.py",
        f"--config.data.root={path}",
        f"--workdir={tmp_path / 'w'}",
    )
    assert "cases.csv: line 6: scan " in error
    assert "line 7: space is 'LPI'; must be LPS or RAS" in error


PIPELINE = """
\"\"\"python -m experiments.reproduce\"\"\"

from experiments.configs import smoke
from inres.config import Data, Split


def get_config():
    config = smoke.get_config()
    config.name, config.pdf = "{kind}", False
    config.data = Data(kind="{kind}", root={root!r}, workers=1, max_thickness_mm=0.0)
    config.items.label = "{label}"
    config.items.places_per_scan, config.items.normals = 6, {normals}
    config.items.view, config.items.neighbours, config.model.planes = "cube", 0, "nine"
    config.items.cube_mm, config.items.cube_px = 24.0, 11
    config.split = {split}
    config.segment.enabled = False
    config.model.compression = config.model.residual = "plain"  # compile faster
    config.train.epochs, config.train.eval_every, config.train.batch = 2, 2, 8
    return config
"""


def reproduced(folder, **values):
    """The workdir of a complete run, and what was printed."""
    config = folder / "config.py"
    config.write_text(PIPELINE.format(**values))
    done = call("reproduce", f"--config={config}", f"--workdir={folder / 'w'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "w" / "report.html").is_file()
    return folder / "w", done.stdout


SIX = Phantom(
    scans=6, subsets=3, nodules_per_scan=4.0, normal_scans=0.0, matrix=128, extent_mm=80.0
)


def test_labels_of_scans_through_the_full_pipeline(tmp_path):
    """DICOM series without any location, from the tables to the report and a search."""
    root = tmp_path / "d"
    write_dataset(root, SIX, seed=3, workers=1, progress=quiet, layout=DSB2017)
    split = 'Split(kind="subset", val_subsets=(), val_share=0.2, test_subsets=(1,))'
    workdir, _ = reproduced(
        tmp_path, kind="dsb2017", root=str(root), label="cancer", normals=0, split=split
    )
    assert len(results(workdir / "prepare" / "items")) == 6 * 6
    out = tmp_path / "found"
    found = call("search", f"--workdir={workdir}", "--item=0", f"--out={out}", "--min_pool=5")
    assert found.returncode == 0, found.stdout + found.stderr
    cancer = [float(row["cancer"]) for row in results(out)]
    assert cancer
    assert set(cancer) <= {0, 1}


def test_findings_labelled_by_a_text_through_the_full_pipeline(tmp_path):
    """A table of points in scans, from the table to a search that is restricted by a column."""
    root = tmp_path / "t"
    write_dataset(root, SIX, seed=4, workers=1, progress=quiet, layout=TIANCHI)
    lines = []
    for n, path in enumerate(sorted(root.glob("*_subset*/*.mhd"))):
        plan = next(p for p in plan_dataset(SIX, seed=4) if tianchi_layout.name(p) == path.stem)
        findings = json.loads(findings_path(root, plan).read_text())["annotations"]
        for number, one in enumerate(findings):
            x, y, z = one["centre"]
            side = ("train", "train", "train", "val", "test", "test")[n]
            size = ("small", "large")[one["diameter_mm"] > 8]
            spot = (path.relative_to(root), -x, -y, z, "RAS", one["diameter_mm"], side, size)
            lines.append(",".join(map(str, (*spot, f"reader {number % 2}"))))
    head = "scan,x_mm,y_mm,z_mm,space,diameter_mm,split,extent,seen by"
    table(root / "cases.csv", head, *lines)
    workdir, _ = reproduced(
        tmp_path, kind="cases", root=str(root), label="extent", normals=6,
        split='Split(kind="column")',
    )  # fmt: skip
    out = tmp_path / "found"
    where = "--where=seen_by = 'reader 1'"
    found = call(
        "search", f"--workdir={workdir}", "--item=0", f"--out={out}", where, "--min_pool=5"
    )
    assert found.returncode == 0, found.stdout + found.stderr
    rows = results(out)
    assert {row["seen_by"] for row in rows} == {"reader 1"}
    assert {row["extent"] for row in rows} <= {"small", "large"}
    # An item that the network was not trained on shows what a query at its place shows.
    items, split = (results(workdir / name) for name in ("prepare/items", "split/split"))
    own = next(i for i, s in zip(items, split, strict=True) if s["side"] == "val" and i["nodule"])
    place = ",".join(own[name] for name in ("x_mm", "y_mm", "z_mm"))
    flags = (
        f"--scan={root / own['scan']}",
        f"--world={place}",
        "--own_scan",
        f"--out={tmp_path / 'place'}",
    )
    found = call("search", f"--workdir={workdir}", *flags)
    assert found.returncode == 0, found.stdout + found.stderr
    first = results(tmp_path / "place")[0]
    assert (first["nodule"], first["hamming"]) == (own["nodule"], "0")
    assert float(first["euclidean"]) == pytest.approx(0, abs=1e-3)
