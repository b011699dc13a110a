"""LNDb: data0..5/LNDb-0001.mhd and the tables allNods.csv (or trainNodules_gt.csv) and
chars_trainNodules.csv, from lndb.grand-challenge.org.

    python -m experiments.reproduce --config=experiments/configs/lndb.py \\
        --config.data.root=LNDB --workdir=runs/lndb

236 public scans with 768 nodules that have a place, 143 of them below 3 mm and not measured. Each
nodule has the mean ratings of its one to three readers and their spread, which are
learned next to the size. Preparation takes an hour on few cores and resumes per scan; train on a
GPU or TPU. Whole patients are tested. With trainFolds.csv, the four official folds:
--config.split.kind=subset --config.split.test_subsets="(3,)" --config.split.val_subsets="(2,)".
"""

from inres.config import Config, Data, Items, Model, Segment, Split, Train


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="lndb")
    config.data = Data(kind="lndb")
    config.items = Items(normals=500, view="cube", cube_mm=48.0, cube_px=47)
    config.split = Split(kind="patient")
    config.segment = Segment(width=16, depth=4, size_px=192, steps=2000)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=10)
    return config
