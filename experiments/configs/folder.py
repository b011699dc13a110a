"""Any folder with images and items.csv: image,scan,label and what is known of patient, nodule,
z_mm, diameter_mm, malignancy, subset and split.

    python -m experiments.reproduce --config=experiments/configs/folder.py \\
        --config.data.root=FOLDER --workdir=runs/folder

A blank is unknown; diameter 0 is no nodule; `scan` groups what must not be split, and so does a
column `patient`, where there is one. The images are crops already, of one size, in whatever
SimpleITK reads. With masks/ beside images/, a U-Net learns them; a folder of images/ and masks/
alone serves `experiments.segment`. Without a split column, set --config.split.kind=patient.
All items marked for training train; --config.split.val_share=0.1 leaves a validation part, to
choose by. Where items.csv names the slices of a nodule, each is seen with three neighbours on
either side (--config.items.neighbours=0: alone). About 8 minutes for 4,000 images of 64 x 64 on
two cores.
"""

from inres.config import Config, Data, Items, Segment, Split, Train


def get_config() -> Config:
    """The light network on crops as they are."""
    config = Config(name="folder")
    config.data = Data(kind="folder")
    config.items = Items(size_px=64, neighbours=3)
    config.split = Split(kind="column", overlap="drop", val_share=0.0)
    config.segment = Segment(size_px=64, width=16, steps=300)
    config.train = Train(eval_every=5)
    return config
