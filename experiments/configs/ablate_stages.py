"""Ablation of the search: each stage alone or both, FC1 or FC1+FC3, sizes of the pool.

    python -m experiments.ablate --config=experiments/configs/ablate_stages.py \\
        --workdir=runs/ablate_stages

Three trainings, shared by all variants, which differ only in the search. For your own data:
--config=experiments/configs/ablate_stages.py:folder and --config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.studies.ablation import Ablation, product


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    return Ablation(
        base_name=base,
        base=load(base),
        variants=(
            {},
            *product(ranking=("hamming", "fc1", "fc1_fc3")),
            {"search.features": "fc1_fc3"},
            *product(search__least_pool=(0.02, 0.05, 0.2, 0.5)),
        ),
        rankings=("two_stage",),
    )
