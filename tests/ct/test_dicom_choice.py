"""Which files of a folder are the scan: series, acquisitions, scouts and other objects."""

import numpy as np
import pytest
from ct.dicom_files import PIXEL_MM, pictures, save, slices
from pydicom.uid import (
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from inres.ct import dicom, parts, scan
from inres.ct.dicom.kernels import SHARP, SOFT, UNKNOWN, sharpness
from inres.ct.header import ScanError

ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"


def series(uid, *, count=12, step=2.0, seed=0, **elements):
    """A series, told apart from others by its uid and HU."""
    return slices(pictures(count, seed), np.arange(count) * step, uid=uid, **elements)


def is_series(volume, datasets):
    """Whether a volume consists of these slices."""
    stored = [np.frombuffer(dataset.PixelData, "<i2").reshape(12, 10) for dataset in datasets]
    return np.array_equal(volume.hu, np.stack(stored) - 1024)


BETTER_AND_WORSE = {
    "not axial": ({}, {"turn": (1, 0, 0, 0, 0, -1), "count": 30}),
    "secondary capture": ({"SliceThickness": 5}, {"SOPClassUID": SecondaryCaptureImageStorage}),
    "derived": ({"SliceThickness": 5}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}),
    "a part of the scan": ({"SliceThickness": 5}, {"count": 5, "SliceThickness": 1}),
    "thicker slices": ({"step": 1.0, "count": 24}, {"step": 2.5, "count": 10}),
    "sharper kernel": ({"ConvolutionKernel": "B31f"}, {"ConvolutionKernel": "B70f", "count": 13}),
    "fewer slices": ({"count": 13}, {"count": 12}),
}


@pytest.mark.parametrize("reason", BETTER_AND_WORSE)
@pytest.mark.parametrize("first", [True, False])
def test_rules_choose_one_of_several_series(tmp_path, reason, first):
    better, worse = BETTER_AND_WORSE[reason]
    uids = ("1.2.3", "1.2.4") if first else ("1.2.4", "1.2.3")
    good, bad = series(uids[0], **better), series(uids[1], seed=1, **worse)
    if "turn" in worse:
        for n, dataset in enumerate(bad):
            dataset.ImagePositionPatient = [-10, 20 + 2 * n, 30]
    save(tmp_path / "d", good)
    volume = scan.read_scan(save(tmp_path / "d", bad, prefix="b"))
    assert is_series(volume, good)
    assert volume.notes[0].startswith(f"series {uids[0]} ")
    assert volume.notes[1].startswith(f"left out, {reason}: {uids[1]} (")
    assert scan.read_header(tmp_path / "d").notes == volume.notes
    assert is_series(scan.read_scan(tmp_path / "d", series_uid=uids[1]), bad)


def test_thin_slices_with_gaps_are_thick(tmp_path):
    good, gaps = series("1.2.3", SliceThickness=2), series("1.2.4", count=4, step=7.0)
    for dataset in gaps:
        dataset.SliceThickness = 1
    save(tmp_path / "d", good)
    assert is_series(scan.read_scan(save(tmp_path / "d", gaps, prefix="b")), good)


def test_a_tie_lists_what_there_is_and_how_to_choose(tmp_path):
    for uid, what in (("1.2.3", "early"), ("1.2.4", "late")):
        save(
            tmp_path / "d",
            series(uid, SeriesDescription=what, ConvolutionKernel="STANDARD"),
            prefix=what,
        )
    expected = (
        r"2 series that may be the scan; they are 1\.2\.3 \(12 slices, 2 mm, STANDARD, early\); "
        r"1\.2\.4 \(12 slices, 2 mm, STANDARD, late\); choose one by its uid \(series_uid, --series"
    )
    with pytest.raises(ScanError, match=expected):
        scan.read_header(tmp_path / "d")
    assert scan.read_header(tmp_path / "d", kernel="LATE").shape[0] == 12
    with pytest.raises(ScanError, match="2 series that may be"):
        scan.read_header(tmp_path / "d", kernel="standard")
    with pytest.raises(ScanError, match=r"no series with 'lung' \(data.kernel\).*1\.2\.3"):
        scan.read_header(tmp_path / "d", kernel="lung")


def test_a_kernel_can_be_required(tmp_path):
    soft, sharp = (
        series("1.2.3", ConvolutionKernel="B31f"),
        series("1.2.4", seed=1, ConvolutionKernel=["B60f", "3"]),
    )
    save(tmp_path / "d", soft)
    save(tmp_path / "d", sharp, prefix="b")
    assert is_series(scan.read_scan(tmp_path / "d"), soft)
    assert is_series(scan.read_scan(tmp_path / "d", kernel="b60"), sharp)
    assert is_series(scan.read_scan(tmp_path / "d", kernel="b60", series_uid="1.2.3"), soft)


@pytest.mark.parametrize(
    ("kernel", "description", "expected"),
    [
        ("B30f", "", SOFT), ("Br40d\\3", "", SOFT), ("I31f\\2", "", SOFT), ("B70f", "", SHARP),
        ("Bl57f", "", SHARP), ("STANDARD", "LUNG 1.25", SOFT), ("LUNG", "", SHARP),
        ("BONEPLUS", "", SHARP), ("FC08", "", SOFT), ("FC51", "", SHARP), ("C", "", SOFT),
        ("L", "", SHARP), ("YB", "", SHARP), ("", "Thorax C+ 1.0 soft", SOFT),
        ("", "Chest C+ 1.0", UNKNOWN), ("", "THIN LUNG", SHARP), ("", "", UNKNOWN),
    ],
)  # fmt: skip
def test_kernels(kernel, description, expected):
    assert sharpness(kernel, description) == expected


OTHER_OBJECTS = {
    "MR": (MRImageStorage, "MR Image"),
    "PT": (PositronEmissionTomographyImageStorage, "Positron Emission Tomography Image"),
    "SEG": (SegmentationStorage, "Segmentation"),
    "RTSTRUCT": (RTStructureSetStorage, "RT Structure Set"),
    "SR": (ENHANCED_SR, "Enhanced SR"),
}


def other_object(modality, uid="9.9"):
    dataset = series(uid, count=1, Modality=modality, SOPClassUID=OTHER_OBJECTS[modality][0])[0]
    if modality in ("SR", "RTSTRUCT"):
        for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "PixelSpacing"):
            delattr(dataset, name)
    return dataset


@pytest.mark.parametrize("modality", OTHER_OBJECTS)
def test_other_objects_are_no_scans(tmp_path, modality):
    other, name = other_object(modality), OTHER_OBJECTS[modality][1]
    save(tmp_path / "only", [other, other])
    what = rf"no CT volume; found 9\.9 \(2 files\): {name} \(modality {modality}\), not a CT image"
    for path in (tmp_path / "only", tmp_path / "only" / "00-0.dcm"):
        with pytest.raises(ScanError, match=what.replace("2 files", r"\d files[^)]*")):
            scan.read_header(path)
    good = series("1.2.3")
    save(tmp_path / "d", [other], prefix="a")
    volume = scan.read_scan(save(tmp_path / "d", good))
    assert is_series(volume, good)
    assert (
        f"left out, {name} (modality {modality}), not a CT image: 9.9 (1 files, a00-0.dcm)"
        in volume.notes
    )
    with pytest.raises(ScanError, match=rf"series 9\.9 is {name}"):
        scan.read_scan(tmp_path / "d", series_uid="9.9")


@pytest.mark.parametrize("modality", OTHER_OBJECTS)
def test_other_objects_under_the_uid_of_the_scan(tmp_path, modality):
    good = series("1.2.3")
    save(tmp_path / "d", [other_object(modality, "1.2.3")], prefix="a")
    assert is_series(scan.read_scan(save(tmp_path / "d", good)), good)


def test_class_and_modality_must_both_be_ct(tmp_path):
    for number, element in enumerate(({"Modality": "MR"}, {"SOPClassUID": MRImageStorage})):
        with pytest.raises(ScanError, match=r"no CT volume; found .*MR"):
            scan.read_scan(save(tmp_path / str(number), series("1.2.3", **element)))


SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}


def test_scouts_are_left_out(tmp_path):
    good = series("1.2.3")
    inside = slices(pictures(1), [(0, 0, 9)], turn=(1, 0, 0, 0, 0, -1), **SCOUT)
    apart = slices(pictures(2), [5.0, 6.0], uid="1.2.2", **SCOUT)
    save(tmp_path / "d", inside, prefix="in")
    save(tmp_path / "d", apart, prefix="apart")
    volume = scan.read_scan(save(tmp_path / "d", good))
    assert is_series(volume, good)
    assert "left out, scout images: in00-0.dcm" in volume.notes
    assert "left out, scout images: 1.2.2 (2 files)" in volume.notes
    with pytest.raises(ScanError, match=r"no CT volume; found 1\.2\.2 \(2 files\): scout images"):
        scan.read_scan(save(tmp_path / "only", apart))


@pytest.mark.parametrize("kind", ["MIP", "PROJECTION IMAGE", "VRT"])
def test_projections_are_left_out(tmp_path, kind):
    good, other = series("1.2.3", SliceThickness=5), series("1.2.4", seed=1)
    for dataset in other:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL", kind]
    save(tmp_path / "d", good)
    volume = scan.read_scan(save(tmp_path / "d", other, prefix="b"))
    assert is_series(volume, good)
    assert f"left out, image type {kind}, not slices" in volume.notes[1]


def test_secondary_captures(tmp_path):
    """Screenshots are no scans; a complete CT in this class is one, with a note."""
    shot = series("9.9", count=2, SOPClassUID=SecondaryCaptureImageStorage, ImageType=["DERIVED"])
    for dataset in shot:
        del dataset.ImagePositionPatient
    with pytest.raises(ScanError, match=r"Secondary Capture Image \(modality CT\), not a CT image"):
        scan.read_scan(save(tmp_path / "shot", shot))
    whole = series("1.2.3", SOPClassUID=SecondaryCaptureImageStorage)
    volume = scan.read_scan(save(tmp_path / "whole", whole))
    assert is_series(volume, whole)
    assert volume.notes == ("stored as Secondary Capture Image (modality CT)",)


def test_only_a_coronal_series_is_read_with_a_note(tmp_path):
    coronal = series("1.2.3", turn=(1, 0, 0, 0, 0, -1))
    for n, dataset in enumerate(coronal):
        dataset.ImagePositionPatient = [-10, 2 * n, 30]
    volume = scan.read_scan(save(tmp_path / "d", coronal))
    assert volume.notes == ("its slices are not axial",)
    upright = scan.canonical(volume)
    assert upright.hu.shape == (12, 12, 10)
    np.testing.assert_allclose(upright.spacing_mm, (PIXEL_MM[1], 2.0, PIXEL_MM[0]))


# Acquisitions


@pytest.mark.parametrize("offset", [0.0, 0.3, 10.0])
@pytest.mark.parametrize("name", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_of_overlapping_acquisitions_the_longest_is_used(tmp_path, offset, name):
    long, short = series("1.2.3"), series("1.2.3", count=10, seed=1)
    for dataset in long:
        setattr(dataset, name, 2)
    for n, dataset in enumerate(short):
        setattr(dataset, name, 1)
        dataset.ImagePositionPatient = [-10, 20, 2.0 * n + offset]
    volume = scan.read_scan(save(tmp_path / "d", [*short, *long]))
    assert is_series(volume, long)
    what = "acquisition 2" if name == "AcquisitionNumber" else "temporal position 2"
    assert what in volume.notes[0]
    assert "12 of 22 slices" in volume.notes[0]


def test_of_equal_acquisitions_the_first_is_used(tmp_path):
    first, second = (
        series("1.2.3", AcquisitionNumber=4),
        series("1.2.3", seed=1, AcquisitionNumber=7),
    )
    volume = scan.read_scan(save(tmp_path / "d", [*second, *first]))
    assert is_series(volume, first)
    assert "acquisition 4 is used" in volume.notes[0]


@pytest.mark.parametrize("shared", [True, False])
def test_acquisitions_one_after_the_other_are_one_scan(tmp_path, shared):
    whole = series("1.2.3")
    for n, dataset in enumerate(whole):
        dataset.AcquisitionNumber = 1 + n // 4
    if shared:  # the first slice of the second acquisition, again as the last of the first
        again = slices(pictures(12)[4:5] + 3, [8.0], AcquisitionNumber=1, InstanceNumber=99)
        whole += again
    volume = scan.read_scan(save(tmp_path / "d", whole))
    assert is_series(volume, whole[:12])
    assert len(volume.notes) == shared


def test_mixed_acquisitions_without_numbers_are_refused(tmp_path):
    mixed = series("1.2.3") + series("1.2.3", seed=1)
    for n, dataset in enumerate(mixed):
        dataset.InstanceNumber = n + 1
        dataset.ImagePositionPatient = [-10, 20, 2.0 * n if n < 12 else 2.0 * (n - 12) + 0.7]
    with pytest.raises(ScanError, match="slices of two acquisitions are mixed"):
        scan.read_scan(save(tmp_path / "d", mixed))


@pytest.mark.parametrize("shift", [1.0, 0.7])
def test_interleaved_acquisitions_that_are_counted_alike_are_noted_or_refused(tmp_path, shift):
    mixed = series("1.2.3") + series("1.2.3", seed=1)
    for n, dataset in enumerate(mixed):
        dataset.ImagePositionPatient = [-10, 20, 2.0 * (n % 12) + shift * (n // 12)]
    folder = save(tmp_path / "d", mixed)
    if shift == 1.0:
        note = "InstanceNumber does not follow the positions, which are used"
        assert scan.read_scan(folder).notes == (note,)
    else:
        with pytest.raises(ScanError, match="slices of two acquisitions are mixed"):
            scan.read_scan(folder)


def test_acquisitions_one_after_the_other_can_be_counted_from_one_each(tmp_path):
    whole = series("1.2.3")
    for n, dataset in enumerate(whole):
        dataset.InstanceNumber = 1 + n % 6
    volume = scan.read_scan(save(tmp_path / "d", whole))
    assert is_series(volume, whole)
    assert volume.notes == ()


def test_three_slices_at_one_place_are_refused(tmp_path):
    whole = series("1.2.3")
    for seed in (1, 2):
        whole += slices(pictures(1, seed), [4.0], InstanceNumber=50 + seed)
    with pytest.raises(ScanError, match=r"3 different slices at the same position \(z 4 mm\)"):
        scan.read_scan(save(tmp_path / "d", whole))


# Uids and folders


def test_slices_with_a_uid_each_are_one_series(tmp_path):
    whole = series("1.2.3")
    for n, dataset in enumerate(whole):
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = f"1.2.3.{n}", f"1.2.{n}"
    volume = scan.read_scan(save(tmp_path / "d", whole))
    assert is_series(volume, whole)
    assert volume.notes == ("12 slices with a series uid each, read as one series",)
    whole[3].PixelSpacing = [2, 2]
    with pytest.raises(ScanError, match=r"12 series that may be the scan.*dcmodify -m"):
        scan.read_scan(save(tmp_path / "e", whole))


def test_slices_without_uids_are_one_series(tmp_path):
    names = ("SeriesInstanceUID", "StudyInstanceUID", "PatientID", "StudyDate")
    whole = series("1.2.3", **dict.fromkeys(names))
    assert is_series(scan.read_scan(save(tmp_path / "d", whole)), whole)
    (found,) = dicom.series_of(tmp_path / "d")
    assert (found.uid, found.patient, found.study_date) == ("", "", "")


def test_one_uid_of_two_patients(tmp_path):
    save(tmp_path / "d", series("1.2.3"))
    folder = save(tmp_path / "d", series("1.2.3", seed=1, PatientID="p2"), prefix="b")
    with pytest.raises(
        ScanError, match=r"CT of 2 patients or studies; patient p1, 20010203: 1\.2\.3 .*p2"
    ):
        scan.read_scan(folder)
    with pytest.raises(ScanError, match=r"series 1\.2\.3 belongs to 2 studies or patients"):
        scan.read_scan(folder, series_uid="1.2.3")


def test_one_uid_in_two_folders_is_two_series(tmp_path):
    a, b = series("1.2.3"), series("1.2.3", seed=1, count=9)
    for name, datasets in (("a", a), ("b", b)):
        assert is_series(scan.read_scan(save(tmp_path / name, datasets)), datasets)
    found = dicom.series_of(tmp_path)
    assert [(s.folder.name, s.slices) for s in found] == [("a", 12), ("b", 9)]


def test_a_study_in_folders_below(tmp_path):
    good = series("1.2.3")
    save(tmp_path / "p" / "study" / "scout", series("1.2.1", count=1, **SCOUT))
    save(tmp_path / "p" / "study" / "thick", series("1.2.2", count=5, step=5.0))
    save(tmp_path / "p" / "study" / "thin", good)
    volume = scan.read_scan(tmp_path / "p")
    assert is_series(volume, good)
    assert len(volume.notes) == 3
    save(tmp_path / "p" / "later", series("1.2.9", StudyInstanceUID="1.9"))
    with pytest.raises(
        ScanError, match=r"CT of 2 patients or studies; (?=.*1\.2\.9 .*later).*study/thin"
    ):
        scan.read_scan(tmp_path / "p")
    assert is_series(scan.read_scan(tmp_path / "p", series_uid="1.2.3"), good)


def test_the_rest_of_a_series_in_folders_below_belongs_to_it(tmp_path, monkeypatch):
    whole = series("1.2.3")
    folder = save(tmp_path / "d", whole[:5])
    save(folder / "more" / "b", whole[5:])
    save(folder / "other", series("1.2.4", seed=1))
    volume = scan.read_scan(folder)
    assert is_series(volume, whole)
    below = folder / "more" / "b"
    assert volume.notes == (f"7 files of the same series in folders below, such as {below}",)
    monkeypatch.setattr(dicom, "MOST_FILES", 10)  # next to a collection
    assert scan.read_scan(folder).hu.shape[0] == 5


def test_a_collection_is_no_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "MOST_FILES", 20)
    for name in "ab":
        save(tmp_path / name, series(f"1.2.{ord(name)}"))
    with pytest.raises(ScanError, match=r"more than 20 DICOM files .* give the folder of one scan"):
        scan.read_scan(tmp_path)


def test_a_disk_is_no_scan(tmp_path, monkeypatch):
    """Neither is it searched to its end, nor are all of its files named."""
    for name in "abcdef":
        (tmp_path / name).mkdir()
        (tmp_path / name / "empty.txt").touch()
    with pytest.raises(
        ScanError, match=r"no DICOM series .*; and 2 more such notes; fetch"
    ) as caught:
        scan.read_scan(tmp_path)
    assert str(caught.value).count("empty file") == 4
    monkeypatch.setattr(dicom, "MOST_LOOKED", 5)
    with pytest.raises(
        ScanError, match=r"more than 5 files in folders below; give the folder of o"
    ):
        scan.read_scan(tmp_path)
    monkeypatch.setattr(parts, "MOST_FILES", 4)
    assert len(parts.scan_parts(tmp_path)) == 4
