"""The full pipeline in under 90 seconds: small phantoms and few steps.

    python -m experiments.reproduce --config=experiments/configs/smoke.py --workdir=runs/smoke

For tests, not for results.
"""

from inres.config import Config, Hash, Items, Model, Phantom, Search, Segment, Split, Train


def get_config() -> Config:
    """Ten phantoms of 128 x 128 pixels."""
    config = Config(name="smoke", pdf=False)
    config.phantom = Phantom(scans=10, nodules_per_scan=10.0, matrix=128, extent_mm=120.0)
    config.items = Items(
        normals=40, spacing_mm=2.0, canvas_mm=384.0, crop_mm=64.0, size_px=32, neighbours=1
    )
    config.split = Split(kind="subset", val_subsets=(6,), test_subsets=(7, 8, 9))
    config.segment = Segment(width=4, depth=3, size_px=48, steps=60, batch=8)
    config.model = Model(stem=16, fc1=64)
    config.hash = Hash(records=False)  # an item as a query finds itself at distance 0
    config.search = Search(least_pool=0.0)
    config.train = Train(epochs=6, batch=16, clip_norm=4.0, eval_every=3)
    return config
