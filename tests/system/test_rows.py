"""Arrays in files of compressed rows."""

import json
import zlib

import numpy as np
import pytest

from inres.system import rows
from inres.system.rows import Rows, Selected, rows_file


@pytest.fixture
def array(rng):
    return rng.integers(0, 9, (7, 5, 6)).astype(np.uint8)


@pytest.fixture
def path(tmp_path, array):
    with rows_file(tmp_path / "a.rows", array.shape) as file:
        file.add(array[:3])
        content, lengths = rows.pack(array[3:])
        file.add_packed(content, lengths)
    return tmp_path / "a.rows"


def test_every_way_to_index(path, array):
    found = Rows(path)
    assert (found.shape, found.dtype, found.ndim, len(found)) == (array.shape, np.uint8, 3, 7)
    assert found.nbytes == array.nbytes
    np.testing.assert_array_equal(found, array)
    for key in (0, 6, -1, np.int64(3), slice(2, 5), slice(None, None, -2), slice(5, 5)):
        np.testing.assert_array_equal(found[key], array[key])
    for key in ([4, 4, 0], np.array([-1, 2]), np.array([], int)):
        np.testing.assert_array_equal(found[key], array[np.asarray(key, int)])
    for key in ((2, 3), (2, 3, 4), (slice(1, 4), 3), (slice(None), slice(2), 1), (-1, slice(2))):
        np.testing.assert_array_equal(found[key], array[key])
    for row, expected in zip(found, array, strict=True):
        np.testing.assert_array_equal(row, expected)
    for row in (7, -8):
        with pytest.raises(IndexError, match=f"row {row} of 7"):
            found[row]


def test_the_format_as_documented(path, array):
    """Another program can read it with a JSON parser and zlib."""
    content = path.read_bytes()
    line, _, rest = content.partition(b"\n")
    assert json.loads(line) == {"format": "inres.rows.1", "dtype": "|u1", "shape": [7, 5, 6]}
    starts = np.frombuffer(rest[: 8 * 8], "<i8")
    assert starts[-1] == len(content)
    for row, begin, end in zip(array, starts[:-1], starts[1:], strict=True):
        assert zlib.decompress(content[begin:end]) == row.tobytes()


def test_only_whole_rows_of_a_part_are_kept(tmp_path, array):
    content, lengths = rows.pack(array)
    with rows_file(tmp_path / "a.rows", (4, 5, 6)) as file:
        file.add_packed(content, lengths[:4])
    np.testing.assert_array_equal(Rows(tmp_path / "a.rows"), array[:4])


@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6)])
def test_empty_arrays(tmp_path, shape):
    with rows_file(tmp_path / "a.rows", shape) as file:
        file.add(np.zeros(shape, np.uint8))
    assert np.asarray(Rows(tmp_path / "a.rows")).shape == shape
    assert [len(part) for part in rows.pack([])] == [0, 0]


def test_too_few_rows_leave_no_file(tmp_path, array):
    with (
        pytest.raises(ValueError, match="7 rows instead of 8"),
        rows_file(tmp_path / "a.rows", (8, 5, 6)) as file,
    ):
        file.add(array)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 3, 40, 70, 100, -1])
def test_truncated_files_are_refused(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"a\.rows: damaged.*again"):
        Rows(path, "make it again")


def test_a_damaged_row_is_named_when_it_is_read(path, array):
    content = bytearray(path.read_bytes())
    content[-3] ^= 255
    path.write_bytes(content)
    found = Rows(path, "make it again")
    np.testing.assert_array_equal(found[0], array[0])
    with pytest.raises(ValueError, match=r"a\.rows: damaged.*again"):
        found[6]


def test_other_files_are_refused(tmp_path):
    for content in (b"[1]\n", b'{"format": "other"}\n', b"\xff\xfe\n"):
        (tmp_path / "a.rows").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.rows: damaged"):
            Rows(tmp_path / "a.rows")
    with pytest.raises(FileNotFoundError, match="none"):
        Rows(tmp_path / "none.rows")


def test_some_rows_of_an_array(path, array):
    chosen = np.array([6, 0, 3, 3])
    for whole in (array, Rows(path)):
        part = Selected(whole, chosen)
        assert (part.shape, part.dtype, part.ndim, len(part)) == ((4, 5, 6), np.uint8, 3, 4)
        np.testing.assert_array_equal(part[1:3], array[[0, 3]])
        np.testing.assert_array_equal(part[np.array([3, 0])], array[[3, 6]])


def test_images_in_either_kind_of_file(path, array):
    stem = path.with_name("b")
    assert rows.open_images(stem) is None
    np.save(stem.with_suffix(".npy"), array)
    np.testing.assert_array_equal(rows.open_images(stem), array)
    np.testing.assert_array_equal(rows.open_images(path.with_name("a")), array)
