"""DICOM in an archive: which series was read and what was decided is recorded and shown."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk
from ct.dicom_files import save, slices
from ct.trees import chest_image
from data.chests import run

from inres.config import Config, Data, Items
from inres.data.queries import open_query_scan
from inres.system import files

NODULE = (-60.0, 0.0, 10.0)
UIDS = {"B31f": "1.2.31", "B70f": "1.2.70", "C": "1.2.3"}
SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}


def chest_slices(*, spacing, kernel, heights=None, **elements):
    """The chest with a nodule as DICOM slices at these heights, or at all of its grid."""
    image, _ = chest_image([(*NODULE, 14)], spacing=(*spacing[:2], 1.0))
    hu = sitk.GetArrayFromImage(image)
    x, y, z = image.GetOrigin()
    planes = np.arange(0, len(hu), spacing[2]) if heights is None else heights
    places = [(x, y, z + plane) for plane in planes]
    pixel = list(spacing[1::-1])
    return slices(
        hu[np.asarray(planes, int)],
        places,
        uid=UIDS[kernel],
        PixelSpacing=pixel,
        ConvolutionKernel=kernel,
        SliceThickness=2,
        **elements,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A table of two scans: one of two kernels and a scout, one with two slice distances."""
    root = tmp_path_factory.mktemp("cases")
    for kernel in ("B31f", "B70f"):
        save(
            root / "p1",
            chest_slices(spacing=(4.0, 4.0, 4), kernel=kernel),
            prefix=kernel,
        )
    save(root / "p1", slices(np.zeros((1, 9, 9), np.int16), [0], uid="1.2.9", **SCOUT), prefix="s")
    uneven = np.r_[np.arange(0, 80, 4), np.arange(80, 200, 2)]
    datasets = chest_slices(spacing=(4.0, 4.0, 1), kernel="C", heights=uneven)
    save(root / "p2", datasets)
    x, y, z = NODULE
    k = np.interp(z + 99.5, uneven, np.arange(len(uneven)))  # the first slice is at -99.5 mm
    rows = [
        "scan,x_mm,y_mm,z_mm,space,i,j,k,diameter_mm,patient,study_date",
        f"p1,{x},{y},{z},LPS,,,,14,one,20010203",
        f"p2,,,,,{(x + 160) / 4},{(y + 132) / 4},{k},14,two,",
    ]
    (root / "cases.csv").write_text("\n".join(rows) + "\n")
    return root


def make_config(root, **data):
    items = Items(spacing_mm=4.0, canvas_mm=320.0, normals=4, size_px=32)
    return Config(data=Data(kind="cases", root=str(root), max_thickness_mm=5, **data), items=items)


@pytest.fixture(scope="module")
def store(root, tmp_path_factory):
    return run(make_config(root), root, tmp_path_factory.mktemp("out") / "items")


def test_what_was_read_is_recorded_for_each_scan(root, store):
    with open(store.root / "scans.csv") as file:
        first, second = list(csv.DictReader(file))
    assert first["path"] == str(root / "p1")
    assert (first["series"], first["patient"], first["study_date"]) == (
        "1.2.31",
        "one",
        "20010203",
    )
    assert (first["voxels"], first["spacing_mm"]) == ("81 x 72 x 50", "4 x 4 x 4")
    for part in ("series 1.2.31 ", "sharper kernel: 1.2.70", "scout images: 1.2.9"):
        assert part in first["notes"]
    assert (second["patient"], second["voxels"]) == ("two", "81 x 72 x 100")
    assert "slices 2 to 4 mm apart" in second["notes"]
    messages = files.read_json(store.root / "meta.json")["messages"]
    assert f"{root / 'p1'}: {first['notes']}" in messages
    assert f"{root / 'p2'}: {second['notes']}" in messages


def test_slice_numbers_of_uneven_slices_are_those_of_the_files(store):
    """The nodule of the second scan is given by voxel index."""
    found = [item for item in store.items if item.scan.endswith("p2") and item.nodule]
    assert len(found) == 1
    np.testing.assert_allclose((found[0].x_mm, found[0].y_mm, found[0].z_mm), NODULE, atol=0.001)


def test_a_query_reads_the_same_series_and_says_so(root, store):
    row = next(i for i, item in enumerate(store.items) if item.scan.endswith("p1") and item.nodule)
    opened = open_query_scan(root / "p1", config=make_config(root), root=root)
    query = opened.at(world_mm=NODULE)
    np.testing.assert_array_equal(query.planes, store.slices[row][None])
    assert any("sharper kernel: 1.2.70" in note for note in query.notes)
    assert all(note.startswith(str(root / "p1")) for note in query.notes)
    sharp = make_config(root, kernel="b70")
    assert open_query_scan(root / "p1", config=sharp, root=root).header.series_uid == "1.2.70"
    by_uid = open_query_scan(root / "p1", config=sharp, root=root, series_uid="1.2.31")
    assert by_uid.header.series_uid == "1.2.31"


def test_slices_of_a_query_are_numbered_as_stored(root):
    opened = open_query_scan(root / "p2", config=make_config(root), root=root)
    assert opened.header.slices == 80
    for number, height in ((0, 0.0), (10, 40.0), (20, 80.0), (21, 82.0), (79, 198.0)):
        plane = opened.header.plane_of(number)
        z = opened.header.index_to_world(np.array([plane, 0, 0]))[2]
        assert z == pytest.approx(height + opened.header.origin_mm[2])
    opened.at(slice_index=79)
