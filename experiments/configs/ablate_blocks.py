"""inV2 and inRed compared with plain convolutions and AlexNet; scales of the residuals.

    python -m experiments.ablate --config=experiments/configs/ablate_blocks.py \\
        --workdir=runs/ablate_blocks

21 trainings. For your own data:
--config=experiments/configs/ablate_blocks.py:folder with --config.base.data.root=FOLDER.
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
            {"model.compression": "plain"},
            {"model.residual": "plain"},
            {"model.compression": "plain", "model.residual": "plain"},
            {"model.name": "alexnet"},
            *product(model__residual_scale=(0.1, 0.3)),
        ),
    )
