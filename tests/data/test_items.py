import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.data import items


def item(**values):
    return items.Item(**{"image": "", "scan": "s", "nodule": "", "label": 0, **values})


def test_classes_are_table_2s_where_labels_are_sizes():
    unknown, known = np.full(3, np.nan), np.array([4.0, 7.0, np.nan])
    assert items.class_count(np.array([1, 3, 2]), known) == 8
    assert items.class_count(np.array([1, 3, 2]), unknown) == 4
    assert items.class_count(np.array([0, 1, 1]), known) == 2  # nodule or not
    assert items.class_count(np.array([0, 9, 1]), known) == 10


@given(st.floats(0.001, 200.0))
def test_size_class_counts_the_edges_below(diameter):
    assert items.size_class(diameter) == 1 + sum(edge <= diameter for edge in (5, 6, 8, 13, 18, 23))


def test_no_nodule_is_class_zero_and_nonsense_is_refused():
    assert items.size_class(np.array([0.0, 4.99, 5.0, 23.0])).tolist() == [0, 1, 2, 7]
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            items.size_class(bad)


def test_a_table_comes_back_as_it_was(tmp_path):
    rows = [item(scan="a,b", diameter_mm=1 / 3), item(image="ü.png", label=-1, subset=3, row=2.5)]
    items.write_table(tmp_path / "items.csv", rows)
    again = items.read_table(tmp_path / "items.csv")
    assert repr(again) == repr(rows)  # NaN is not equal to itself


def test_every_bad_line_is_reported(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("image,scan,label,diameter_mm\na,s,1,x\nb,s,1.5,3\nc,s,1,-2\nd,s,1,4\n")
    with pytest.raises(ValueError, match=r"line 2.*\n.*line 3.*\n.*line 4"):
        items.read_table(path)
    path.write_text("image,scan\n")
    with pytest.raises(ValueError, match="column label missing"):
        items.read_table(path)
    path.write_text("image,scan,label\n")
    with pytest.raises(ValueError, match="no items"):
        items.read_table(path)


def test_a_store_whose_parts_disagree_is_refused(tmp_path):
    items.write_table(tmp_path / "items.csv", [item(), item()])
    with pytest.raises(FileNotFoundError, match=r"slices\.npy"):
        items.open_store(tmp_path)
    np.save(tmp_path / "slices.npy", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"3, 4, 4.*2 rows"):
        items.open_store(tmp_path)
    (tmp_path / "slices.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"slices\.npy: damaged"):
        items.open_store(tmp_path)
    np.save(tmp_path / "slices.npy", np.zeros((2, 4, 4), np.uint8))
    store = items.open_store(tmp_path)
    assert store.lung_masks is None
    assert store.column("scan").tolist() == ["s", "s"]


def test_every_item_has_a_name_and_a_patient():
    rows = [
        item(image="a.png", scan="s", patient="p"),
        item(image="a.png", scan="s"),
        item(nodule="n", scan="t"),
        item(scan="t", x_mm=1.5, y_mm=2.0, z_mm=-3.25),
        item(scan="t", x_mm=1.5, y_mm=2.0, z_mm=-3.25),
        item(scan="", image="b.png"),
    ]
    assert items.item_names(rows).tolist() == [
        "a.png",
        "a.png#2",
        "n",
        "t@1.5,2,-3.25",
        "t@1.5,2,-3.25#2",
        "b.png",
    ]
    assert items.patients(rows).tolist() == ["p", "p", "t", "t", "t", ""]
