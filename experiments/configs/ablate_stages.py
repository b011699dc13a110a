"""The two stages: coarse or fine alone or both, FC1 or FC1+FC3, the threshold.

    python -m experiments.ablate --config=experiments/configs/ablate_stages.py \\
        --workdir=runs/ablate_stages

Three trainings, which all variants share; only the search differs. On data of one's own:
--config=experiments/configs/ablate_stages.py:folder with --config.base.data.root=FOLDER.
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
            *product(search__threshold=(1, 2, 5, 9, 17)),
        ),
        rankings=("two_stage",),
    )
