"""Queries are prepared exactly as the items."""

import dataclasses
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import write_tree
from data.chests import (
    SPACING,
    config_of_labels,
    make_config,
    nodules,
    normals,
    run,
)

from inres.config import Config, Data
from inres.ct import scan
from inres.ct.header import ScanError
from inres.ct.image import to_uint8
from inres.data import image_stack, queries, query_images
from inres.data.cut import read_upright
from inres.data.views import canvas

pytestmark = pytest.mark.slow


def query(path, config, *, series_uid="", **place):
    opened = queries.open_query_scan(
        path, config=config, root=config.data.root, series_uid=series_uid
    )
    found = opened.at(**place)
    assert found.segmentable
    return found.planes, found.mask, found.point, found.notes


def read_image(path, config):
    stack = image_stack.read_stack([path])
    planes = 2 * config.items.neighbours + 1
    return query_images.read_query_images(
        stack, config=config, root=config.data.root, planes=planes
    )


def array_query(image, config):
    stack = image_stack.stack_of(image)
    return query_images.query_images(stack, config=config, planes=1)


def image_query(path, config):
    found = read_image(path, config)
    return found.planes, found.mask, found.point, found.notes


def test_an_image_of_12_bits_is_refused(tmp_path, tree):
    path = tmp_path / "q.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(0, 3600, 25, "u2").reshape(12, 12)), path)
    for kind in ("phantom", "folder"):
        config = Config(data=Data(kind=kind, root=str(tree)))
        with pytest.raises(ScanError, match=r"q\.png: 16-bit pixels from 0 to 3575, so 12-bit"):
            image_query(path, config)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("lung_masks", ["threshold", "luna16"])
def test_query_by_world_equals_the_archive_item(tree, store, labelled_store, which, lung_masks):
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


def test_a_cube_of_a_query_is_that_of_the_item(tree, tmp_path):
    """Bit for bit, of nodules and of normal locations; a slice alone has one plane."""
    config = make_config(tree, view="cube", cube_mm=40.0, cube_px=9)
    made = run(config, tree, tmp_path / "items")
    rows = [*nodules(made), *normals(made)[:4]]
    for row in rows:
        item = made.items[row]
        path = tree / f"subset{item.subset}" / f"{item.scan}.mhd"
        opened = queries.open_query_scan(path, config=config, root=tree)
        world = (item.x_mm, item.y_mm, item.z_mm)
        found = opened.at(world_mm=world)
        np.testing.assert_array_equal(found.cube[0], made.cubes[row])
        np.testing.assert_array_equal(found.cube[1], made.cube_states[row])
        np.testing.assert_array_equal(found.planes, made.slices[row][None])
        index = opened.cut.volume.world_to_index(np.array(world))
        inside = opened.cut.mask[tuple(np.rint(index).astype(int))]
        assert made.cube_states[row, 4, 4, 4] == 1 + inside or item.nodule
    assert set(np.unique(made.cube_states)) >= {1, 2}


def test_a_slice_number_gives_the_cube_in_the_middle_of_the_lungs(tree):
    """Where the crop of the same slice is; the lungs are not in the middle of the image."""
    path = sorted(tree.glob("subset*/*.mhd"))[0]
    config = make_config(tree, view="cube", cube_mm=40.0, cube_px=41)
    opened = queries.open_query_scan(path, config=config, root=tree)
    aside = (opened.cut.center[0] + 6, opened.cut.center[1] - 9)
    moved = dataclasses.replace(opened, cut=dataclasses.replace(opened.cut, center=aside))
    number = opened.header.slices // 2
    found = moved.at(slice_index=number)
    half = config.items.canvas_px // 2
    assert found.point == (half, half)
    z = opened.header.index_to_world(np.array([opened.header.plane_of(number), 0, 0]))[2]
    index = np.array([opened.cut.volume.world_to_index(np.array([0, 0, z]))[0], *aside])
    world = tuple(opened.cut.volume.index_to_world(index))
    same = moved.at(world_mm=world)
    np.testing.assert_array_equal(found.cube[0], same.cube[0])
    np.testing.assert_array_equal(found.cube[1], same.cube[1])
    assert (found.cube[0] != opened.at(slice_index=number).cube[0]).any()


def test_query_from_elsewhere_reports_that_its_lungs_are_found_differently(
    tree, store, labelled_store, tmp_path
):
    """A scan of the tree has its labels by any path; the lungs of a copy are thresholded."""
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
    """All items of a scan as queries, from reading it once."""
    config, read = make_config(tree), []
    monkeypatch.setattr(
        queries, "read_upright", lambda *a, **k: read.append(a) or read_upright(*a, **k)
    )
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


def test_a_read_tells_its_steps_and_ends_at_any_of_them(tree):
    path, config, told = tree / "subset2" / "a.mhd", make_config(tree), []
    queries.open_query_scan(path, config=config, root=None, step=lambda *s: told.append(s))
    steps = list(dict.fromkeys(what for what, _ in told))
    assert steps == ["reading the header", "reading the scan", "resampling", "finding the lungs"]
    assert all(done is None or 0 <= done <= 1 for _, done in told)
    for last in range(len(told)):
        reached = []

        def step(*what, last=last, reached=reached):
            if len(reached) == last:
                raise InterruptedError
            reached.append(what)

        with pytest.raises(InterruptedError):
            queries.open_query_scan(path, config=config, root=None, step=step)
        assert reached == told[:last]


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_an_open_scan_is_upright_in_its_own_resolution(tmp_path, flips):
    spacing = (2.7, 3.1, 2.5)
    scans = [{"uid": "a", "subset": 0, "spacing": spacing, "flips": flips}]
    root = write_tree(tmp_path, scans)
    path = root / "subset0" / "a.mhd"
    opened = queries.open_query_scan(path, config=make_config(root), root=None)
    stored = scan.read_scan(path)
    signs = [slice(None, None, flip) for flip in reversed(flips)]
    np.testing.assert_array_equal(opened.volume.hu, stored.hu[tuple(signs)])
    np.testing.assert_array_equal(opened.volume.direction, np.eye(3))
    assert opened.volume.spacing_mm == pytest.approx(spacing)
    corner = np.array([0, 0, 0])
    own = [
        0 if flip > 0 else n - 1 for flip, n in zip(reversed(flips), stored.hu.shape, strict=True)
    ]
    np.testing.assert_allclose(
        opened.volume.index_to_world(corner), stored.index_to_world(np.array(own)), atol=1e-6
    )


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


def test_places_outside_a_scan_are_refused(tree):
    path, config = tree / "subset0" / "b.mhd", make_config(tree)
    with pytest.raises(ScanError, match=r"b\.mhd: \(0\.0, 0\.0, 999\.0\) mm is outside"):
        query(path, config, world_mm=(0, 0, 999))
    with pytest.raises(ScanError, match="no slice 80; it has 0 to 79"):
        query(path, config, slice_index=80)
    with pytest.raises(ScanError, match="no slice -1"):
        query(path, config, slice_index=-1)
    with pytest.raises(ValueError, match="either"):
        query(path, config)


@pytest.mark.parametrize("wrong", [1.5, 3.0, True, "3", None, [3], np.array([3])])
def test_a_slice_number_is_whole(tree, wrong):
    header = scan.read_header(tree / "subset0" / "b.mhd")
    message = r"b\.mhd: slice_index is .*; must be a whole number from 0 to 79"
    with pytest.raises(ScanError, match=message):
        queries._middle_of_slice(header, wrong)
    expected = queries._middle_of_slice(header, 3)
    np.testing.assert_array_equal(queries._middle_of_slice(header, np.uint8(3)), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        *((0, 0, 1j), np.array([0, 0, 1j]), (0, True, 0), np.zeros(3, bool), ("0", "0", "0")),
        *("000", None, {0, 1, 2}, ((0, 0), 0, 0), (0, 0, 10**400), (0, 0)),
    ],
)
def test_a_place_is_three_real_numbers(tree, wrong):
    header = scan.read_header(tree / "subset0" / "b.mhd")
    with pytest.raises(ScanError, match=r"b\.mhd: world_mm is .*; must be x, y, z in mm"):
        queries._checked_place(header, wrong)
    place = header.index_to_world(np.array([40, 40, 40])).round()
    for given in (place, place.tolist(), place.astype(np.int16), tuple(map(int, place))):
        np.testing.assert_array_equal(queries._checked_place(header, given), place)


HU = np.linspace(-1000, 400, 120).reshape(10, 12)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ((HU > 0), "bool pixels; must be uint8, uint16, or HU"),
        (HU.astype(complex), "complex128 pixels"),
        (HU.astype(object), "object pixels"),
        (HU.astype(str), "<U.* pixels"),
        (HU.tolist(), "image: list; must be the path of a file, several paths, or a numpy array"),
        (None, "image: NoneType; must be"),
        (3.0, "image: float; must be"),
        (np.float32(3), "image: float32; must be"),
        (np.array(3.0), r"shape \(\); an item is one 2-D slice"),
        (np.zeros((0, 12), np.uint8), r"shape \(0, 12\)"),
        (np.where(HU > 399, np.nan, HU), "NaN or infinite pixels"),
        (np.where(HU > 399, np.inf, HU), "NaN or infinite pixels"),
        (np.linspace(0, 1, 120).reshape(10, 12), "lowest value, 0, is too high for a lung"),
        (np.arange(120, dtype=np.int16).reshape(10, 12), "int16 pixels are taken for HU"),
        (np.arange(120, dtype=np.float32).reshape(10, 12) * 2, "float32 pixels are taken for HU"),
        (np.arange(120, dtype=np.uint32).reshape(10, 12), "uint32 pixels; convert them to 8 bits"),
    ],
)
@pytest.mark.parametrize("kind", ["phantom", "folder"])
def test_arrays_that_are_no_images_are_refused(image, message, kind):
    with pytest.raises(ScanError, match=message):
        array_query(image, Config(data=Data(kind=kind, root="x")))


def test_files_without_hu_are_refused_but_nan_counts_as_air(tree, tmp_path):
    path, crops = tmp_path / "a.tif", make_config(tree)
    for wrong, message in (
        (HU - HU.min(), "lowest value, 0, is too"),
        (HU * np.nan, "not one fin"),
    ):
        sitk.WriteImage(sitk.GetImageFromArray(wrong.astype(np.float32)), str(path))
        with pytest.raises(ScanError, match=f"a\\.tif: .*{message}"):
            image_query(path, crops)
    holes = np.where(HU > 399, np.nan, HU).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(holes), str(path))
    expected = array_query(np.nan_to_num(holes, nan=-1200), crops)
    np.testing.assert_array_equal(image_query(path, crops)[0], expected.planes)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.float32])
def test_the_order_of_bytes_does_not_matter(tree, kind):
    array = (HU * 20 + 25000 if kind is np.uint16 else HU).astype(kind)
    swapped = array.astype(array.dtype.newbyteorder("S"))
    ours, theirs = (array_query(a, make_config(tree)) for a in (array, swapped))
    np.testing.assert_array_equal(ours.planes, theirs.planes)


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


def test_an_array_gives_the_same_query_as_its_file(tree, tmp_path):
    hu = np.arange(-1200, 600, 15, dtype=np.int16).reshape(10, 12)
    grey = to_uint8(hu, hu_min=-1200, hu_max=600)
    crops = make_config(tree)
    folder = Config(data=Data(kind="folder", root=str(tree)))
    for array in (grey, hu, hu.astype(np.float32), grey.astype(np.uint16) * 257):
        for config in (crops, folder):
            path = tmp_path / f"{array.dtype}.{'png' if array.dtype.kind == 'u' else 'tif'}"
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
            want = read_image(path, config)
            found = array_query(array, config)
            np.testing.assert_array_equal(found.planes, want.planes)
            assert found.mask is want.mask is None
            assert np.isnan([found.point, want.point]).all()
            assert found.segmentable == want.segmentable == (config is folder)
            assert found.planes.shape == (1, 12, 12)
    with pytest.raises(ScanError, match=r"image\[0\]: 3 images, .* items are single slices"):
        array_query(np.zeros((3, 10, 12), np.uint8), crops)
    with pytest.raises(ScanError, match="image: 16-bit pixels from 0 to 119, so 12-bit data"):
        array_query(np.arange(120, dtype=np.uint16).reshape(10, 12), crops)


def test_a_single_ct_slice_is_prepared_as_a_scan(tree, tmp_path):
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
