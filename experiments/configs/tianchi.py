"""Tianchi 2017: train_subset00..14/*.mhd, val_subset00..., csv/train and csv/val/annotations.csv.

    python -m experiments.reproduce --config=experiments/configs/tianchi.py \\
        --config.data.root=TIANCHI --workdir=runs/tianchi

The data is that of the Tianchi medical AI competition (tianchi.aliyun.com, entrance 231601): 600
patients to train and 200 to validate, with 1,244 nodules. Preparation takes hours on few cores and
resumes per scan; train on a GPU or TPU. The official validation (folds 100,
101, ...) is the test here, and the last part for training the validation. Every patient has
nodules, so normal slices come from planes without any.
"""

from inres.config import Config, Data, Items, Model, Segment, Split, Train


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="tianchi")
    config.data = Data(kind="tianchi")
    config.items = Items(normals=1000, view="cube", cube_mm=48.0, cube_px=47)
    config.split = Split(kind="subset", val_subsets=(14,), test_subsets=tuple(range(100, 120)))
    config.segment = Segment(width=16, depth=4, size_px=192, steps=2000)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=10)
    return config
