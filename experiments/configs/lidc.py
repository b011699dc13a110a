"""The LIDC-IDRI as TCIA provides it: DICOM series, and four radiologists' marks as XML.

    python -m experiments.reproduce --config=experiments/configs/lidc.py \\
        --config.data.root=LIDC-IDRI --workdir=runs/lidc

Download the images (125 GB) and the annotations (XML, 8 MB) from
https://www.cancerimagingarchive.net/collection/lidc-idri/ into one folder; names and order of the
folders in it do not matter, and the XML may stay zipped. A part of the series is enough.

Preparing 1,018 scans takes hours on few cores and resumes per scan; train on a GPU or TPU. An item
is a nodule that at least 3 of 4 readers marked with 3 mm or more (--config.data.min_readers,
--config.data.min_diameter_mm); its ratings are learned next to its size. Split by patient. Scans
with slices further apart than 2.5 mm are excluded (--config.data.max_thickness_mm). What LUNA16
lists is what is found here: `experiments.lidc_check` compares them.
"""

from inres.config import Config, Data, Items, Model, Properties, Segment, Split, Train

NOT_COMPARED = ("readers", "volume_mm3", "extent_mm", "internal_structure")
"""Columns of numbers that say nothing of appearance, repeat the diameter, or are kinds."""


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="lidc")
    config.data = Data(kind="lidc")
    config.items = Items(normals=1000, view="cube", cube_mm=48.0, cube_px=47)
    config.split = Split(kind="patient", test_share=0.2, val_share=0.1)
    config.properties = Properties(importance=tuple(f"{name}=0" for name in NOT_COMPARED))
    config.segment = Segment(width=16, depth=4, size_px=192, steps=2000)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=10)
    return config
