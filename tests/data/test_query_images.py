"""Several images of one nodule as a query: the same input as the item made of them."""

import contextlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from inres.config import Config, Data, Items
from inres.ct.header import ScanError
from inres.data import cubes, folder, image_stack, item_store, queries, query_images, views

HEIGHTS = {"a": [3.0, -2.0, 0.5], "b": [-100.0, -98.0, -97.0, -93.5], "c": [0.0], "d": [1.0, 2.0]}
"""Positions of the slices of each nodule, in the order of the table; two are of unequal steps."""
NEIGHBOURS = Items(neighbours=2, size_px=10)
CUBES = Items(view="cube", cube_mm=12.0, cube_px=9, crop_mm=16.0)


def write(path, array, spacing=None):
    image = sitk.GetImageFromArray(array)
    if spacing:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def folder_config(items):
    return Config(data=Data(kind="folder", root="x"), items=items)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("nodules")
    rng = np.random.default_rng(0)
    lines = ["image,scan,nodule,label,z_mm"]
    for nodule, heights in HEIGHTS.items():
        for i, z in enumerate(heights):
            write(root / f"{nodule}{i}.png", rng.integers(0, 256, (12, 12), np.uint8))
            lines.append(f"{nodule}{i}.png,s{nodule},{nodule},1,{z}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    return root


def items_of(root, config, out):
    """The network input of each nodule by its name, as the archive makes it."""
    folder.prepare_folder(config, root=root, out=out)
    store = item_store.open_store(out)
    found = {}
    for row, item in enumerate(store.items):
        if item.offset_mm:
            continue
        if store.cubes is not None:
            found[item.nodule] = views.cube(store.cubes[row], store.cube_states[row], config.items)
        else:
            nan = float("nan")
            found[item.nodule] = views.stack(*store.planes(row), None, (nan, nan), config.items)
    return found


def files_of(root, nodule):
    return [root / f"{nodule}{i}.png" for i in range(len(HEIGHTS[nodule]))]


def query_of(stack, config, *, planes, segment=None, **known):
    made = query_images.read_query_images(stack, config=config, root=None, planes=planes, **known)
    return queries.network_input(made, config.items, segment)


@pytest.mark.parametrize("items", [NEIGHBOURS, CUBES], ids=["neighbours", "cube"])
def test_the_images_of_a_nodule_are_the_input_of_its_item(root, tmp_path, items):
    config = folder_config(items)
    made = items_of(root, config, tmp_path)
    assert made.keys() == HEIGHTS.keys()
    for nodule, want in made.items():
        planes = views.planes_of(want.shape[-1])
        files, z_mm = files_of(root, nodule), HEIGHTS[nodule]
        stack = image_stack.read_stack(files, z_mm=z_mm)
        found = query_of(stack, config, planes=planes)
        np.testing.assert_array_equal(found, want)
        assert views.known_planes(found).sum() > 1 or nodule == "c"
        shuffled = image_stack.read_stack(files[::-1], z_mm=z_mm[::-1])
        np.testing.assert_array_equal(query_of(shuffled, config, planes=planes), want)
        arrays = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in files])
        stack = image_stack.stack_of(arrays, z_mm=np.array(z_mm))
        made_of = query_images.query_images(stack, config=config, planes=planes)
        np.testing.assert_array_equal(queries.network_input(made_of, items), want)
    # Another image of the nodule changes the query.
    stack = image_stack.read_stack(files_of(root, "b")[:3], z_mm=HEIGHTS["b"][:3])
    assert (query_of(stack, config, planes=planes) != made["b"]).any()


def test_the_distance_of_images_is_enough_where_they_are_equally_far_apart(root):
    config = folder_config(CUBES)
    files = files_of(root, "b")
    want = query_of(image_stack.read_stack(files, z_mm=[0, 2, 4, 6]), config, planes=9)
    spaced = image_stack.read_stack(files, slice_mm=2)
    np.testing.assert_array_equal(query_of(spaced, config, planes=9), want)
    known = folder_config(Items(**(vars(CUBES) | {"slice_mm": 2.0})))
    np.testing.assert_array_equal(query_of(image_stack.read_stack(files), known, planes=9), want)
    volume = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in files])
    for name in ("v.mha", "v.nii.gz"):
        path = write(root / name, volume, (16 / 12, 16 / 12, 2.0))
        stack = image_stack.read_stack([path])
        assert (stack.width_mm, stack.z_mm.tolist()) == (pytest.approx(16), [-2, 0, 2, 4])
        np.testing.assert_array_equal(query_of(stack, config, planes=9), want)
        path.unlink()
    path = write(root / "v.tif", volume)  # pages without positions
    pages = image_stack.read_stack([path], slice_mm=2.0)
    np.testing.assert_array_equal(query_of(pages, config, planes=9), want)
    path.unlink()


def test_the_header_of_a_volume_says_which_way_is_up(tmp_path):
    volume = np.arange(3 * 5 * 6, dtype=np.uint8).reshape(3, 5, 6)
    image = sitk.GetImageFromArray(volume)
    image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / "down.mha"))
    stack = image_stack.read_stack([tmp_path / "down.mha"])
    np.testing.assert_array_equal(np.stack(stack.images), volume[::-1, :, ::-1])
    sitk.WriteImage(sitk.PermuteAxes(image, [2, 0, 1]), str(tmp_path / "side.mha"))
    with pytest.raises(ScanError, match=r"side\.mha: its slices are not axial"):
        image_stack.read_stack([tmp_path / "side.mha"])
    write(tmp_path / "flat.mha", volume, (1.0, 1.5, 2.0))
    with pytest.raises(ScanError, match=r"flat\.mha: pixels of 1 x 1\.5 mm"):
        image_stack.read_stack([tmp_path / "flat.mha"])


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["s10.png", "s2.png", "s1.png"], ["s1.png", "s2.png", "s10.png"]),
        (["c.png", "a.png", "b.png"], ["a.png", "b.png", "c.png"]),
        (["n-1_+0.png", "n-1_-2.png", "n-1_+1.png"], ["n-1_-2.png", "n-1_+0.png", "n-1_+1.png"]),
        (["z_2.5.png", "z_10.png", "z_2.25.png"], ["z_2.25.png", "z_2.5.png", "z_10.png"]),
        (["L-0002.png", "L-0001.png"], ["L-0001.png", "L-0002.png"]),
    ],
)
def test_a_folder_is_in_the_order_of_the_numbers_in_its_names(tmp_path, names, ordered):
    for name in names:
        write(tmp_path / name, np.zeros((4, 4), np.uint8))
    (tmp_path / ".hidden").touch()
    stack = image_stack.read_stack([tmp_path])
    assert [path.name for path in stack.paths] == ordered
    config = folder_config(Items(neighbours=1))
    made = query_images.query_images(stack, config=config, planes=3)
    middle = ordered[(len(ordered) - 1) // 2]
    (note,) = made.notes
    assert "(ordered by the numbers in their names)" in note
    assert note.endswith(f"the central one is {tmp_path / middle}")


def test_folders_without_an_order_are_refused(tmp_path):
    with pytest.raises(ScanError, match="no images in this folder"):
        image_stack.read_stack([tmp_path])
    for name in ("z-2.png", "z0.png", "z2.png"):
        write(tmp_path / name, np.zeros((4, 4), np.uint8))
    with pytest.raises(ScanError, match="a - in some of the names may be a sign"):
        image_stack.read_stack([tmp_path])


def test_a_dicom_series_is_no_folder_of_images(real_data):
    with pytest.raises(ScanError, match="a DICOM series, whose order is not that of its names"):
        image_stack.read_stack([real_data("dicom_slices")])


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"z_mm": [0.0, 1.0]}, r"2 positions in z_mm, but 3 images"),
        ({"z_mm": [0.0, 1.0, 1.0]}, r"image\[2\]: z_mm 1 is that of image\[1\] too"),
        ({"z_mm": [0.0, float("nan"), 1.0]}, "must be one number in mm for each image"),
        ({"z_mm": [0.0, True, 1.0]}, "must be one number"),
        ({"z_mm": 2.0}, "must be one number"),
        ({"z_mm": "0,1"}, "must be one number"),
        ({"z_mm": [0, 1, 2], "slice_mm": 1.0}, "either z_mm or slice_mm"),
        ({"slice_mm": 0.0}, "slice_mm is 0.0; must be the distance"),
        ({"slice_mm": -2.5}, "ordered from the lowest to the highest"),
        ({"slice_mm": "2"}, "slice_mm is '2'"),
    ],
)
def test_positions_that_cannot_be_are_refused(given, message):
    with pytest.raises(ScanError, match=message):
        image_stack.stack_of(np.stack([GREY] * 3), **given)


def test_images_that_make_no_stack_are_refused(tmp_path):
    small = write(tmp_path / "small.png", GREY[:5, :5])
    hu = write(tmp_path / "hu.mha", GREY.astype(np.int16) * 10 - 900)
    one, two = (write(tmp_path / f"{name}.png", GREY) for name in ("one", "two"))
    pages = write(tmp_path / "pages.tif", np.stack([GREY] * 3))
    config = folder_config(NEIGHBOURS)
    for paths, message in (
        ([one, small], r"small\.png: 5 pixels a side, but .*one\.png has 8"),
        ([one, hu], r"hu\.mha: int16 pixels, but .*one\.png has uint8"),
        ([one, one], r"one\.png: named twice"),
        ([one, tmp_path / "none.png"], r"none\.png: no such file"),
        ([one, pages], r"pages\.tif: shape \(3, 8, 8\); each of several images is one 2-D slice"),
        ([], "no image is given"),
    ):
        with pytest.raises(ScanError, match=message):
            query_of(image_stack.read_stack(paths), config, planes=5)
    for items, planes in ((Items(), 1), (Items(neighbours=2), 1)):
        with pytest.raises(ScanError, match="2 images, but the archive's items are single slices"):
            query_of(image_stack.read_stack([one, two]), folder_config(items), planes=planes)
    with pytest.raises(ScanError, match=r"one\.png: the positions of the 2 images are unknown"):
        query_of(image_stack.read_stack([one, two]), folder_config(CUBES), planes=9)
    wide = write(tmp_path / "wide.mha", np.stack([GREY] * 3), (1.0, 1.0, 2.0))
    with pytest.raises(ScanError, match=r"8 mm wide by the header .* images are 16 mm wide"):
        query_of(image_stack.read_stack([wide]), folder_config(CUBES), planes=9)
    with pytest.raises(ScanError, match="looks like one image in colour"):
        image_stack.stack_of(np.zeros((8, 8, 3), np.uint8))


def test_the_u_net_sees_every_slice_of_a_cube_and_the_own_slice_of_others(root):
    """Lungs are where a slice is bright."""
    seen = []

    def segment(slices):
        seen.append(slices)
        return (slices > 100).astype(np.uint8)

    stack = image_stack.read_stack(files_of(root, "b"), z_mm=[0, 2, 4, 6])
    own = stack.images[1]
    found = query_of(stack, folder_config(NEIGHBOURS), planes=5, segment=segment)
    np.testing.assert_array_equal(seen.pop(), own[None])
    wanted = [views.view(i, own > 100, (np.nan, np.nan), NEIGHBOURS) for i in stack.images]
    np.testing.assert_array_equal(found[..., 1:5], np.stack(wanted, axis=-1))
    found = query_of(stack, folder_config(CUBES), planes=9, segment=segment)
    np.testing.assert_array_equal(seen.pop(), np.stack(stack.images))
    masks = np.stack([image > 100 for image in stack.images]).astype(np.uint8)
    made = views.stack_cube(
        np.stack(stack.images), masks, stack.z_mm, 2.0, CUBES, width_mm=CUBES.crop_mm
    )
    np.testing.assert_array_equal(found, views.cube(*made, CUBES))


def scan_config(items):
    return Config(data=Data(kind="phantom", root="x"), items=items)


def test_crops_for_an_archive_of_scans_are_planes_at_its_distances():
    """Grey that rises along z, so that a plane at a height is known exactly."""
    heights = np.array([-6.0, -3.0, 0.0, 3.0, 6.5])
    grey = np.stack([np.full((8, 8), 100 + 10 * z, np.uint8) for z in heights])
    config = scan_config(Items(neighbours=4, neighbour_mm=2.0, size_px=8))
    stack = image_stack.stack_of(grey, z_mm=heights)
    made = query_images.query_images(stack, config=config, planes=9)
    wanted = np.arange(-8.0, 9.0, 2.0)
    known = (wanted >= -7.5) & (wanted <= 6.5 + 1.75)
    np.testing.assert_array_equal(made.known, known)
    values = 100 + 10 * np.clip(wanted, -6, 6.5)
    np.testing.assert_array_equal(made.planes[known, 0, 0], values[known])
    assert not made.segmentable
    assert "neither resampled nor segmented" in made.notes[-1]
    with pytest.raises(ScanError, match="positions of the 5 images are unknown"):
        query_images.query_images(image_stack.stack_of(grey), config=config, planes=9)


def test_a_picture_from_an_archive_of_cubes_from_scans_is_its_cube_alone():
    values = np.random.default_rng(0).integers(1, 255, (9, 9, 9), dtype=np.uint8)
    item = views.cube(values, np.full(values.shape, cubes.LUNG), CUBES)
    stack = image_stack.stack_of(views.own_slices(item))
    made = query_images.query_images(stack, config=scan_config(CUBES), planes=9)
    np.testing.assert_array_equal(queries.network_input(made, CUBES), views.alone(item[None])[0])


@pytest.mark.parametrize("name", ["q.mha", "q.nrrd", "q.nii.gz"])
def test_the_header_of_a_single_slice_says_how_wide_it_is(tmp_path, name):
    items = Items(size_px=8, crop_mm=16.0)
    for pixels in (GREY, GREY[None]):
        image = sitk.GetImageFromArray(pixels)
        for pixel, right in ((2.0, True), (25.0, False)):
            image.SetSpacing((pixel,) * pixels.ndim)
            sitk.WriteImage(image, str(tmp_path / name))
            stack = image_stack.read_stack([tmp_path / name])
            assert stack.width_mm == pytest.approx(8 * pixel)
            if right:
                query_of(stack, scan_config(items), planes=1)
                continue
            with pytest.raises(ScanError, match=rf"{name}: 200 mm wide by the header .* 16 mm"):
                query_of(stack, scan_config(items), planes=1)
            query_of(stack, folder_config(items), planes=1)  # as wide as it is
    narrow = write(tmp_path / "narrow.mha", GREY[None], (2.0, 2.0, 2.0))
    with pytest.raises(ScanError, match=r"narrow\.mha: 16 mm wide by its header, but .* is 200 mm"):
        image_stack.read_stack([tmp_path / name, narrow], slice_mm=2.0)


def test_a_picture_in_dicom_has_a_width_only_if_it_says_so(tmp_path):
    path = tmp_path / "q.dcm"
    sitk.WriteImage(sitk.GetImageFromArray(GREY[None]), str(path))
    picture = pydicom.dcmread(path)
    picture.PixelSpacing = [3.0, 3.0]
    picture.save_as(path)
    assert image_stack.read_stack([path]).width_mm == 24.0
    del picture.PixelSpacing
    picture.save_as(path)
    stack = image_stack.read_stack([path])
    assert stack.width_mm == 0.0
    query_of(stack, scan_config(Items(size_px=8, crop_mm=16.0)), planes=1)


def test_a_volume_for_an_archive_of_scans_is_a_crop_if_it_is_as_wide(tmp_path):
    hu = np.stack([GREY.astype(np.int16) * 10 - 900] * 3)
    items = Items(neighbours=1, neighbour_mm=2.0, size_px=8, crop_mm=16.0)
    crop = image_stack.read_stack([write(tmp_path / "crop.mha", hu, (2.0, 2.0, 2.0))])
    array = image_stack.stack_of(hu, slice_mm=2.0)
    want = query_images.query_images(array, config=scan_config(items), planes=3)
    found = query_of(crop, scan_config(items), planes=3)
    np.testing.assert_array_equal(found, queries.network_input(want, items))
    assert views.known_planes(found).all()
    scan = image_stack.read_stack([write(tmp_path / "scan.mha", hu, (3.0, 3.0, 2.0))])
    with pytest.raises(ScanError, match=r"scan\.mha: 3 slices, a scan; .* 16 mm wide here"):
        query_of(scan, scan_config(items), planes=3)
    for pixel, message in (
        (2.0, ""),
        (20.0, r"s0\.mha: 160 mm wide by the header .* 16 mm wide; search the scan"),
    ):
        slices = [
            write(tmp_path / f"s{i}.mha", hu[[i]], (pixel, pixel, 2.0)) for i in range(len(hu))
        ]
        stack = image_stack.read_stack(slices, slice_mm=2.0)
        with pytest.raises(ScanError, match=message) if message else contextlib.nullcontext():
            np.testing.assert_array_equal(query_of(stack, scan_config(items), planes=3), found)
