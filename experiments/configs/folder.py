"""A folder of images with a table items.csv, whose columns are image,scan,label and optionally
patient, nodule, z_mm, diameter_mm, malignancy, subset and split.

    python -m experiments.reproduce --config=experiments/configs/folder.py \\
        --config.data.root=FOLDER --workdir=runs/folder

About 10 minutes on two cores, whatever the number of images (64 x 64). inres/data/README.md
describes the format: images are finished crops of one size in any format of SimpleITK, a blank is
unknown, diameter 0 is no nodule, and items of one scan or patient are never separated by a split.
Without a column `split`, set --config.split.kind=patient.

Columns of numbers, such as ratings, are properties: they are learned and compared next to the
class.

A U-Net is trained if there are masks/ next to images/; a folder with only images/ and masks/
serves `experiments.segment`. All items marked for training are used for training; to make choices,
--config.split.val_share=0.1 reserves a validation part. Where items.csv names the slices of a
nodule and their z_mm, a nodule is one item: its central slice and up to three on each side, as
channels of one image (--config.items.neighbours=0: the central slice alone).
"""

from inres.config import (
    Config,
    Data,
    Hash,
    Items,
    Loss,
    Properties,
    Segment,
    Split,
    Train,
)


def get_config() -> Config:
    """The light network on the given crops."""
    config = Config(name="folder")
    config.data = Data(kind="folder")
    config.items = Items(size_px=64, neighbours=3)
    config.split = Split(kind="column", overlap="drop", val_share=0.0)
    config.segment = Segment(size_px=64, width=16, steps=300)
    config.hash = Hash(views_weight=1.0)
    config.loss = Loss(name="graded", fine_properties=0.5)
    config.properties = Properties(weight=3.0)
    config.train = Train(
        epochs=0,
        images=200_000,
        batch=32,
        planes=3,  # of cubes, and of slices seen one by one
        zoom=1.25,
        clean_share=0.0,
        checkpoint_every=5,
        eval_every=5,
    )
    return config
