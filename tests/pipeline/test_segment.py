"""What the segment stage writes: pairs and masks, piece by piece and to be read from disk."""

import numpy as np
import pytest

from inres.config import Config, Data, Items
from inres.data import views
from inres.data.item_store import ItemStore
from inres.pipeline import artifacts, networks, segment
from inres.system.rows import Rows


@pytest.fixture
def store(tmp_path):
    """100 slices of noise with a disc as mask; nothing here asks for their items."""
    rng = np.random.default_rng(0)
    row, col = np.indices((48, 48))
    discs = np.hypot(row - 24, col - rng.uniform(15, 33, (100, 1, 1))) < 12
    slices = rng.integers(0, 256, discs.shape, dtype=np.uint8)
    return ItemStore(tmp_path, [], slices, discs.astype(np.uint8))


def paths(folder):
    return {name: folder / f"{name}.npy" for name in ("image", "mask")}


def test_pairs_are_the_slices_at_the_size_of_the_network_and_stay_on_disk(store, tmp_path):
    rows = np.array([2, 3, 50])
    pairs = segment.write_pairs(store, rows, 16, paths(tmp_path))
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(pairs["image"][i], views.resize(store.slices[row], 16))
        inside = views.resize(store.lung_masks[row] * np.uint8(255), 16) > 127
        np.testing.assert_array_equal(pairs["mask"][i], inside)
    for array in pairs.values():
        assert isinstance(array, np.memmap)
        assert array.dtype == np.uint8


def test_pairs_that_are_there_are_found_again(store, tmp_path):
    def made():
        segment.write_pairs(store, np.arange(4), 16, paths(tmp_path))
        return [(path.stat().st_ino, path.read_bytes()) for path in paths(tmp_path).values()]

    before = made()
    assert made() == before
    paths(tmp_path)["mask"].unlink()  # as if killed between the two
    assert [data for _, data in made()] == [data for _, data in before]


def test_masks_take_room_as_they_are_written(store, tmp_path):
    """A full disk raises an error; in a file that has its full size already it is a bus error."""
    sizes = []

    def bright():
        for first in range(0, 100, 32):
            sizes.append(sum(path.stat().st_size for path in tmp_path.rglob("*.rows")))
            yield (store.slices[first : first + 32] > 127).astype(np.uint8)

    segment.write_masks(bright(), store.slices.shape, tmp_path)
    masks = Rows(tmp_path / "masks.rows")
    assert len(sizes) == 4
    assert max(sizes) < (tmp_path / "masks.rows").stat().st_size < masks.nbytes / 4
    np.testing.assert_array_equal(masks, np.asarray(store.slices) > 127)


def test_missing_slices_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"audit_slices\.rows: no such file; run the prep"):
        segment.segmented(Config(), tmp_path, tmp_path / "audit_slices")


def test_cubes_from_scans_never_load_the_unet(tmp_path, monkeypatch):
    """Their lungs are those of the repaired mask, in the archive and of a query."""
    monkeypatch.setattr(networks, "unet_variables", lambda folder: {})
    cubes = Items(view="cube")
    assert networks.load_segmenter(Config(), tmp_path) is None  # no masks were made
    (tmp_path / "segment").mkdir()
    (tmp_path / "segment" / artifacts.MASKS).touch()
    assert networks.load_segmenter(Config(items=cubes, data=Data(kind="luna16")), tmp_path) is None
    assert networks.load_segmenter(Config(), tmp_path)
    assert networks.load_segmenter(Config(items=cubes, data=Data(kind="folder")), tmp_path)
