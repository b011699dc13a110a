"""What is on two sides of a split, on items few enough to count by hand."""

import numpy as np

from inres.data import leaks
from inres.data.items import Item

ITEMS = (
    Item("", "a", "a/0", 1, patient="p"),
    Item("", "a", "a/1", 1),
    Item("", "b", "b/0", 2, patient="p"),
    Item("", "c", "", 0),
    Item("", "", "d", 1),
    Item("", "", "d", 1),
    Item("", "e", "e/0", 3),
)
SIDE = np.array(["train", "test", "val", "test", "train", "test", ""])


def blank_images():
    """Seven images, of which the first and the fourth show the same disc."""
    y, x = np.mgrid[:16, :16]
    images = np.zeros((7, 16, 16), np.uint8)
    for i, (row, col) in enumerate([(4, 4), (11, 4), (4, 11), (4, 4), (11, 11), (8, 8), (4, 4)]):
        images[i] = 200 * (np.hypot(y - row, x - col) < 3)
    return images


def test_groups_on_two_sides():
    assert leaks.shared_groups(leaks.scan_texts(ITEMS), SIDE) == ["nodule d", "scan a"]
    patients = np.array(["p", "p", "p", "", "q", "q", "q"])
    assert leaks.shared_groups(patients, SIDE) == ["p", "q"]
    assert leaks.shared_groups(patients, np.array(["train"] * 7)) == []
    assert leaks.shared_groups(patients, np.array(["train"] * 3 + [""] * 4)) == []


def test_an_overlap_is_counted_and_put_into_sentences():
    found = leaks.examine(ITEMS, SIDE, blank_images())
    assert found["items"] == {"train": 2, "val": 1, "test": 3}
    # Item 1 belongs to patient p, since another item of its scan says so.
    assert found["shared"] == {"scans": 2, "patients": 1, "twins": 1}
    assert found["test_items_of_shared"] == {"scans": 2, "patients": 1, "twins": 1}
    assert found["nodule_share"] == 1.0
    assert found["examples"] == [["a/0", "c@nan,nan,nan"]]
    assert leaks.leak_lines(found) == [
        "2 of 3 test items have their scan in training or validation",
        "1 of 3 test items have their patient in training or validation",
        "1 of 3 test items have a near-identical image in training or validation",
        "100% of test nodules have a nodule of their scan in training",
    ]


def test_the_first_overlap_is_described():
    def description(side, images=None):
        return leaks.describe(ITEMS, side, leaks.find_overlap(ITEMS, np.array(side), images))

    assert description(SIDE) == "patient p is on two sides of the split (1 such patients)"
    apart = ["", "", "", "", "train", "test", ""]
    assert description(apart) == "nodule d is on two sides of the split (1 such nodules)"
    same = ["train", "", "", "test", "", "", ""]
    assert description(same, blank_images()) == (
        "a/0 (train, scan a) and c@nan,nan,nan (test, scan c) show the same picture (1 such pairs)"
    )


def test_nothing_on_two_sides_is_no_sentence():
    side = np.array(["train", "train", "train", "test", "", "", ""])
    overlap = leaks.find_overlap(ITEMS, side, None)
    assert not overlap
    assert leaks.leak_lines(leaks.count_leaks(ITEMS, side, overlap)) == []
    left_out = leaks.leak_lines(leaks.count_leaks(ITEMS, side, overlap, left_out=4))
    assert left_out[0].startswith("4 training or validation items are left out because")
