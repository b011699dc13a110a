"""The parts of the recipe, one left out or changed at a time.

    python -m experiments.ablate --config=experiments/configs/ablate_recipe.py \\
        --workdir=runs/ablate_recipe

57 trainings; variants of `hash` share those of the base. For your own data:
--config=experiments/configs/ablate_recipe.py:folder with --config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.studies.ablation import Ablation, product


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    found = load(base)
    return Ablation(
        base_name=base,
        base=found,
        variants=(
            {},
            {"hash.code": "latent"},
            *product(hash__fc1_weight=(0.0, 1.0)),
            *product(hash__views_weight=(0.0, 1.0)),
            *({"items.neighbours": n} for n in (0, 1, 3) if n != found.items.neighbours),
            *([{"train.neighbour_dropout": 0.0}] if found.items.neighbours else []),
            {"train.epochs": found.train.epochs // 2},
            {"loss.fine": 0.0},
            {"loss.fine_spread": 0.0},
            {"loss.settings.ordinal.diameter": 0.0},
            *product(train__balance_power=(0.0, 1.0)),
            {"train.weight_decay": 5e-4},
            {"train.clip_norm": 4.0},
            *product(train__clean_share=(0.0, 0.3, 1.0)),
            {"train.flips": False, "train.quarter_turns": False, "train.shift_px": 0},
            {"train.init": "gaussian"},
            {"model.norm": "group"},
            {"model.dropout": 0.3},
            {"model.pooling": "flatten"},
        ),
    )
