"""cases.csv: the same place in every notation, masks, typed columns, and all that can be wrong."""

import math
import shutil
import unicodedata

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from sources.boxes import ORIGIN, SIZE, SPACING, box, quiet, table

from inres import sources
from inres.config import Data
from inres.phantoms.dicom_series import Series, write_series
from inres.phantoms.scan import Scan
from inres.sources import SourceError, cases

FLIPPED = np.diag([-1.0, -1.0, 1.0])


def read(path, **fields):
    data = Data(kind="cases", root=str(path), **{"max_thickness_mm": 0} | fields)
    root = sources.get("cases").root_of(data, written=path)
    return cases.read(root, data, quiet)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("cases")
    box(root / "a.mhd")
    box(root / "deep" / "b.nii.gz", direction=FLIPPED, origin=(80.0, 100.0, 30.0))
    return root


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "cases")


def write(folder, *lines):
    return table(folder / "cases.csv", *lines)


place = st.tuples(*(st.integers(0, 4 * (n - 1)).map(lambda v: v / 4) for n in SIZE))


@given(place, st.sampled_from(["a.mhd", "deep/b.nii.gz"]))
def test_lps_ras_and_index_are_the_same_place(built, index, name):
    image = sitk.ReadImage(str(built / name))
    x, y, z = image.TransformContinuousIndexToPhysicalPoint(index)
    lines = [
        "scan,x_mm,y_mm,z_mm,space,i,j,k,diameter_mm",
        f"{name},{x!r},{y!r},{z!r},LPS,,,,5",
        f"{name},{-x!r},{-y!r},{z!r},ras,,,,6",
        f"{name},,,,,{index[0]},{index[1]},{index[2]},",
    ]
    path = table(built / "three.csv", *lines)
    (scan,) = read(path).scans
    assert [one.diameter_mm for one in scan.nodules[:2]] == [5, 6]
    assert math.isnan(scan.nodules[2].diameter_mm)
    for one in scan.nodules:
        np.testing.assert_allclose(one.world_mm, (x, y, z), atol=1e-4)


def test_columns_of_scans_and_findings(folder):
    write(
        folder,
        "scan;x_mm;y_mm;z_mm;space;patient;study_date;subset;split;nodule;texture;kind;label",
        "a.mhd;-10,5;0;40;LPS;Zoë;2020-01-31;3;test;upper;4,5;solid;7",
        "a.mhd;30;0;40;LPS;Zoë;2020-01-31;3;test;;;;",
        "deep/b.nii.gz;;;;;p2;;;train;;2;glass;8",
    )
    a, b = read(folder).scans
    assert (a.uid, a.patient, a.study_date, a.subset, a.split) == (
        "a.mhd", "Zoë", "20200131", 3, "test"
    )  # fmt: skip
    assert [one.name for one in a.nodules] == ["upper", "a.mhd/1"]
    assert a.nodules[0].world_mm == (-10.5, 0, 40)
    assert [one.columns for one in a.nodules] == [{"texture": 4.5, "kind": "solid", "label": 7}, {}]
    assert (a.columns, a.spread) == ({}, False)
    assert (b.uid, b.split, b.subset) == ("deep/b.nii.gz", "train", -1)
    assert b.columns == {"texture": 2, "kind": "glass", "label": 8}
    assert (b.spread, b.nodules) == (True, ())
    (text,) = read(folder).messages
    assert text.startswith("1 of 2 scans have no location (first: deep/b.nii.gz)")


def test_a_diameter_of_0_is_a_scan_without_nodules(folder):
    write(folder, "scan,diameter_mm", "a.mhd,0")
    (scan,) = read(folder).scans
    assert (scan.spread, scan.nodules) == (False, ())


def test_any_name_of_the_table_and_any_spelling_of_a_path(folder):
    name = unicodedata.normalize("NFC", "Müller 肺 $x^2$.nii.gz")
    box(folder / name)
    path = table(
        folder / "my table.csv",
        "scan,i,j,k",
        "./a.mhd,1,1,1",
        "deep/../a.mhd,2,2,2",
        f"{unicodedata.normalize('NFD', name)},3,3,3",
        f"{(folder / 'deep' / 'b.nii.gz')},4,4,4",
    )
    found = read(path).scans
    counts = {scan.uid: len(scan.nodules) for scan in found}
    assert counts == {"a.mhd": 2, name: 1, str(folder / "deep" / "b.nii.gz"): 1}
    listed = {p.name for p in cases.files(folder, Data(kind="cases", root=str(path)))}
    assert listed >= {"my table.csv", "a.mhd", "a.raw", "b.nii.gz", name}


def ball(centre, radius):
    z, y, x = np.indices(SIZE[::-1])
    index = [(c - o) / s for c, o, s in zip(centre, ORIGIN, SPACING, strict=True)]
    inside = sum(
        ((axis - at) * s) ** 2 for axis, at, s in zip((x, y, z), index, SPACING, strict=True)
    )
    return inside <= radius**2


def test_masks_become_measured_findings(folder):
    values = 2 * ball((0, 32, 45), 20) + 5 * ball((40, 50, 40), 12)
    box(folder / "m.nii.gz", values=values.astype(np.uint8))
    box(folder / "empty.nii.gz", values=np.zeros(SIZE[::-1], np.uint8), origin=(80.0, 100.0, 30.0),
        direction=FLIPPED)  # fmt: skip
    write(
        folder,
        "scan,mask,kind,nodule",
        "a.mhd,m.nii.gz,solid,n",
        "deep/b.nii.gz,empty.nii.gz,,",
    )
    found = read(folder)
    a, b = found.scans
    assert [one.columns["mask_value"] for one in a.nodules] == [2, 5]
    assert [one.name for one in a.nodules] == ["n/0", "n/1"]
    voxel = math.prod(SPACING)
    for one, value in zip(a.nodules, (2, 5), strict=True):
        volume = (values == value).sum() * voxel
        assert one.columns["volume_mm3"] == pytest.approx(volume)
        assert one.diameter_mm == pytest.approx((6 * volume / math.pi) ** (1 / 3))
        assert one.columns["longest_axial_mm"] > 0
        assert one.columns["kind"] == "solid"
    np.testing.assert_allclose(a.nodules[0].world_mm, (0, 32, 45), atol=2.5)
    assert (b.nodules, b.spread) == ((), False)
    assert found.messages[0].startswith("1 of 2 scans have nothing in their masks")
    assert {p.name for p in cases.files(folder, Data())} >= {"m.nii.gz", "empty.nii.gz"}


def test_a_diameter_next_to_a_mask_of_one_component_takes_precedence(folder):
    box(folder / "m.mha", values=ball((0, 32, 45), 20).astype(np.uint8))
    write(folder, "scan,mask,diameter_mm", "a.mhd,m.mha,7.5")
    (one,) = read(folder).scans[0].nodules
    assert one.diameter_mm == 7.5
    both = ball((0, 32, 45), 20) | ball((60, 80, 55), 12)
    box(folder / "m.mha", values=both.astype(np.uint8))
    with pytest.raises(SourceError, match=r"line 2: .*m\.mha has 2 components"):
        read(folder)


@pytest.mark.parametrize("flipped", [False, True])
def test_indices_and_masks_of_a_dicom_folder(folder, flipped):
    """As SimpleITK reads it; a mask may come from a program that turns the axes round."""
    first = dicom_scan(folder / "d", flipped=flipped)
    box(folder / "d" / "not a slice.mhd")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder / "d"))
    image = sitk.ReadImage(names)
    world = image.TransformContinuousIndexToPhysicalPoint((3, 5, 2))
    values = np.zeros(first.hu.shape, np.uint8)
    values[2, 5, 3] = 1
    mask = sitk.GetImageFromArray(values)
    mask.CopyInformation(image)
    sitk.WriteImage(sitk.DICOMOrient(mask, "RAS"), str(folder / "m.nii.gz"))
    series = first.uid
    write(folder, "scan,series,i,j,k,mask", f"d,{series},3,5,2,", f"d,{series},,,,m.nii.gz")
    (scan,) = read(folder).scans
    assert (scan.uid, scan.series_uid) == (f"d/{series}", series)
    for one in scan.nodules:
        np.testing.assert_allclose(one.world_mm, world, atol=1e-3)
    write(folder, "scan,series,i,j,k", "d,9.9,3,5,2")
    with pytest.raises(SourceError, match=r"9\.9"):
        read(folder)


def dicom_scan(path, *, flipped):
    """Write a small DICOM series; flipped, its rows and columns run against the world's."""
    sign = -1.0 if flipped else 1.0
    scan = Scan(
        uid="1.2.7",
        hu=np.full((6, 16, 20), -900, np.int16),
        lungs=np.zeros((6, 16, 20), np.uint8),
        spacing=(0.8, 0.8, 2.0),
        origin=(-10.0, 30.0, -200.0),
        direction=(sign, 0.0, 0.0, 0.0, sign, 0.0, 0.0, 0.0, 1.0),
        annotations=(),
        excluded=(),
    )
    write_series(path, scan, Series(patient="p", series_uid=scan.uid, study_uid="1.3"))
    return scan


COLUMNS = (
    *("scan", "x_mm", "y_mm", "z_mm", "space", "i", "j", "k", "mask", "diameter_mm"),
    *("subset", "split", "study_date", "patient", "nodule"),
)


def row(**values):
    values = {"scan": "a.mhd"} | values
    return ",".join(str(values.get(name, "")) for name in COLUMNS)


def lps(x, y, z, space="LPS", **more):
    return row(x_mm=x, y_mm=y, z_mm=z, space=space, **more)


def ijk(i=1, j=2, k=3, **more):
    return row(i=i, j=j, k=k, **more)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([lps(1, 2, "")], r"line 2: z_mm is '', not a number"),
        ([lps(1, 2, 40, "")], r"line 2: space is ''; must be LPS or RAS"),
        ([lps(1, 2, 40, "LSP")], r"line 2: space is 'LSP'; must be LPS or RAS"),
        ([lps(1, 2, "nan")], r"line 2: z_mm is 'nan', not a finite number"),
        ([lps(1, 2, 40, i=1, j=2, k=3)], r"line 2: both x_mm,y_mm,z_mm and i,j,k"),
        ([lps(1, 2, 40, mask="a.mhd")], r"line 2: both a location and a mask"),
        ([ijk(diameter_mm=0)], r"line 2: diameter_mm is 0, .* has a location"),
        ([ijk(diameter_mm=-1)], r"line 2: diameter_mm is -1; must be 0 to 200, or blank"),
        ([ijk(diameter_mm=5000)], r"line 2: diameter_mm is 5000; must be 0 to 200 mm \(is it in"),
        ([ijk(diameter_mm=5000)], r"line 2: diameter_mm is 5000; must be 0 to "),
        ([ijk(subset=1.5)], r"line 2: subset is 1\.5"),
        ([ijk(split="Test")], r"line 2: split is 'Test'"),
        ([ijk(subset=1e300)], r"line 2: subset is 1e\+300"),
        *(
            ([ijk(study_date=day)], f"line 2: study_date is '{day}'; must be a day")
            for day in ("31/1/2020", "20201331", "2021-02-29", "2020-0101", "\uff12020-01-01")
        ),
        ([ijk(scan="a" * 5000)], r"line 2: scan .*/a{999} does not exist"),
        ([ijk(scan="")], r"line 2: scan is blank"),
        ([ijk(scan="c.mhd")], r"line 2: scan .*c\.mhd does not exist"),
        ([ijk(scan=r"deep\b.nii.gz")], r"does not exist; separate folders with /"),
        ([ijk(scan="deep")], r"deep: no (DICOM series|slice)"),
        ([row(mask="m.mha")], r"line 2: mask .*m\.mha does not exist"),
        ([row(mask="a.raw")], r"line 2: .*a\.raw: not an image"),
        ([ijk(), ijk(diameter_mm=9)], r"line 3: the same place as in line 2"),
        ([ijk(patient="p"), ijk(3)], r"line 3: patient is '', but 'p' in line 2"),
        ([ijk(), row()], r"a row without a location and other"),
        ([ijk(nodule="n"), ijk(3, nodule="n")], r"nodules of one name"),
        # Out of the scan, with what may be meant.
        ([lps(0, -80, 40)], r"-80\.00, 40\.00\) mm; .*reaches .*if the space is RAS, it is inside"),
        ([lps(0, 80, 40, "RAS")], r"if the space is LPS, it is inside"),
        ([lps(0, -800, 40)], r"a\.mhd reaches from .* mm$"),
        ([ijk(5, 5, 19)], r"with i and k exchanged it is inside"),
        ([ijk(20, 5, 12)], r"indices start at 0"),
    ],
)
def test_what_a_row_cannot_say(folder, rows, message):
    write(folder, ",".join(COLUMNS), *rows)
    with pytest.raises(SourceError, match=message):
        read(folder)


def test_all_problems_are_reported_together_with_their_lines(folder):
    write(
        folder,
        "scan,x_mm,y_mm,z_mm,space,texture",
        "a.mhd,0,0,400,LPS,4",
        "c.mhd,0,0,40,LPS,3",
        "a.mhd,0,0,40,up,2",
        "a.mhd,10,0,40,LPS,high",
        "a.mhd,20,0,40,LPS,6",
    )
    with pytest.raises(SourceError) as error:
        read(folder)
    text = str(error.value)
    assert text.splitlines()[0].endswith("cases.csv: 5 problem(s)")
    assert "line 6: texture is 6; must be 1 to 5, or blank" in text
    for line in (2, 3, 4, 5):
        assert f"cases.csv: line {line}: " in text or f"line {line} at" in text


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("scan,x,y,z", r"x, known is x_mm,y_mm,z_mm or i,j,k"),
        ("scan,X_mm,y_mm,z_mm,space", r"X_mm, known is x_mm"),
        ("scan,x_mm,y_mm,z_mm", r"columns missing:\n.*space, LPS .*or RAS"),
        ("scan,x_mm,y_mm,space", r"columns missing:\n.*: z_mm"),
        ("scan,i,j", r"columns missing:\n.*: k"),
        ("scan,i,j,k,Malignancy", r"Malignancy, known is malignancy"),
        ("scan,diameter,i,j,k", r"diameter, known is diameter_mm"),
        ("Scan,i,j,k", r"column scan missing \(found: Scan"),
        ("file,i,j,k", r"column scan missing"),
    ],
)
def test_columns_that_would_be_ignored(folder, head, message):
    write(folder, head, ",".join(["a.mhd"] + ["3"] * head.count(",")))
    with pytest.raises(SourceError, match=message):
        read(folder)


def test_no_table(folder):
    with pytest.raises(SourceError, match=r"cases\.csv: no such file"):
        read(folder)
    write(folder, "scan,i,j,k")
    with pytest.raises(SourceError, match="no rows, only a header"):
        read(folder)


def test_thick_slices_are_left_out(folder):
    write(folder, "scan,i,j,k", "a.mhd,1,1,1")
    with pytest.raises(SourceError, match=r"no scan left.*max_thickness_mm = 0 keeps them"):
        read(folder, max_thickness_mm=1)
