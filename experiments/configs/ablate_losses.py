"""Our loss of the codes and all others (config.loss.name).

    python -m experiments.ablate --config=experiments/configs/ablate_losses.py \\
        --workdir=runs/ablate_losses

Ours, with and without its parts, and the others in `inres/learning/losses`, three seeds each:
48 trainings, each as long as the base's. All use the base's network, schedule and augmentation, and
the NLL of FC3, with which most of the others were not published. The others have weight 1 (those
of pairs and triplets 0.1: with 1, a network on the nodules of the LIDC learned nothing), codes from
the signs of the latent layer, no loss of FC1, and learn no properties; their pools have a fixed
threshold and are ranked by FC1. For your own data:
--config=experiments/configs/ablate_losses.py:folder with --config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.learning import losses
from inres.studies.ablation import Ablation

WEIGHTS = {"dpsh": 0.1, "dtsh": 0.1, "hashnet": 0.1}
"""Weights of losses other than 1."""


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    found = load(base)
    ours = {found.loss.name, "ordinal", "graded"}
    others = [name for name in losses.names() if name not in ours]
    theirs = {
        "loss.fine": 0.0,
        "hash.code": "latent",
        "properties.names": (),
        "search.features": "fc1",
        "search.threshold": 3,
        "search.least_pool": 0.0,
    }
    return Ablation(
        base_name=base,
        base=found,
        variants=(
            {},
            {"hash.records": False},
            {"hash.code": "rotated"},
            {"hash.code": "latent"},
            *({"loss.name": name} for name in sorted(ours - {found.loss.name})),
            {"loss.fine_properties": 0.0 if found.loss.fine_properties else 0.5},
            {"loss.fine": 0.0},
            {"loss.name": "nll"},
            *(
                {"loss.name": name, "loss.weight": WEIGHTS.get(name, 1.0)} | theirs
                for name in others
            ),
        ),
    )
