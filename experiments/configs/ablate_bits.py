"""Ablation of the code length: 12 to 128 bits compared with 48.

    python -m experiments.ablate --config=experiments/configs/ablate_bits.py \\
        --workdir=runs/ablate_bits

18 trainings. For your own data: --config=experiments/configs/ablate_bits.py:folder and
--config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.studies.ablation import Ablation, product


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    return Ablation(
        base_name=base,
        base=load(base),
        variants=product(hash__bits=(48, 12, 16, 32, 64, 128)),
    )
