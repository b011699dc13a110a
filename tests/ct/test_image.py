"""Single grey images and the meaning of their types."""

import numpy as np
import pytest
import SimpleITK as sitk
from ct.scans import NOISE, write

from inres.ct import image
from inres.ct.header import ScanError


def test_images_of_all_kinds(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for suffix in ("png", "bmp", "tif"):
        path = tmp_path / f"grey.{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))
        np.testing.assert_array_equal(image.read_image(path), grey)
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0], colour[0, 1], colour[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    colour[1, 1] = 100
    path = tmp_path / "colour.png"
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(path))
    np.testing.assert_array_equal(image.read_image(path), [[76, 150], [29, 100]])
    alpha = np.dstack([colour, np.full((2, 2), 7, np.uint8)])
    path = tmp_path / "alpha.png"
    sitk.WriteImage(sitk.GetImageFromArray(alpha, isVector=True), str(path))
    np.testing.assert_array_equal(image.read_image(path), [[76, 150], [29, 100]])
    np.testing.assert_array_equal(image.read_image(write(tmp_path / "a.mha")), NOISE)
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(ScanError, match=r"no\.png.*not an image"):
        image.read_image(tmp_path / "no.png")


def test_grey8_by_type():
    window = {"hu_min": -1200.0, "hu_max": 600.0, "name": "a.png"}
    eight = np.array([[0, 7, 255]], np.uint8)
    np.testing.assert_array_equal(image.to_grey8(eight, **window), eight)
    hu = np.array([-3000, -1200, -300, 600, 3000], np.int16)
    np.testing.assert_array_equal(image.to_grey8(hu, **window), [0, 0, 128, 255, 255])
    np.testing.assert_array_equal(image.to_grey8(np.array([np.nan, -300.0]), **window), [0, 128])
    full = np.array([0, 257, 65535], np.uint16)
    np.testing.assert_array_equal(image.to_grey8(full, **window), [0, 1, 255])
    with pytest.raises(ScanError, match=r"a\.png: uint32"):
        image.to_grey8(np.array([0, 4000], np.uint32), **window)


def test_twelve_bits_in_sixteen_are_reported():
    assert "from 0 to 4095" in image.twelve_bits(0, 4095)
    assert image.twelve_bits(32768, 32768 + 3000)
    assert not image.twelve_bits(0, 4096)
    assert not image.twelve_bits(7, 7)  # blank
