"""LUNA25: luna25_images/<SeriesInstanceUID>.mha and LUNA25_Public_Training_Development_Data.csv,
from luna25.grand-challenge.org.

    python -m experiments.reproduce --config=experiments/configs/luna25.py \\
        --config.data.root=LUNA25 --workdir=runs/luna25

4,069 scans of 2,120 patients with 6,163 nodules, 555 of them malignant. Items are labelled by that,
since no diameter is known. Patients have scans of up to three dates and stay together in the split;
the column `nodule_id` tells which findings are one nodule. Preparation takes a day on few cores and
resumes per scan; train on a GPU or TPU. The 200,000 images were chosen on sets of a few hundred
items and show each place about twenty times; with a GPU, try more (--config.train.images).
"""

from inres.config import Config, Data, Items, Model, Segment, Split, Train


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="luna25")
    config.data = Data(kind="luna25")
    config.items = Items(label="malignant", normals=1000, view="cube", cube_mm=48.0, cube_px=47)
    config.split = Split(kind="patient")
    config.segment = Segment(width=16, depth=4, size_px=192, steps=2000)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=2)
    return config
