"""Data Science Bowl 2017: stage1/<patient>/*.dcm and stage1_labels.csv, stage1_solution.csv, and
the same of stage 2, from kaggle.com/c/data-science-bowl-2017.

    python -m experiments.reproduce --config=experiments/configs/dsb2017.py \\
        --config.data.root=DSB2017 --workdir=runs/dsb2017

1,595 patients in stage 1 and 506 in stage 2, one scan each, labelled by a diagnosis of cancer
within a year. No nodule is marked: items are eight places spread evenly through the lungs of each
scan, with the scan's label. Test are the patients whose labels came later. Preparation takes hours
on few cores and resumes per scan; train on a GPU or TPU. The 200,000 images were chosen on sets of
a few hundred items and show each place of stage 1 about nine times; with a GPU, try more
(--config.train.images).
"""

from inres.config import Config, Data, Items, Model, Segment, Split, Train


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="dsb2017")
    config.data = Data(kind="dsb2017")
    config.items = Items(
        label="cancer", places_per_scan=8, normals=0, view="cube", cube_mm=48.0, cube_px=47
    )
    config.split = Split(kind="subset", val_subsets=(), test_subsets=(1, 2))
    config.segment = Segment(width=16, depth=4, size_px=192, steps=2000)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=2)
    return config
