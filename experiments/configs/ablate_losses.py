"""Our loss of the codes against published ones (config.loss.name).

    python -m experiments.ablate --config=experiments/configs/ablate_losses.py \\
        --workdir=runs/ablate_losses

Ours, with and without its parts, and eight others, x three seeds: 33 trainings, so 33 times what
the base takes to train and judge, less what is shared. All have the base's network, schedule and
augmentation, and the NLL of FC3, with which most of the others were not published; these have
their own weight, their own bits, the signs of the latent layer, and not our loss of FC1. On data of
one's own: --config=experiments/configs/ablate_losses.py:folder with --config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.learning import losses
from inres.studies.ablation import Ablation


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    published = [name for name in losses.names() if losses.get(name).reference]
    theirs = {"loss.weight": 1.0, "loss.fine": 0.0, "hash.code": "latent"}
    return Ablation(
        base_name=base,
        base=load(base),
        variants=(
            {},
            {"hash.code": "latent"},
            {"loss.fine": 0.0},
            {"loss.name": "nll"},
            *({"loss.name": name} | theirs for name in published),
        ),
    )
