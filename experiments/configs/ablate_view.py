"""Ablation of the network's input: crops or whole slices, lungs segmented or raw.

    python -m experiments.ablate --config=experiments/configs/ablate_view.py \\
        --workdir=runs/ablate_view

12 trainings. For scans only, because the crops of a folder can only be used as they are
(--config=experiments/configs/ablate_view.py:luna16 and --config.base.data.root=LUNA16).
"""

from experiments.configs import load
from inres.studies.ablation import Ablation, product


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    found = load(base)
    found.items.view, found.model.planes = "crop", "channels"
    return Ablation(
        base_name=base,
        base=found,
        variants=product(items__view=("crop", "slice"), items__segmented=(True, False)),
    )
