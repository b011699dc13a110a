"""What training looks at before it starts."""

from pathlib import Path

import numpy as np
import pytest

from experiments import train


def test_blank_images_are_counted_and_nothing_else_is_refused():
    images = np.zeros((6, 4, 4, 3), np.uint8)
    path = Path("w/inputs.npy")
    with pytest.raises(ValueError, match=r"inputs.npy: all 2 training images are blank .*--config"):
        train.look_for_blanks(images, np.array([0, 3]), path)
    images[3, 1, 2, 0] = 1  # a neighbour alone
    (note,) = train.look_for_blanks(images, np.array([0, 2, 3]), path)
    assert note.startswith("2 of 3 training images are blank")
    assert train.look_for_blanks(images, np.array([3]), path) == []
