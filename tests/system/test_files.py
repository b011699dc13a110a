import contextlib
import errno
import fcntl
import io
import os
import pickle
import sys
import time
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from inres.system import files


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "a.json"
    files.write_json(path, {"a": [1, None]})
    assert files.read_json(path) == {"a": [1, None]}

    def fail():
        with files.atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert files.read_json(path) == {"a": [1, None]}
    assert os.listdir(path.parent) == ["a.json"]


def test_a_directory_replaces_a_full_one(tmp_path):
    for text in ("old", "new"):
        with files.atomic_path(tmp_path / "d") as part:
            part.mkdir()
            (part / text).write_text(text)
    assert os.listdir(tmp_path / "d") == ["new"]
    assert os.listdir(tmp_path) == ["d"]


def killed(path):
    """Leave the files of a killed writer of `path`."""
    with (
        mock.patch("shutil.rmtree"),
        contextlib.suppress(KeyboardInterrupt),
        files.atomic_path(path) as part,
    ):
        part.write_text("half")
        raise KeyboardInterrupt


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    root = tmp_path / "root"
    own = (".git", ".vscode.settings", ".a.npy.abcd1234", "notes.inres-part", ".inres-part")
    for name in own:
        (root / "deep" / name).mkdir(parents=True)
    (root / "deep" / ".a.npy.abcd1234.inres-part").write_text("a file")
    killed(tmp_path / "elsewhere" / "c.npy")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    files.write_text(root / "a.npy", "whole")
    before = {*root.rglob("*")}
    killed(root / "a.npy")
    killed(root / "deep" / ".b")
    assert len({*root.rglob("*")}) == len(before) + 4
    files.remove_leftovers(root)
    assert {*root.rglob("*")} == before
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_the_next_writer_removes_what_a_killed_one_left_and_no_process_uses(tmp_path):
    path, other = tmp_path / "a[1].json", tmp_path / "b.json"
    (tmp_path / ".a[1].json.abcdefgh").mkdir()
    own = {*tmp_path.iterdir()}

    def holds():
        return {*tmp_path.iterdir()} - own - {path}

    killed(path)
    (young,) = holds()
    files.write_text(path, "1")
    assert holds() == {young}
    long_ago = time.time() - 2 * files.ABANDONED_SECONDS
    os.utime(young, (long_ago, long_ago))
    killed(other)
    (others,) = holds() - {young}
    os.utime(others, (long_ago, long_ago))
    with files.atomic_path(path) as part:
        assert holds() == {others, part.parent}  # the old one is gone, that of another file is not
        os.utime(part.parent, (long_ago, long_ago))
        files.write_text(path, "2")
        files.remove_abandoned(tmp_path)
        assert holds() == {part.parent}  # its writer is alive
        part.write_text("3")
    assert path.read_text() == "3"
    assert holds() == set()


def test_a_directory_moved_aside_by_a_killed_writer_is_restored(tmp_path):
    (tmp_path / "d.x").mkdir()
    (tmp_path / "d.x" / "whole").touch()
    with (
        mock.patch.object(files, "_exchange", return_value=False),
        mock.patch.object(os, "replace", side_effect=KeyboardInterrupt),
        mock.patch("shutil.rmtree"),
        contextlib.suppress(KeyboardInterrupt),
        files.atomic_path(tmp_path / "d.x") as part,
    ):
        part.mkdir()
    assert not (tmp_path / "d.x").exists()
    files.remove_leftovers(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["d.x", "d.x/whole"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can exchange two names")
def test_a_directory_is_never_absent_while_it_is_replaced(tmp_path):
    (tmp_path / "d").mkdir()
    with (
        mock.patch.object(os, "replace", side_effect=AssertionError),
        mock.patch.object(Path, "rename", side_effect=AssertionError),
        files.atomic_path(tmp_path / "d") as part,
    ):
        part.mkdir()
        (part / "new").touch()
    assert os.listdir(tmp_path / "d") == ["new"]
    assert os.listdir(tmp_path) == ["d"]


def test_a_directory_is_replaced_where_names_cannot_be_exchanged(tmp_path):
    (tmp_path / "d" / "old").mkdir(parents=True)
    with (
        mock.patch.object(files, "_exchange", return_value=False),
        files.atomic_path(tmp_path / "d") as part,
    ):
        part.mkdir()
    assert os.listdir(tmp_path / "d") == []
    assert os.listdir(tmp_path) == ["d"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"a\.json: damaged"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b'{"a": "\xe4"}')
    with pytest.raises(ValueError, match=r"a\.json: damaged JSON .*; restore it from a copy$"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.json: damaged JSON .*; make it again$"):
        files.read_json(tmp_path / "a.json", remedy="make it again")


def flipped(data):
    """Bytes with one changed byte in the middle."""
    return data[:100] + bytes([data[100] ^ 255]) + data[101:]


def half(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize("mmap", [False, True])
def test_a_damaged_array_is_named(tmp_path, mmap):
    path, array = tmp_path / "a.npy", np.arange(1000).reshape(10, 100)
    np.save(path, array)
    np.testing.assert_array_equal(files.load_array(path, mmap=mmap), array)
    good = path.read_bytes()
    np.savez(tmp_path / "b.npz", a=array)
    np.save(tmp_path / "c.npy", np.array([None], object))
    others = [(tmp_path / name).read_bytes() for name in ("b.npz", "c.npy")]
    for bad in (b"", b"x", good[:8], good[:60], half(good), *others):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"a\.npy: damaged \(.*\); make it again$"):
            files.load_array(path, "make it again", mmap=mmap)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.npy: no such file; make it again$"):
        files.load_array(path, "make it again", mmap=mmap)


def test_mapped_arrays_are_those_that_numpy_reads(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "floats": rng.random((7, 3), np.float32),
        "turned": np.asfortranarray(rng.random((5, 4))),
        "half": rng.random(9).astype(np.float16),
        "empty": np.zeros((0, 3), np.int32),
        "one": np.array(3, np.uint8),
        "texts": np.array(["a", "bc"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = files.load_arrays(tmp_path / "a.npz", mmap=True)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
        assert isinstance(found["floats"], np.memmap) == (save is np.savez)
    # Names and further fields of other lengths precede the data where others write the archive.
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        for name in ("floats", "turned"):
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.extra = b"\x99\x99\x03\x00abc"
            archive.writestr(entry, npy(arrays[name]))
    found = files.load_arrays(tmp_path / "b.npz", ["turned"], mmap=True)
    np.testing.assert_array_equal(found["turned"], arrays["turned"])


def npy(array):
    """The content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_mapped_array_of_another_size_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(100))[:-8])
    with pytest.raises(ValueError, match=r"a\.npz: damaged \(the size of a is not"):
        files.load_arrays(tmp_path / "a.npz", mmap=True)


@pytest.mark.parametrize("mmap", [False, True])
def test_every_changed_byte_of_a_header_is_damage_or_harmless(tmp_path, mmap):
    """NumPy reads a header by Python's own parser, whose errors are of several kinds."""
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6, dtype=np.uint8))
    good = path.read_bytes()
    for place in range(len(good) - 6):
        path.write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
        with contextlib.suppress(ValueError):
            files.load_array(path, mmap=mmap)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_damaged_arrays_are_named(tmp_path, write):
    path, array = tmp_path / "a.npz", np.random.default_rng(0).random((10, 100))
    write(path, x=array, y=-array)
    both = files.load_arrays(path)
    assert [*both] == ["x", "y"]
    np.testing.assert_array_equal(both["y"], -array)
    assert [*files.load_arrays(path, ("y",))] == ["y"]
    good = path.read_bytes()
    np.save(tmp_path / "b.npy", array)
    for bad in (b"", b"x", half(good), flipped(good), (tmp_path / "b.npy").read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"a\.npz: damaged \(.*\); make it again$"):
            files.load_arrays(path, ("x", "y"), "make it again")
    path.write_bytes(good)
    with pytest.raises(ValueError, match=r"a\.npz: damaged \(.*z.*\); make it again$"):
        files.load_arrays(path, ("x", "z"), "make it again")


def test_a_csv_is_checked(tmp_path):
    path = tmp_path / "a.csv"
    files.write_csv(path, ("x", "y"), [{"x": 1, "y": "a,b"}, {"x": 2}])
    assert files.read_csv(path, ("x", "y")) == [{"x": "1", "y": "a,b"}, {"x": "2", "y": ""}]
    with pytest.raises(ValueError, match=r"a\.csv: column z missing"):
        files.read_csv(path, ("x", "z"))
    path.write_text("x,y\n1,2\n3\n")
    with pytest.raises(ValueError, match="line 3"):
        files.read_csv(path, ("x",))
    with pytest.raises(FileNotFoundError, match="expected columns x"):
        files.read_csv(tmp_path / "b.csv", ("x",))


def test_a_file_that_is_not_csv_is_named(tmp_path):
    path = tmp_path / "a.csv"
    for encoding in ("latin-1", "utf-16", "utf-16-le", "utf-32-be"):
        path.write_bytes("x,y\n1,Müller\n".encode(encoding))
        with pytest.raises(ValueError, match=r"a\.csv: .*UTF-8; save it as UTF-8 CSV"):
            files.read_csv(path, ("x",))
    for end in ("5" * 200_000, "5,6\n7,8\n"):
        path.write_text('x,y\n1,2\n3,"4\n' + end)
        with pytest.raises(ValueError, match=r"a\.csv: line 3 or below: .*quote"):
            files.read_csv(path, ("x",))


def test_column_names_are_stripped_and_unique(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(" x,y ,,\n1,2,,\n\n3,4,,\n")
    found = [(line, row["x"], row["y"]) for line, row in files.read_csv_lines(path, ("x", "y"))]
    assert found == [(2, "1", "2"), (4, "3", "4")]
    path.write_text("x,y, x\n1,2,3\n")
    with pytest.raises(ValueError, match=r"a\.csv: column x occurs twice"):
        files.read_csv(path, ("x",))


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1,5"])
def test_a_number_is_finite(text):
    with pytest.raises(ValueError, match=r"f\.csv: line 7: d is"):
        files.number({"d": text}, "d", where="f.csv: line 7")
    assert files.number({"d": " 2.5 "}, "d", where="") == 2.5


def test_what_is_no_file_is_said_without_opening_it(tmp_path):
    path = tmp_path / "a"
    assert files.no_file(path) == "no such file"
    path.write_text("x")
    assert files.no_file(path) == ""
    link, loop, pipe = (tmp_path / name for name in ("link", "loop", "pipe"))
    link.symlink_to("a")
    assert files.no_file(link) == ""
    path.unlink()
    assert files.no_file(link) == "a link to a, which is not there"
    loop.symlink_to("loop")
    assert files.no_file(loop) == "a link to loop, which is not there"
    os.mkfifo(pipe)
    for special in (pipe, Path("/dev/zero")):
        assert files.no_file(special) == "a pipe or device, not a regular file"
    assert files.no_file(tmp_path) == "a folder, not a file"
    assert "too long" in files.no_file(tmp_path / ("x" * 300))
    assert files.no_file(tmp_path / "a\0b") == "no such file"
    assert files.exists(tmp_path)
    assert not any(files.exists(tmp_path / name) for name in ("x", "x" * 300, "a\0b"))
    with pytest.raises(FileNotFoundError, match=r"pipe: a pipe or .*; expected columns x"):
        files.read_csv(pipe, ("x",))


def test_a_full_disk_is_named_whichever_library_met_it(tmp_path):
    """SimpleITK raises RuntimeError, Orbax ValueError; a quota is a full disk for its user."""
    for number in files.FULL_DISK:
        said = os.strerror(number)
        for error in (
            RuntimeError(f"cannot be written\nReason: {said}"),
            ValueError(f"x {said} y"),
        ):
            with (
                pytest.raises(OSError, match=r"disk is full.*; free some space.*/a\.bin'") as found,
                files.atomic_path(tmp_path / "a.bin"),
            ):
                raise error
            assert found.value.errno == number
            assert str(pickle.loads(pickle.dumps(found.value))) == str(found.value)
    with pytest.raises(ValueError, match="other"), files.full_disk_named(tmp_path):
        raise ValueError("other")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path):
    def fill():
        with files.atomic_path(tmp_path / "a.bin") as part:
            part.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"disk is full; free some space.*/a\.bin'") as error:
        fill()
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_reported_before_writing(tmp_path):
    files.require_space(tmp_path, 1)
    with pytest.raises(OSError, match=r"1e\+09 GB are needed.*free some space"):
        files.require_space(tmp_path, 10**18)


def test_a_lock_has_one_holder(tmp_path):
    with (
        files.lock(tmp_path / "lock", ValueError("first")),
        pytest.raises(ValueError, match="second"),
        files.lock(tmp_path / "lock", ValueError("second")),
    ):
        pass
    with files.lock(tmp_path / "lock", ValueError("third")):
        pass


def test_a_momentary_test_of_a_lock_is_waited_for(tmp_path):
    handle = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    waits = []

    def wait(seconds):
        waits.append(seconds)
        os.close(handle)

    with (
        mock.patch("time.sleep", side_effect=wait),
        files.lock(tmp_path / "lock", ValueError("held")),
    ):
        assert len(waits) == 1


def test_a_replaced_lock_file_is_not_a_lock(tmp_path):
    def replace(handle, _):
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").touch()

    with (
        mock.patch("fcntl.flock", side_effect=replace),
        pytest.raises(ValueError, match="held"),
        files.lock(tmp_path / "lock", ValueError("held")),
    ):
        pass


def test_numeric_columns_hold_nothing_but_numbers_and_blanks():
    rows = [
        {"a": "1.5", "b": " ", "c": "", "d": "3", "e": "nan", "f": "x"},
        {"a": " 2", "b": "-1e3", "c": "", "d": "high", "e": "1", "f": "y"},
    ]
    assert files.numeric_columns(rows) == ("a", "b")
    assert files.numeric_columns(rows, known="def") == ("a", "b", "d", "e")
    assert files.numeric_columns([]) == ()


def test_names_of_digits_are_no_numbers():
    """Identifiers such as LUNA25's nodules, and names with leading zeros, stay what they are."""
    rows = [{"a": "100570_1", "b": "007", "c": "0", "d": "-0.5", "e": "00"}]
    assert files.numeric_columns(rows) == ("c", "d")
    assert files.numeric_columns(rows, known="be") == ("b", "c", "d", "e")
    with pytest.raises(ValueError, match="a is '100570_1', not a number"):
        files.number(rows[0], "a", where="x")
