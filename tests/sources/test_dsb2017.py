"""DSB 2017: one label per scan, stray files, and published tables of locations in pixels."""

import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from sources.boxes import quiet, table

from inres.config import Data, Phantom
from inres.phantoms import dsb2017_layout
from inres.phantoms.dataset import write_dataset
from inres.phantoms.dicom_series import Series, write_series
from inres.phantoms.scan import Scan
from inres.sources import SourceError, dsb2017
from inres.system import files

A, B, C = (letter * 32 for letter in "abc")
PLACES = "id,coordx1,coordx2,coordx3,diameter,isMerged,isSpecial"


def read(root, **fields):
    return dsb2017.read(root, Data(kind="dsb2017", **{"expect_counts": "off"} | fields), quiet)


def tiny(flipped=False):
    """A scan of air; flipped, its slices are stored from the head down."""
    sign = -1.0 if flipped else 1.0
    return Scan(
        uid="",
        hu=np.full((6, 16, 20), -900, np.int16),
        lungs=np.zeros((6, 16, 20), np.uint8),
        spacing=(0.8, 0.8, 2.0),
        origin=(-10.0, 30.0, -200.0 + (10.0 if flipped else 0.0)),
        direction=(1.0, 0.0, 0.0, 0.0, sign, 0.0, 0.0, 0.0, sign),
        annotations=(),
        excluded=(),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("dsb")
    for stage, patient in (("stage1", A), ("stage1", B), ("stage2", C)):
        series = Series(patient=patient, series_uid=f"1.2.{ord(patient[0])}", study_uid="1.3")
        write_series(root / stage / patient, tiny(flipped=patient == B), series)
    shutil.copy(root / "stage1" / A / "000001.dcm", root / "stage1" / "stray.dcm")
    table(root / "stage1_labels.csv", "id,cancer", f"{A},1")
    table(root / "stage1_solution.csv", "id,cancer,Usage", f"{B},0,Public")
    return root


@pytest.fixture
def tree(built, tmp_path):
    return shutil.copytree(built, tmp_path / "tree")


def test_one_label_per_scan(tree):
    found = read(tree)
    assert [(s.uid, s.subset, s.columns, s.spread, s.patient) for s in found.scans] == [
        (A, 0, {"cancer": 1}, True, A), (B, 1, {"cancer": 0}, True, B)
    ]  # fmt: skip
    text = "\n".join(found.messages)
    assert "1 files next to the patients' folders ignored" in text
    assert "stray.dcm" in text
    assert f"1 of 3 scans left out: no table labels them (first: {tree / 'stage2' / C})" in text
    table(tree / "stage2_solution.csv", "id,cancer,usage", f"{C},1,Private")
    assert [(s.uid, s.subset) for s in read(tree).scans] == [(A, 0), (B, 1), (C, 2)]
    slices = [path for path in dsb2017.files(tree, Data()) if path.suffix == ".dcm"]
    assert len(slices) == 3 * 6


def test_locations_are_pixels_and_slices_from_below(tree):
    table(
        tree / "label_qualified.csv", PLACES, f"{A},3,5,1,10,0,0", f"{B},3,5,1,0,1,0",
        f"{C},0,0,0,0,0,0",
    )  # fmt: skip
    table(tree / "stage2_solution.csv", "id,cancer", f"{C},1")
    a, b, c = read(tree).scans
    assert a.nodules[0].world_mm == pytest.approx((-10 + 2.4, 30 + 4.0, -198))
    assert a.nodules[0].diameter_mm == pytest.approx(8)
    # The rows of b are upside down, and so are its slices as read; the table counts from below.
    assert b.nodules[0].world_mm == pytest.approx((-10 + 2.4, 30 - 4.0, -198))
    assert np.isnan(b.nodules[0].diameter_mm)
    assert (a.spread, b.spread, c.spread) == (False, False, True)


def test_tables_that_are_neither_are_named_without_reading_pipes(tree):
    before = read(tree).messages
    table(tree / "notes.csv", "patient,remark", f"{A},fine")
    os.mkfifo(tree / "pipe.csv")
    (tree / "folder.csv").mkdir()
    (tree / "binary.csv").write_bytes(bytes(range(256)))
    added = sorted({*read(tree).messages} - {*before})
    names = ["binary", "folder", "notes", "pipe"]
    assert [text.split(" ignored: ")[0] for text in added] == [
        str(tree / f"{name}.csv") for name in names
    ]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_locations_with_other_separators(tree, separator):
    lines = (PLACES, f"{A},3,5,1,10,0,0", f"{B},3,5,1,10,0,0")
    table(tree / "places.csv", *(line.replace(",", separator) for line in lines))
    assert [len(scan.nodules) for scan in read(tree).scans] == [1, 1]


def test_locations_that_tell_the_label_are_a_message(tree):
    places = table(tree / "places.csv", PLACES, f"{A},3,5,1,10,0,0", "absent,3,5,1,10,0,0")
    assert any("1 of 2 locations left out" in text for text in read(tree).messages)
    assert any("cancer 1 alone" in text for text in read(tree).messages)
    table(places, PLACES, f"{A},3,5,1,10,0,0", f"{B},3,5,1,10,0,0")
    assert not any("alone" in text for text in read(tree).messages)


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("stage1_labels.csv", ("id,cancer", f"{A},yes"), r"line 2: cancer is 'yes'"),
        ("stage1_labels.csv", ("id,cancer", f"{A},2"), r"line 2: cancer is 2; must be 0 or 1"),
        ("stage1_labels.csv", ("id,label", f"{A},1"), r"column cancer missing"),
        ("stage1_labels.csv", ("id,cancer", f"{B},1"), r"bbb has cancer 0, before 1"),
        ("places.csv", (PLACES, f"{A},3,500,1,10,0,0"), r"a/0 at .* mm; .* reaches from"),
        ("places.csv", (PLACES, f"{A},3,-5,1,10,0,0"), r"places\.csv: line 2: -5; must be 0 or"),
        ("places.csv", (PLACES, ",3,5,1,10,0,0"), r"places\.csv: line 2: id is blank"),
        (
            "places.csv",
            (PLACES, f"{A},,5,1,10,0,0"),
            r"places\.csv: line 2: coordx1 is '', not a n",
        ),
        (
            "places.csv",
            (PLACES.replace("coordx1", "CoordX1"), f"{A},3,5,1,10,0,0"),
            r"places\.csv: column coordx1 missing",
        ),
        ("stage1_labels.csv", ("id,cancer", " ,1"), r"line 2: id is blank"),
    ],
)
def test_tables_that_cannot_be(tree, name, lines, message):
    table(tree / name, *lines)
    with pytest.raises(SourceError, match=message):
        read(tree)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(SourceError, match=r"no labels; expected stage1_labels\.csv"):
        read(tmp_path)
    table(tmp_path / "stage1_labels.csv", "id,cancer", f"{A},1")
    with pytest.raises(SourceError, match="no scans; expected stage1/<patient>"):
        read(tmp_path)


def test_real_labels(real_data):
    """All patients of the published locations have cancer."""
    problems = dsb2017.no_problems()
    root = real_data("tables") / "dsb2017"
    labels = dsb2017._labels(root, problems)
    assert len(labels) == 1397
    assert sum(cancer for _, cancer in labels.values()) == 362
    places = dsb2017._places(root, problems, [])
    assert not any(problems.values())
    assert sum(map(len, places.values())) == 412
    assert {labels[patient][1] for patient in places} == {1.0}


def test_real_locations_are_in_pixels(real_data):
    """Half of the diameters are those of discs of a whole number of pixels, by chance 0.5 %; the
    centres of these are means of so many whole numbers."""
    found = dsb2017._places(real_data("tables") / "dsb2017", dsb2017.no_problems(), [])
    rows = [row for rows in found.values() for row in rows if row.number("isMerged") == 0]
    diameters, x, z = (
        np.array([row.number(name) for row in rows]) for name in ("diameter", "coordx1", "coordx3")
    )
    areas = np.pi * diameters**2 / 4
    pixels = np.rint(areas)
    rounded = 6e-5  # values have four decimals
    whole = np.abs(areas - pixels) < rounded * np.pi * diameters / 2
    assert whole.mean() > 0.45
    means = np.abs(x * pixels - np.rint(x * pixels)) < rounded * pixels
    assert means[whole].mean() > 0.98
    assert means[~whole].mean() < 0.5
    assert np.array_equal(z, np.rint(z))


@pytest.mark.slow
def test_phantoms_in_this_layout(tmp_path):
    config = Phantom(
        scans=4, subsets=2, nodules_per_scan=2.0, normal_scans=0.25, matrix=128, extent_mm=80.0
    )
    write = {"seed": 1, "workers": 1, "progress": quiet, "layout": dsb2017_layout.DSB2017}
    write_dataset(tmp_path, config, **write)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    write_dataset(tmp_path, config, **write)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    found = read(tmp_path)
    assert {s.subset for s in found.scans} == {0, 1}
    assert {s.columns["cancer"] for s in found.scans} == {0, 1}
    assert "files next to the patients' folders" in found.messages[0]
    largest = {}
    for path in (tmp_path / "findings").iterdir():
        nodules = files.read_json(path)["annotations"]
        largest[path.stem] = max((f["diameter_mm"] for f in nodules), default=0.0)
    for scan in found.scans:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(min(scan.path.iterdir())))
        reader.LoadPrivateTagsOn()
        reader.ReadImageInformation()
        size = largest[reader.GetMetaData("0020|000e").strip("\0 ")]
        assert scan.columns["cancer"] == (size > np.median(list(largest.values())))
