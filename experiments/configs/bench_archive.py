"""Response times of an opened archive, as a user of `inres.Archive` meets them.

    python -m experiments.bench --config=experiments/configs/bench_archive.py \\
        --workdir=runs/bench_archive --config.archive=runs/phantom

Without `scan`, the first scan of a phantom run is searched. About a minute on two cores.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One archive, one scan."""
    return ConfigDict(
        {
            "kind": "archive",
            # A workdir with a finished run, or an exported folder.
            "archive": "runs/phantom",
            # A scan (file or DICOM folder); empty: the first one in the archive's workdir.
            "scan": "",
            # Queries of each kind, in addition to the first two.
            "queries": 200,
            "seed": 0,
        }
    )
