"""The LIDC-IDRI as it is on disk: DICOM series and XML, wherever they lie."""

import shutil
import zipfile

import numpy as np
import pytest
from ct.dicom_files import PIXEL_MM, pictures, save, slices
from hypothesis import given
from hypothesis import strategies as st
from lidc import xml_texts as xml
from sources.boxes import quiet

from inres.config import ConfigError, Data
from inres.ct.scan import read_header
from inres.lidc import outlines
from inres.sources import SourceError, lidc

HEIGHTS = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
RING = xml.ring(2, 3, 6, 7)
"""Encloses 3 x 3 pixels around column 4, row 5."""
PLACE = (-10 + 4 * PIXEL_MM[1], 20 + 5 * PIXEL_MM[0])


def nodule(*heights, ring=RING, **ratings):
    rois = [xml.roi(z, ring) for z in heights]
    return xml.nodule(*rois, ratings={**xml.RATINGS, **ratings})


FOUR = [nodule(2, 4, malignancy=value) for value in (3, 4, 5, 4)]


def series(folder, uid="1.2.3", heights=HEIGHTS, **elements):
    return save(folder, slices(pictures(len(heights)), heights, uid=uid, **elements))


def readings(path, *sessions, uid="1.2.3"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(xml.document(*sessions, uid=uid))


def read(root, **fields):
    return lidc.read(root, Data(kind="lidc", **{"max_thickness_mm": 0.0} | fields), quiet)


@pytest.fixture
def root(tmp_path):
    series(tmp_path / "any" / "name 1")
    readings(tmp_path / "any" / "name 1" / "069.xml", *FOUR)
    return tmp_path


def test_a_nodule_of_four_readers(root):
    (scan,) = read(root).scans
    assert (scan.uid, scan.series_uid, scan.path) == ("1.2.3", "1.2.3", root / "any" / "name 1")
    assert (scan.patient, scan.study_date) == ("p1", "20010203")
    (found,) = scan.nodules
    assert found.world_mm == pytest.approx((*PLACE, 3.0))
    volume = 18 * np.prod(PIXEL_MM) * 2.0
    assert np.pi / 6 * found.diameter_mm**3 == pytest.approx(volume)
    columns = found.columns
    assert columns["volume_mm3"] == pytest.approx(volume, abs=0.01)
    assert columns["readers"] == 4
    assert (columns["malignancy"], columns["texture"], columns["calcification"]) == (4, 5, 6)
    assert columns["malignancy_sd"] == pytest.approx(np.std([3, 4, 5, 4]), abs=1e-3)
    assert columns["malignancy_readers"] == "3;4;5;4"
    assert (columns["internal_structure"], columns["diameter_mm_sd"]) == (1, 0)
    assert "internal_structure_sd" not in columns


def test_readers_without_a_mark_or_a_rating_are_left_out_of_its_mean(root):
    readings(
        root / "any" / "name 1" / "069.xml",
        nodule(2, texture=3, internalStructure=4),
        "",
        nodule(2, texture=0, internalStructure=2),
        nodule(2, 4, texture=4, internalStructure=4),
    )
    columns = read(root).scans[0].nodules[0].columns
    assert columns["texture"] == 3.5
    assert columns["texture_readers"] == "3;-;-;4"
    assert columns["internal_structure"] == 4
    assert columns["readers"] == 3


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 1),
        ({"min_readers": 4}, 0),
        ({"min_readers": 1}, 2),
        ({"min_diameter_mm": 4.3}, 0),
        ({"min_diameter_mm": 0.0, "min_readers": 1}, 2),
    ],
)
def test_who_counts_is_a_setting_and_all_else_is_avoided(root, fields, count):
    alone = nodule(8, 10, ring=xml.ring(0, 0, 5, 5))
    readings(
        root / "any" / "name 1" / "069.xml",
        FOUR[0],
        FOUR[1],
        FOUR[2] + alone,
        xml.small(0, 8, 2) + xml.other(10, 9, 9),
    )
    (scan,) = read(root, **fields).scans
    assert len(scan.nodules) == count
    assert len(scan.excluded) == 4 - count
    places = {tuple(np.round(f.world_mm, 3)) for f in scan.excluded}
    assert (-10 + 8 * PIXEL_MM[1], 20 + 2 * PIXEL_MM[0], 0.0) in places
    names = [finding.name for finding in (*scan.nodules, *scan.excluded)]
    assert len(set(names)) == 4


def test_settings_that_cannot_be_are_refused():
    for field, value in (("min_readers", 0), ("min_diameter_mm", -1.0)):
        with pytest.raises(ConfigError, match=f"data.{field}"):
            Data(kind="lidc", **{field: value})


def test_xml_in_a_folder_or_zipped_belongs_by_its_uid(root):
    expected = read(root).scans[0].nodules[0]
    text = (root / "any" / "name 1" / "069.xml").read_text()
    (root / "any" / "name 1" / "069.xml").unlink()
    (root / "xml").mkdir()
    (root / "xml" / "7.xml").write_text(text)
    loose = read(root).scans[0].nodules[0]
    (root / "xml" / "7.xml").unlink()
    with zipfile.ZipFile(root / "tcia.zip", "w") as archive:
        archive.writestr("tcia/185/069.xml", text)
        archive.writestr("tcia/185/070.xml", xml.document(root="IdriReadMessage"))
    result = read(root)
    zipped = result.scans[0].nodules[0]
    for found, where in ((loose, "xml/7.xml"), (zipped, "tcia.zip/tcia/185/069.xml")):
        assert found.columns["xml"] == where
        assert {**found.columns, "xml": ""} == {**expected.columns, "xml": ""}
    assert "1 XML file(s) of another kind" in result.messages[0]


def test_the_outlines_of_a_finding_are_found_again(root):
    ring = xml.ring(1, 1, 8, 9)
    other = nodule(8, ring=ring)
    readings(root / "any" / "name 1" / "069.xml", other + FOUR[0], *FOUR[1:])
    (found,) = read(root).scans[0].nodules
    marks = lidc.marks_of(root, found.columns)
    assert [mark.reader for mark in marks] == [0, 1, 2, 3]
    assert [mark.ratings["malignancy"] for mark in marks] == [3, 4, 5, 4]
    assert all(list(contour.points) == RING for mark in marks for contour in mark.contours)
    assert outlines.mask(marks[0]).pixels.sum() == 18
    planes = lidc.planes_of(root / "any" / "name 1")
    middle = planes.world_mm(4.0, np.array([[4, 5]]))[0]
    header = read_header(root / "any" / "name 1")
    assert middle == pytest.approx(header.index_to_world(np.array([2, 5, 4])))


@given(seed=st.integers(0, 10**6))
def test_pixels_lie_where_dicom_says(tmp_path_factory, seed):
    """Any order of slices and direction of axes: as SimpleITK places the same voxel."""
    import SimpleITK as sitk

    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("series")
    sign = int(rng.choice([1, -1]))
    heights = [float(z) for z in rng.permutation(HEIGHTS) - 100 * rng.integers(0, 3)]
    series(folder, heights=heights, ImageOrientationPatient=[sign, 0, 0, 0, sign, 0])
    planes = lidc.planes_of(folder)
    name = rng.choice(sorted(folder.iterdir()))
    image = sitk.ReadImage(str(name))
    column, row = (int(v) for v in rng.integers(0, 10, 2))
    expected = image.TransformIndexToPhysicalPoint((column, row, 0))
    found = planes.world_mm(image.GetOrigin()[2], np.array([[column, row]]))[0]
    assert found == pytest.approx(expected)
    shutil.rmtree(folder)


def test_several_series_in_one_folder_and_others_without_readings(root):
    both = root / "both"
    for uid in ("1.5", "1.6", "1.7"):
        save(both, slices(pictures(6), HEIGHTS, uid=uid), prefix=uid)
    readings(root / "x.xml", *FOUR, uid="1.5")
    readings(root / "y.xml", nodule(4), nodule(4), nodule(4, 6), "", uid="1.6")
    save(both, slices(pictures(1), [0.0], uid="1.8", Modality="DX"), prefix="dx")
    result = read(root)
    assert [(scan.uid, scan.path) for scan in result.scans[1:]] == [("1.5", both), ("1.6", both)]
    assert any("1 CT series without readings (first: 1.7" in text for text in result.messages)


def test_readings_without_their_series_are_counted(root):
    for number in range(3):
        readings(root / f"{number}.xml", *FOUR, uid=f"9.{number}")
    assert "readings of 3 series that are not in this folder" in read(root).messages[0]


def test_thick_slices_and_series_that_are_no_volume_are_left_out(root):
    series(root / "thick", uid="1.5", heights=[0.0, 3.0, 6.0])
    readings(root / "5.xml", *FOUR, uid="1.5")
    series(root / "gap", uid="1.6", heights=[0.0, 2.0, 4.0, 30.0, 32.0])
    readings(root / "6.xml", *FOUR, uid="1.6")
    result = read(root, max_thickness_mm=2.5)
    assert [scan.uid for scan in result.scans] == ["1.2.3"]
    thick, broken = result.messages
    assert "1 series with slices further apart than 2.5 mm (up to 3)" in thick
    assert "26 mm between" in broken
    with pytest.raises(SourceError, match="no scan"):
        read(root, max_thickness_mm=1.0)


def test_an_incomplete_series_is_used_as_far_as_it_goes(root):
    far = nodule(60, 62)
    readings(root / "any" / "name 1" / "069.xml", *(four + far for four in FOUR))
    result = read(root)
    assert len(result.scans[0].nodules) == 1
    assert "readers marked 2 slices beyond" in result.messages[0]
    assert "1 of its nodules are left out" in result.messages[0]


def test_marks_between_the_slices_are_refused(root):
    readings(root / "any" / "name 1" / "069.xml", *(nodule(3, 5) for _ in range(4)))
    with pytest.raises(SourceError, match=r"between the slices.*\n.*2 of 2 heights in .*069\.xml"):
        read(root)


def test_marks_beside_the_pixels_are_left_out_or_of_another_series(root):
    path = root / "any" / "name 1" / "069.xml"
    beside, far = (nodule(2, 4, ring=xml.ring(n, 3, n + 4, 7)) for n in (30, 300))
    readings(path, *(four + beside for four in FOUR))
    result = read(root)
    assert len(result.scans[0].nodules) == 1
    assert "1 nodules outside of its slices are left out" in result.messages[0]
    readings(path, *(four + far for four in FOUR))
    with pytest.raises(
        SourceError, match=r"outside of their slices.*\n.*column 30\d and row .*069"
    ):
        read(root)


def test_slices_at_one_position_are_one(root):
    """As pylidc, the one with the lower InstanceNumber."""
    folder = root / "any" / "name 1"
    twice = slices(pictures(1, seed=9), [2.0], uid="1.2.3", InstanceNumber=40)
    save(folder, twice, prefix="twice")
    (found,) = read(root).scans[0].nodules
    assert found.world_mm == pytest.approx((*PLACE, 3.0))


def test_what_is_wrong_is_reported_together(root):
    series(root / "again")
    (root / "bad.xml").write_text("<LidcReadMessage><cut")
    readings(root / "other.xml", nodule(6), uid="1.2.3")
    with pytest.raises(SourceError) as caught:
        read(root)
    for part in ("bad.xml: not well-formed", "series found twice", "different marks for one"):
        assert part in str(caught.value)


def test_a_folder_without_readings_or_series_says_what_to_do(tmp_path):
    with pytest.raises(SourceError, match=r"no such folder; set config\.data\.root"):
        read(tmp_path / "absent")
    series(tmp_path / "a")
    with pytest.raises(SourceError, match=r"no readings of the LIDC.*tcia-lidc-xml\.zip"):
        read(tmp_path)
    shutil.rmtree(tmp_path / "a")
    readings(tmp_path / "1.xml", *FOUR)
    with pytest.raises(SourceError, match=r"no scan\n.*readings of 1 series that are not"):
        read(tmp_path)


def test_real_series(real_data):
    """LIDC-IDRI-0001, whose nodule LUNA16 lists at 23.35 mm, and two incomplete series."""
    result = lidc.read(real_data("lidc_dicom"), Data(kind="lidc"), quiet)
    scans = {scan.patient: scan for scan in result.scans}
    (found,) = scans["LIDC-IDRI-0001"].nodules
    listed = (56.20840547, 86.34341278, -115.8675792)
    assert np.linalg.norm(np.subtract(found.world_mm, listed)) < 0.3
    assert found.diameter_mm == pytest.approx(23.35, rel=0.02)
    assert found.columns["malignancy_readers"] == "5;5;5;4"
    (partial,) = scans["LIDC-IDRI-0003"].nodules
    assert partial.diameter_mm == pytest.approx(21.45, rel=0.05)
    assert not scans["LIDC-IDRI-0002"].nodules
    assert sum("the series is incomplete" in text for text in result.messages) == 2
