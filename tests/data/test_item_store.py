"""An item store whose files disagree."""

import numpy as np
import pytest

from inres.data import item_store, item_table, items
from inres.system.rows import rows_file


def item(**values):
    return items.Item(**{"image": "", "scan": "s", "nodule": "", "label": 0, **values})


def test_a_store_whose_parts_disagree_is_refused(tmp_path):
    item_table.write_table(tmp_path / "items.csv", [item(), item()])
    with pytest.raises(FileNotFoundError, match=r"slices\.rows"):
        item_store.open_store(tmp_path)
    np.save(tmp_path / "slices.npy", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"3, 4, 4.*2 rows"):
        item_store.open_store(tmp_path)
    (tmp_path / "slices.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"slices\.npy: damaged"):
        item_store.open_store(tmp_path)
    with rows_file(tmp_path / "slices.rows", (2, 4, 4)) as file:
        file.add(np.ones((2, 4, 4), np.uint8))
    store = item_store.open_store(tmp_path)
    assert store.lung_masks is None
    assert np.all(store.slices[1] == 1)
    assert store.column("scan").tolist() == ["s", "s"]
