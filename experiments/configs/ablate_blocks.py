"""InRes-Net against AlexNet, and how much its residuals count.

    python -m experiments.ablate --config=experiments/configs/ablate_blocks.py \\
        --workdir=runs/ablate_blocks

12 trainings. On data of one's own:
--config=experiments/configs/ablate_blocks.py:folder with --config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.ablation import Ablation, product


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    return Ablation(
        base_name=base,
        base=load(base),
        variants=(
            {"model.name": "inres_net"},
            {"model.name": "alexnet"},
            *product(model__residual_scale=(0.1, 0.3)),
        ),
    )
