"""The full pipeline on synthetic chest CT; no data to download.

    python -m experiments.reproduce --config=experiments/configs/phantom.py --workdir=runs/phantom

About 12 minutes on two cores. Fifty phantoms of 512 x 512 pixels, eight size classes, folds by
scan.
"""

from inres.config import Config, Items, Model, Phantom, Segment, Split, Train


def get_config() -> Config:
    """The light network on nine planes of cubes of 48 mm."""
    config = Config(name="phantom")
    config.phantom = Phantom(scans=50, nodules_per_scan=10.0)
    config.items = Items(normals=250, view="cube", cube_mm=48.0, cube_px=47)
    config.split = Split(kind="subset", val_subsets=(6,), test_subsets=(7, 8, 9))
    config.segment = Segment(width=8, depth=4, size_px=128, steps=250)
    config.model = Model(planes="nine")
    config.train = Train(epochs=0, images=200_000, eval_every=20)
    return config
