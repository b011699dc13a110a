"""A small scan as a file of any format."""

import numpy as np
import SimpleITK as sitk
from ct.trees import to_image

NOISE = np.random.default_rng(0).integers(-1000, 1000, (6, 16, 20)).astype(np.int16)
FORMATS = ("mhd", "mha", "nrrd", "nii", "nii.gz")


def write(path, array=NOISE, *, compress=True):
    image = to_image(array, (0.7, 0.8, 2.5), (-100, 50, 20), np.diag([-1.0, -1.0, 1.0]))
    sitk.WriteImage(image, str(path), compress)
    return path
