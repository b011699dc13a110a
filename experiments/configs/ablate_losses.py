"""Every loss of the codes against plain NLL (config.loss.name).

    python -m experiments.ablate --config=experiments/configs/ablate_losses.py \\
        --workdir=runs/ablate_losses

Nine losses x three seeds: 27 trainings, so 27 times what the base takes to train and judge, less
what is shared. On data of one's own: --config=experiments/configs/ablate_losses.py:folder with
--config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.ablation import Ablation, product
from inres.config import LOSSES


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    return Ablation(
        base_name=base,
        base=load(base),
        variants=product(loss__name=LOSSES),
    )
