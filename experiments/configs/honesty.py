"""What the random split of slices adds to scores, on phantoms with many nodules per scan.

    python -m experiments.honesty --config=experiments/configs/honesty.py --workdir=runs/honesty

About 20 minutes on two cores. Thirty phantoms with about ten nodules each, three folds. The U-Net
is disabled (the prepared masks are used), so that only the training data of the hashing network
differs. Expect no inflation: a phantom says nothing about the sizes of its nodules.
"""

from inres.config import Config, Items, Phantom, Segment, Split, Train


def get_config() -> Config:
    """The light network on crops of 48 mm."""
    config = Config(name="honesty")
    config.phantom = Phantom(scans=30, nodules_per_scan=12.0)
    config.items = Items(normals=150, crop_mm=48.0, size_px=64)
    config.split = Split(kind="patient", folds=3, test_subsets=(0,), val_subsets=(), val_share=0.0)
    config.segment = Segment(enabled=False)
    config.train = Train(epochs=120, eval_every=120)
    return config
