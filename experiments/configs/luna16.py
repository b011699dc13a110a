"""A LUNA16 tree: subset0..9/*.mhd, annotations.csv, annotations_excluded.csv.

    python -m experiments.reproduce --config=experiments/configs/luna16.py \\
        --config.data.root=LUNA16 --workdir=runs/luna16

Preparing 888 scans takes about half an hour of one core and resumes per scan; train on a GPU or
TPU. Folds by official subset: 8 to train, 1 to validate, 1 to test. Scans with slices thicker than
2.5 mm are excluded (--config.data.max_thickness_mm).
"""

from inres.config import Config, Data, Items, Model, Segment, Split, Train


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="luna16")
    config.data = Data(kind="luna16")
    config.items = Items(normals=1000, view="cube", cube_mm=48.0, cube_px=47)
    config.split = Split(kind="subset", val_subsets=(8,), test_subsets=(9,))
    config.segment = Segment(width=16, depth=4, size_px=192, steps=2000)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=10)
    return config
