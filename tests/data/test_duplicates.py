"""Copies of a picture are found as twins, other pictures are not."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from inres.data import duplicates


def patches(count, size=50, seed=0):
    """Smooth textures with a blob, similar to crops of lung."""
    rng = np.random.default_rng(seed)
    images = ndimage.gaussian_filter(rng.normal(size=(count, size, size)), (0, 3, 3))
    images = 60 + 40 * images / images.std()
    y, x = np.mgrid[:size, :size]
    for image in images:
        row, col = rng.uniform(0.3 * size, 0.7 * size, 2)
        image += rng.uniform(60, 120) * (np.hypot(y - row, x - col) < rng.uniform(3, 9))
    return np.clip(images + rng.normal(0, 3, images.shape), 0, 255).astype(np.uint8)


def blobs(count, size=64, seed=0):
    """Bright discs on black, like segmented nodules."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    out = np.zeros((count, size, size))
    for image in out:
        row, col = size / 2 + rng.uniform(-2, 2, 2)
        inside = np.hypot(y - row, x - col) < rng.uniform(4, 14)
        texture = ndimage.gaussian_filter(rng.normal(size=(size, size)), 1.5)
        image[inside] = (150 + 40 * texture / texture.std())[inside]
    return np.clip(out, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory):
    """Saved and read again as JPEG of quality 75."""
    path = str(tmp_path_factory.mktemp("jpeg") / "image.jpg")

    def again(image):
        sitk.WriteImage(sitk.GetImageFromArray(image), path, True, 75)
        return sitk.GetArrayFromImage(sitk.ReadImage(path))

    return again


def moved(image, dy, dx):
    """The picture shifted by a pixel, with its edge repeated."""
    return ndimage.shift(image, (dy, dx), order=0, mode="nearest")


CHANGES = {
    "copied": lambda image, jpeg: image,
    "JPEG": lambda image, jpeg: jpeg(image),
    "moved": lambda image, jpeg: moved(image, 1, -1),
    "brighter": lambda image, jpeg: np.minimum(image, 254) + np.uint8(1),
    "all at once": lambda image, jpeg: jpeg(np.minimum(moved(image, 0, 1), 254) + np.uint8(1)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [patches, blobs])
def test_an_injected_duplicate_is_found_and_nothing_else(change, make, jpeg):
    left, right = make(120), make(40, seed=1)
    assert len(duplicates.twins(left, right)) == 0
    for row in range(0, 40, 4):
        right[row] = CHANGES[change](left[3 * row], jpeg)
    want = [[3 * row, row] for row in range(0, 40, 4)]
    assert duplicates.twins(left, right).tolist() == want
    assert duplicates.twins(right, left).tolist() == [[b, a] for a, b in want]


def test_duplicates_injected_into_real_crops(real_data, jpeg):
    """Real lung crops: every tenth query is a changed gallery image; only those are found."""
    root = real_data("luna16_patches") / "images"
    paths = sorted(root.glob("*.jpg"))[::16]
    images = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in paths])
    left, right = images[::2], images[1::2].copy()
    assert len(duplicates.twins(left, right)) == 0
    change = CHANGES["all at once"]
    for row in range(0, len(right), 10):
        right[row] = change(left[row], jpeg)
    assert duplicates.twins(left, right).tolist() == [[r, r] for r in range(0, len(right), 10)]


def test_large_slices_are_compared_as_thumbnails(jpeg):
    slices = patches(12, size=200)
    small = duplicates.thumbnails(slices)
    assert small.shape == (12, 64, 64)
    assert small.mean() == pytest.approx(slices.mean(), abs=0.6)
    again = duplicates.thumbnails(np.stack([jpeg(moved(s, 1, 1)) for s in slices[:3]]))
    assert duplicates.twins(small, again).tolist() == [[0, 0], [1, 1], [2, 2]]
    even = np.repeat(np.repeat(slices[:2, :64, :64], 2, axis=1), 2, axis=2)
    assert np.array_equal(duplicates.thumbnails(even), slices[:2, :64, :64])


def test_blank_images_pair_once_each():
    """A hundred black slices on either side form 199 pairs, not 10,000; grey ones differ."""
    left, right = np.zeros((100, 16, 16), np.uint8), np.zeros((100, 16, 16), np.uint8)
    right[60:] = 200
    pairs = duplicates.twins(left, right)
    assert set(pairs[:, 0]) == set(range(100))
    assert set(pairs[:, 1]) == set(range(60))
    assert len(pairs) == 100 + 60 - 1
    assert duplicates.twins(left[:0], right).shape == (0, 2)
    with pytest.raises(ValueError, match=r"\(16, 16\) and \(8, 8\)"):
        duplicates.twins(left, right[:, :8, :8])


@given(st.integers(0, 1000), st.integers(8, 40))
def test_difference_is_that_of_the_best_shift(seed, size):
    """Compared with shifting, masking and measuring one pair at a time."""
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 4, (size, size)).astype(np.uint8) * 20 for _ in range(2))
    best = np.inf
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            c = moved(b, dy, dx)
            there = np.zeros((size, size), bool)
            for image, base in ((a, a), (c, b)):
                common = np.bincount(base.ravel()).argmax()
                there |= np.abs(image.astype(int) - common) > 2
            gap = (a.astype(float) - c)[1:-1, 1:-1][there[1:-1, 1:-1]]
            best = min(best, np.sqrt(np.mean(gap**2)))
    assert duplicates.difference(a[None], b[None])[0] == pytest.approx(best, rel=1e-5)
