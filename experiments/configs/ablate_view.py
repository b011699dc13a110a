"""What the network sees: crops or whole slices, lungs segmented or raw.

    python -m experiments.ablate --config=experiments/configs/ablate_view.py \\
        --workdir=runs/ablate_view

12 trainings. A folder of crops can only be taken as it is: this is for scans
(--config=experiments/configs/ablate_view.py:luna16 with --config.base.data.root=LUNA16).
"""

from experiments.configs import load
from inres.studies.ablation import Ablation, product


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    return Ablation(
        base_name=base,
        base=load(base),
        variants=product(items__view=("crop", "slice"), items__segmented=(True, False)),
    )
