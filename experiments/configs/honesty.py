"""What the random split of slices adds to scores, on phantoms with many nodules a scan.

    python -m experiments.honesty --config=experiments/configs/honesty.py --workdir=runs/honesty

Thirty phantoms, some ten nodules each, three folds; the U-Net is left out (masks are as prepared),
so that what differs is what the hashing network was trained on. Some
20 minutes on two cores; expect no inflation: a phantom tells nothing of its nodules' sizes.
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
