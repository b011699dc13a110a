"""Preparing a scan, next to reading and resampling it with SimpleITK alone.

    python -m experiments.bench --config=experiments/configs/bench_prepare.py \\
        --workdir=runs/bench_prepare

A phantom of 512 x 512 x 300 voxels, a minute and a half on one core. Scans of your own (files or
DICOM folders) follow it:

    --config.scans="('LUNA16/subset0/A.mhd', 'DICOM_FOLDER')"
"""

from ml_collections import ConfigDict

from inres.config import Config


def get_config() -> ConfigDict:
    """The default items, and as many in each scan as LUNA16 offers on average."""
    return ConfigDict(
        {
            "kind": "prepare",
            # Its `items` and `data` are used.
            "experiment": Config(),
            "scans": (),
            # Size of the phantom in pixels, slices and mm along the body axis; 0 slices: none.
            "matrix": 512,
            "slices": 300,
            "extent_mm": 375.0,
            # Items in each scan; nodules are drawn from its middle.
            "nodules": 2,
            "normals": 8,
            # Rounds of both programs in turn.
            "rounds": 5,
            "seed": 0,
        }
    )
