import dataclasses
import functools
import os

import numpy as np
import pytest
import SimpleITK as sitk

from inres.config import Config, Data, Items
from inres.data import (
    folder,
    image_stack,
    images,
    item_store,
    items,
    queries,
    query_images,
    views,
)
from inres.system import files
from inres.system.checks import ConfigError

HEADER = "image,scan,nodule,label,diameter_mm,malignancy,split\n"


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        write(root / "images" / name, rng.integers(0, 256, (12, 12)).astype(np.uint8))
    (root / "items.csv").write_text(
        HEADER + "images/a.png,s1,n1,1,7.5,3,train\nimages/b.png,s2,,0,0,,test\n"
    )
    return root


def prepare(root):
    out = root.parent / "out"
    out.mkdir(exist_ok=True)
    folder.prepare_folder(Config(data=Data(kind="folder", root=str(root))), root=root, out=out)
    return item_store.open_store(out)


def test_images_and_table_arrive_unchanged(tree):
    store = prepare(tree)
    want = sitk.GetArrayFromImage(sitk.ReadImage(str(tree / "images" / "a.png")))
    np.testing.assert_array_equal(store.slices[0], want)
    assert store.items[0].diameter_mm == 7.5
    assert store.items[1].split == "test"
    assert np.isnan(store.items[0].row)


def listed(tree, *names):
    lines = [f"images/{name},s{i},n{i},1,,,train" for i, name in enumerate(names)]
    (tree / "items.csv").write_text(HEADER + "\n".join(lines) + "\n")


def test_signed_values_are_hounsfield_units(tree):
    write(tree / "images" / "h.nii.gz", np.full((12, 12), -300, np.int16))
    listed(tree, "h.nii.gz")
    assert (np.asarray(prepare(tree).slices[0]) == 128).all()


def ramp(low, high, dtype):
    return np.linspace(low, high, 144).reshape(12, 12).astype(dtype)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            {"a.mha": ramp(0, 255, np.int16)},
            r"a\.mha: int16 .* taken for HU, .* 0, is too high",
        ),
        ({"a.mha": ramp(0, 1, np.float32)}, r"float32 pixels are taken for HU"),
        ({"a.mha": ramp(0, 255, np.uint32)}, r"a\.mha: uint32 pixels; convert"),
        ({"a.png": ramp(31768, 33168, np.uint16)}, r"31768 to 331.*12-bit data with an unknown"),
        ({"a.mha": ramp(-900, 100, np.int16), "b.png": ramp(0, 255, np.uint8)}, "two scales"),
        ({"a.mha": np.full((12, 12), np.nan, np.float32)}, "not one finite pixel"),
    ],
)
def test_values_that_do_not_fit_their_type_are_refused(tree, images, message):
    for name, image in images.items():
        write(tree / "images" / name, image)
    listed(tree, *images)
    with pytest.raises(ValueError, match=message):
        prepare(tree)
    assert not list((tree.parent / "out").iterdir())


def test_one_bright_pixel_does_not_hide_12_bit_data(tree):
    image = ramp(0, 3000, np.uint16)
    image[3, 3] = 65535
    write(tree / "images" / "m.png", image)
    listed(tree, "m.png")
    with pytest.raises(ValueError, match=r"m\.png: 16-bit pixels.*12-bit data"):
        prepare(tree)
    write(tree / "images" / "m.png", ramp(0, 3000, np.uint16))  # dark, among others
    write(tree / "images" / "n.png", ramp(0, 65535, np.uint16))
    listed(tree, "m.png", "n.png")
    assert [int(image.max()) for image in prepare(tree).slices] == [12, 255]
    dark, bright = (tree / "images" / name for name in ("m.png", "n.png"))
    both = images.load_images([dark, bright], Items())
    assert [int(image.max()) for image in both] == [12, 255]
    config = Config(data=Data(kind="folder", root=str(tree)))
    stack = image_stack.read_stack([dark])
    query = functools.partial(
        query_images.read_query_images, stack, config=config, root=tree, planes=1
    )
    assert int(query(in_archive=True).planes.max()) == 12
    for refused in (
        lambda: list(images.load_images([dark], Items())),
        query,
    ):
        with pytest.raises(ValueError, match=r"m\.png: 16-bit pixels.*12-bit data"):
            refused()


def test_masks_are_found_by_name(tree):
    write(tree / "masks" / "a.png", np.full((12, 12), 255, np.uint8))
    with pytest.raises(FileNotFoundError, match=r"masks/b\.png: no mask"):
        prepare(tree)
    write(tree / "masks" / "b.png", np.zeros((12, 12), np.uint8))
    store = prepare(tree)
    assert store.lung_masks is not None
    assert [int(m.max()) for m in store.lung_masks] == [1, 0]
    (tree / "items.csv").unlink()
    assert [i.label for i in prepare(tree).items] == [-1, -1]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.int32])
def test_a_mask_of_any_type_is_where_it_is_not_0(tree, dtype):
    want = np.random.default_rng(1).random((2, 12, 12)) < 0.3
    for name, mask in zip("ab", want, strict=True):
        write(tree / "masks" / f"{name}.mha", mask.astype(dtype))
    found = prepare(tree).lung_masks
    np.testing.assert_array_equal(found, want)


def test_masks_saved_with_loss_or_of_another_shape_are_refused(tree):
    write(tree / "masks" / "a.png", ramp(0, 200, np.uint8))
    write(tree / "masks" / "b.png", np.ones((12, 10), np.uint8))
    with pytest.raises(ValueError, match=r"(?s)a\.png: 1\d\d different.*b\.png: 10 x 12 pixels"):
        prepare(tree)


def test_masks_lie_as_their_images_do(tree):
    lines = []
    for i in range(2):
        for part, value in (("images", 7), ("masks", i)):
            (tree / part).mkdir(exist_ok=True)
            write(tree / part / f"p{i}" / "0.png", np.full((12, 12), value, np.uint8))
        lines.append(f"images/p{i}/0.png,s{i},,1,,,train")
    (tree / "items.csv").write_text(HEADER + "\n".join(lines) + "\n")
    masks = prepare(tree).lung_masks
    assert [int(mask.max()) for mask in masks] == [0, 1]
    (tree / "masks" / "p0" / "0.png").rename(tree / "masks" / "0.png")
    (tree / "masks" / "p1" / "0.png").unlink()
    with pytest.raises(ValueError, match=r"0\.png: the mask of images/p0/0\.png and of images/p1"):
        prepare(tree)


def test_nodules_of_class_0_are_reported(tree):
    def notes():
        prepare(tree)
        return files.read_json(tree.parent / "out" / "meta.json")["messages"]

    assert notes() == []
    line = "images/a.png,s1,n1,0,{},,\nimages/b.png,s1,n1,1,4.5,,\n"
    for diameter in ("0", "", "7.5"):
        (tree / "items.csv").write_text(HEADER + line.format(diameter))
        assert len(notes()) == (diameter == "7.5")
    assert "1 items of class 0 have a diameter" in notes()[0]
    (tree / "items.csv").write_text(HEADER + line.format("0").replace("4.5", "0"))
    assert "1 items of classes above 0 have a diameter of 0 mm" in notes()[0]


def test_problems_of_a_folder_are_named(tree):
    write(tree / "images" / "b.png", np.zeros((12, 13), np.uint8))
    with pytest.raises(ValueError, match=r"b\.png: 13 pixels"):
        prepare(tree)
    (tree / "images" / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.png"):
        prepare(tree)
    (tree / "images" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such file \(1 of 2"):
        prepare(tree)
    (tree / "items.csv").write_text(HEADER + "images/a.png,s1,n1,1,,,\nimages/b.png,s1,n1,,,,\n")
    with pytest.raises(ValueError, match="line 3: label is blank"):
        prepare(tree)
    (tree / "items.csv").write_text(HEADER + "images/a.png,s1,n1,1,,,\n\n,s1,n1,1,,,\n")
    with pytest.raises(ValueError, match="line 4: image is blank; fill it in"):
        prepare(tree)
    (tree / "items.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"items\.csv.*nor a pair"):
        prepare(tree)
    assert not list((tree.parent / "out").iterdir())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "a pipe or device, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "a pipe or device, not a regular file"),
        (lambda path: path.mkdir(), "a folder, not a file"),
        (lambda path: path.symlink_to("b.png"), r"a link to b\.png, which is not there"),
        (lambda path: path.symlink_to("gone"), "a link to gone, which is not there"),
        (lambda path: path.write_bytes(b""), r"\(the file is empty\)"),
        (lambda path: path.write_text("<html>"), r"\(it holds a web page\)"),
    ],
    ids=["pipe", "device", "folder", "loop", "broken link", "empty", "web page"],
)
def test_what_is_no_image_is_named_without_waiting_for_it(tree, make, message):
    path = tree / "images" / "b.png"
    path.unlink()
    make(path)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"images/b\.png: .*{message}"):
        prepare(tree)


@pytest.mark.parametrize("name", ["items.csv", "masks/b.png"])
def test_pipes_are_refused_wherever_a_file_is_read(tree, name):
    for mask in ("a.png", "b.png"):
        write(tree / "masks" / mask, np.ones((12, 12), np.uint8))
    (tree / name).unlink()
    os.mkfifo(tree / name)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"{name}: a pipe or device, not a"):
        prepare(tree)


def test_padding_hides_no_twelve_bits(tree):
    for low, padding in ((24, 63536), (31768, 0)):
        values = ramp(low, low + 1060, np.uint16)
        values[:3] = padding
        write(tree / "images" / "h.png", values)
        listed(tree, "h.png")
        with pytest.raises(ValueError, match=r"h\.png: 16-bit pixels .*, so 12-bit data"):
            prepare(tree)
        stack = image_stack.read_stack([tree / "images" / "h.png"])
        with pytest.raises(ValueError, match=r"h\.png: 16-bit pixels .*, so 12-bit data"):
            query_images.query_images(stack, config=Config(data=Data(kind="folder")), planes=1)


def test_names_in_any_script_and_in_either_form_are_found(tree):
    """The table may have letters in another form than the disk; other scripts are as usual."""
    names = ("u\u0308.png", "\u80ba $^$.png", "\U0001fac1#%41.png", "-\u0631\u0626.png")
    for name in names:
        (tree / "images" / name).write_bytes((tree / "images" / "a.png").read_bytes())
    listed(tree, "\u00fc.png", *names[1:])
    store = prepare(tree)
    assert [item.image for item in store.items] == [f"images/{name}" for name in names]
    for row in range(len(names)):
        np.testing.assert_array_equal(store.slices[row], store.slices[0])


def test_an_image_whose_name_is_not_utf8_is_named(tree):
    (tree / "items.csv").unlink()
    write(tree / "masks" / "a.png", np.ones((12, 12), np.uint8))
    (tree / "images" / "b.png").rename(tree / "images" / "b\udcff.png")
    write(tree / "masks" / "b.png", np.ones((12, 12), np.uint8))
    (tree / "masks" / "b.png").rename(tree / "masks" / "b\udcff.png")
    with pytest.raises(ValueError, match=r"b.*\.png: its name is not UTF-8; rename it"):
        prepare(tree)


@pytest.mark.parametrize("cut", [1, 0.5])
def test_truncated_pictures_are_named_together(tree, cut):
    """As after a broken copy; SimpleITK would make up the rest of each."""
    from PIL import Image

    names = [f"{number}.jpg" for number in range(6)]
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    for name in names:
        Image.fromarray(noise).save(tree / "images" / name)
    listed(tree, *names)
    prepare(tree)
    for name in (names[1], names[4]):
        path = tree / "images" / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * cut)] if cut < 1 else content[:-cut])
    with pytest.raises(ValueError, match="truncated or damaged") as error:
        prepare(tree)
    named = [line.split(":")[0].split("/")[-1] for line in str(error.value).splitlines()]
    assert named == [names[1], names[4]]


def test_padding_is_no_lung(tree):
    """Stored values without their offset, outside of the field of view -2000."""
    values = ramp(24, 1084, np.int16)
    values[:3] = -2000
    write(tree / "images" / "h.mha", values)
    listed(tree, "h.mha")
    with pytest.raises(ValueError, match=r"h\.mha: int16 pixels .* lowest value, 290, is too high"):
        prepare(tree)
    write(tree / "images" / "h.mha", np.full((12, 12), -2000, np.int16))
    with pytest.raises(ValueError, match="not one finite pixel, other than padding"):
        prepare(tree)
    write(tree / "images" / "h.mha", ramp(-2000, -800, np.int16))
    with pytest.raises(ValueError, match=r"the highest value, -8.*, is too low"):
        prepare(tree)


def rows(*table):
    return [
        items.Item(f"{i}.png", scan, nodule, 1, z_mm=z) for i, (scan, nodule, z) in enumerate(table)
    ]


def test_neighbours_are_the_slices_of_one_nodule_in_order():
    nan = float("nan")
    table = rows(
        ("a", "n", nan), ("b", "n", 2.0), ("a", "n", nan), ("b", "n", -1.0), ("a", "", nan),
        ("a", "n", nan), ("b", "n", 0.5), ("a", "", nan),
    )  # fmt: skip
    found = folder.neighbour_rows(table, 2)
    want = [
        [-1, -1, 2, 5], [3, 6, -1, -1], [-1, 0, 5, -1], [-1, -1, 6, 1], [-1, -1, -1, -1],
        [0, 2, -1, -1], [-1, 3, 1, -1], [-1, -1, -1, -1],
    ]  # fmt: skip
    np.testing.assert_array_equal(found, want)


def test_patients_distinguish_nodules_of_one_name_in_unknown_scans():
    table = [
        items.Item(f"{i}.png", "", "n", 1, z_mm=i / 2, patient=patient)
        for i, patient in enumerate(["a", "b", "a", "b", "", ""])
    ]
    names = items.nodule_names([*table, items.Item("", "s", "n", 1, patient="a")])
    assert names.tolist() == ["a/n", "b/n", "a/n", "b/n", "n", "n", "n"]
    assert folder.neighbour_rows(table, 1).tolist() == [
        [-1, 2], [-1, 3], [0, -1], [1, -1], [-1, 5], [4, -1]
    ]  # fmt: skip


def test_a_nodule_is_one_item_its_central_slice():
    table = rows(
        ("a", "n", 7.0), ("a", "n", 1.0), ("a", "n", 4.0), ("a", "n", 4.5), ("a", "", 9.0),
        ("b", "n", 2.0), ("b", "n", 2.0), ("b", "m", 0.5),
    )  # fmt: skip
    for unit in ("auto", "nodule"):
        found = folder.with_central_slices(table, unit)
        assert [item.offset_mm for item in found] == [3.0, -3.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0]
    assert folder.with_central_slices(table, "slice") == table


def test_without_positions_every_slice_is_an_item_unless_nodules_are_requested():
    nan = float("nan")
    table = rows(*[("a", "n", nan)] * 4, ("a", "m", 1.0), ("a", "m", 2.0))
    assert folder.with_central_slices(table, "auto") == table
    found = folder.with_central_slices(table, "nodule")
    assert [item.offset_mm for item in found] == [-1.0, 0.0, 1.0, 2.0, 0.0, 1.0]


def test_positions_of_only_some_slices_of_a_nodule_are_refused():
    table = rows(("a", "n", 1.0), ("a", "n", float("nan")))
    with pytest.raises(ValueError, match=r"1\.png: z_mm is blank.*'n' of scan 'a'"):
        folder.neighbour_rows(table, 2)


def test_without_slices_of_one_nodule_there_are_no_neighbours():
    assert folder.neighbour_rows(rows(("a", "n", 0.0), ("b", "n", 1.0), ("a", "", 2.0)), 3) is None
    assert folder.neighbour_rows(rows(("a", "n", 0.0), ("a", "n", 1.0)), 0) is None


def test_a_folder_keeps_the_neighbours_of_its_slices(tree):
    write(tree / "images" / "c.png", np.full((12, 12), 9, np.uint8))
    with open(tree / "items.csv", "a") as file:
        file.write("images/c.png,s1,n1,1,7.5,3,train\n")
    out = tree.parent / "out"
    out.mkdir()
    config = Config(data=Data(kind="folder", root=str(tree)), items=Items(neighbours=1))
    folder.prepare_folder(config, root=tree, out=out)
    store = item_store.open_store(out)
    a, b, again = (np.asarray(store.slices[i]) for i in range(3))
    none = np.zeros_like(a)
    for row, want in enumerate(([none, a, again], [none, b, none], [a, again, none])):
        planes, known = store.planes(row)
        np.testing.assert_array_equal(planes, want)
        np.testing.assert_array_equal(known, [plane is not none for plane in want])
    config.items.neighbours = 0
    folder.prepare_folder(config, root=tree, out=out)
    assert item_store.open_store(out).neighbours is None


def test_neighbours_are_stored_as_rows_and_shown_as_slices(tmp_path):
    """Neighbours in a folder are items, so no picture is stored twice."""
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (4, 12, 12)).astype(np.uint8)
    lines = ["image,scan,nodule,label,z_mm"]
    for i, (nodule, z) in enumerate([("n", 2.0), ("m", 0.0), ("n", 0.0), ("n", 1.0)]):
        sitk.WriteImage(sitk.GetImageFromArray(pictures[i]), str(root / f"{i}.png"))
        lines.append(f"{i}.png,s,{nodule},1,{z}")
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    config = Config()
    config.items.neighbours = 1
    folder.prepare_folder(config, root=root, out=out)
    store = item_store.open_store(out)
    pictures = np.concatenate([pictures, np.zeros_like(pictures[:1])])  # row -1: there is none
    for row, want in enumerate([(3, 0, -1), (-1, 1, -1), (-1, 2, 3), (2, 3, 0)]):
        planes, known = store.planes(row)
        np.testing.assert_array_equal(planes, pictures[list(want)])
        np.testing.assert_array_equal(known, np.array(want) >= 0)
    assert (out / "neighbours.npy").stat().st_size < pictures[0].nbytes * 2


def test_a_mask_of_another_size_is_named_before_anything_is_written(tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
        for name in ("a", "b"):
            side = 10 if (part, name) == ("masks", "b") else 12
            image = sitk.GetImageFromArray(np.ones((side, side), np.uint8))
            sitk.WriteImage(image, str(root / part / f"{name}.png"))
    out.mkdir()
    with pytest.raises(ValueError, match=r"masks/b.png: 10 x 10 pixels, but .* b.png has 12 x 12"):
        folder.prepare_folder(Config(), root=root, out=out)
    assert not list(out.iterdir())


def test_an_unknown_column_is_reported(tree):
    table = tree / "items.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{lines[0]},patient_id", *(f"{x},p" for x in lines[1:])]) + "\n")
    prepare(tree)
    (message,) = files.read_json(tree.parent / "out" / "meta.json")["messages"]
    assert "kept as text in the records: patient_id; those with a meaning: image, scan, " in message


def cube_folder(tmp_path, heights, *, masks=False, z=True):
    """Slices of constant grey 10, 20, ... of one nodule at the given heights, in the table's order,
    and one slice of another item."""
    root = tmp_path / "stack"
    lines = ["image,scan,nodule,label,z_mm"]
    for i, height in enumerate(heights):
        write(root / "images" / f"{i}.png", np.full((12, 12), 10 * (i + 1), np.uint8))
        lines.append(f"images/{i}.png,s,n,1,{height if z else ''}")
    write(root / "images" / "x.png", np.full((12, 12), 200, np.uint8))
    (root / "items.csv").write_text("\n".join([*lines, "images/x.png,t,,0,"]) + "\n")
    if masks:
        for path in (root / "images").iterdir():
            half = np.arange(12) < (12 if path.name == "x.png" else 6)
            write(root / "masks" / path.name, np.tile(half, (12, 1)).astype(np.uint8))
    return root


CUBES = Items(view="cube", cube_mm=18.0, cube_px=9, crop_mm=24.0)


def prepared_cubes(root, **fields):
    out = root.parent / "cubes"
    out.mkdir(exist_ok=True)
    items_ = dataclasses.replace(CUBES, **fields)
    folder.prepare_folder(Config(data=Data(kind="folder"), items=items_), root=root, out=out)
    return item_store.open_store(out)


@pytest.mark.parametrize(("z", "fields"), [(True, {}), (False, {"slice_mm": 2.0})])
def test_a_nodule_is_one_cube_of_all_its_slices(tmp_path, z, fields):
    """Voxels and slices are 2 mm apart, so each plane of the cube is a slice."""
    heights = [4.0, 0.0, 2.0, 6.0, 8.0] if z else [0.0] * 5
    store = prepared_cubes(cube_folder(tmp_path, heights, z=z), **fields)
    assert [item.image for item in store.items] == [
        f"images/{0 if z else 2}.png", "images/x.png"
    ]  # fmt: skip
    np.testing.assert_array_equal(store.slices[1], 200)
    greys = [20, 30, 10, 40, 50] if z else [10, 20, 30, 40, 50]
    want = np.zeros(9)
    want[2:7] = greys
    np.testing.assert_array_equal(store.cubes[0], np.broadcast_to(want, (9, 9, 9)))
    np.testing.assert_array_equal(store.cube_states[0], np.broadcast_to(2 * (want > 0), (9, 9, 9)))
    alone = 200 * (np.arange(9) == 4)
    np.testing.assert_array_equal(store.cubes[1], np.broadcast_to(alone, (9, 9, 9)))
    np.testing.assert_array_equal(store.cube_states[1] > 0, np.broadcast_to(alone > 0, (9, 9, 9)))
    assert not any(item.offset_mm for item in store.items)


def test_cubes_of_a_folder_have_its_masks(tmp_path):
    """Columns up to the middle of the slices are lung, and so of the cube."""
    store = prepared_cubes(cube_folder(tmp_path, [0.0, 2.0, 4.0], masks=True))
    states = np.where(np.arange(9) < 4, 2, 1)
    known = np.abs(np.arange(9) - 4) <= 1
    np.testing.assert_array_equal(
        np.delete(store.cube_states[0], 4, axis=1),  # its voxels lie on the edge of the mask
        np.broadcast_to(np.delete(states, 4)[:, None] * known, (9, 8, 9)),
    )
    config = Items(view="cube", cube_px=9)
    inside = views.cube(store.cubes[0], store.cube_states[0], config)
    assert not inside[:, 5:, :9].any()
    assert (inside[..., 9:] == np.where(known, 255, 0)).all()
    raw = views.cube(store.cubes[0], store.cube_states[0], Items(view="cube", segmented=False))
    np.testing.assert_array_equal(raw[..., :9], np.where(known, store.cubes[0], 0))
    assert store.lung_masks.shape == (2, 12, 12)


def test_a_query_image_is_a_cube_of_one_plane_like_a_slice_without_others(tmp_path):
    root = cube_folder(tmp_path, [0.0, 2.0, 4.0])
    store = prepared_cubes(root)
    config = Config(data=Data(kind="folder", root="x"), items=CUBES)
    stack = image_stack.stack_of(np.asarray(store.slices[1]))
    query = query_images.query_images(stack, config=config, planes=9)
    made = queries.network_input(query, CUBES)
    item = views.cube(store.cubes[1], store.cube_states[1], CUBES)
    np.testing.assert_array_equal(made, item)
    np.testing.assert_array_equal(views.known_planes(made), np.arange(9) == 4)


def test_positions_that_make_no_cube_are_named(tmp_path):
    root = cube_folder(tmp_path, [0.0, 2.0], z=False)
    with pytest.raises(ValueError, match=r"images/0\.png: z_mm of nodule 'n' .*items\.slice_mm"):
        prepared_cubes(root)
    root = cube_folder(tmp_path / "again", [0.0, 2.0, 2.0])
    with pytest.raises(ValueError, match=r"images/2\.png: z_mm 2 is that of images/1\.png too"):
        prepared_cubes(root)
    assert not (root.parent / "cubes" / "slices.rows").exists()


def test_a_cube_is_no_wider_than_its_images(tmp_path):
    root = cube_folder(tmp_path, [0.0, 2.0])
    with pytest.raises(
        ConfigError, match=r"items\.cube_mm = 25\.0: must be at most .*crop_mm = 24"
    ):
        prepared_cubes(root, cube_mm=25.0)
    assert not (root.parent / "cubes" / "slices.rows").exists()


def test_a_cube_is_not_made_of_images_that_are_higher_than_wide(tmp_path):
    """Their width is then not that of the square that they are padded to."""
    root = cube_folder(tmp_path, [0.0, 2.0])
    path = root / "images" / "1.png"
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    sitk.WriteImage(sitk.GetImageFromArray(pixels[:, 3:-3]), str(path))
    with pytest.raises(ValueError, match=r"images/1\.png: 6 x 12 pixels, higher than wide"):
        prepared_cubes(root)
    assert len(prepare(root).items) == 3
    sitk.WriteImage(sitk.GetImageFromArray(pixels[3:-3]), str(path))
    assert len(prepared_cubes(root).items) == 2


def test_the_width_of_images_is_checked_where_the_table_says_it(tmp_path):
    """Images of 12 pixels, for cubes of images 24 mm wide."""
    root = cube_folder(tmp_path, [0.0, 2.0])
    lines = (root / "items.csv").read_text().splitlines()

    def with_column(name, *values):
        rows = [f"{line},{value}" for line, value in zip(lines, (name, *values), strict=True)]
        (root / "items.csv").write_text("\n".join(rows) + "\n")

    for name, right, wrong, width in (("width_mm", 24.05, 48, "48"), ("pixel_mm", 2.0, 0.7, "8.4")):
        with_column(name, right, "", right)
        assert len(prepared_cubes(root).items) == 2
        with_column(name, right, wrong, right)
        message = rf"images/1\.png: {width} mm wide by its {name}, .*crop_mm.* is 24"
        with pytest.raises(ValueError, match=message):
            prepared_cubes(root)
        assert len(prepare(root).items) == 3  # the width of slices does not matter
    with_column("width_mm", 24, "24 mm", 24)
    with pytest.raises(ValueError, match="width_mm is '24 mm', not a number"):
        prepared_cubes(root)
