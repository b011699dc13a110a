"""The parts of the recipe, one left out or changed at a time.

    python -m experiments.ablate --config=experiments/configs/ablate_recipe.py \\
        --workdir=runs/ablate_recipe

About 60 trainings; variants of `hash` and `search` share those of the base. For your own data:
--config=experiments/configs/ablate_recipe.py:folder with --config.base.data.root=FOLDER.
"""

from experiments.configs import load
from inres.studies.ablation import Ablation


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`."""
    found = load(base)
    length = "images" if found.train.images else "epochs"

    def others(section: str, field: str, *values: object) -> list[dict[str, object]]:
        """Variants with each of the values that the base does not have."""
        own = getattr(getattr(found, section), field)
        return [{f"{section}.{field}": value} for value in values if value != own]

    return Ablation(
        base_name=base,
        base=found,
        variants=(
            {},
            *others("hash", "code", "latent", "rotated"),
            *others("hash", "records", False),
            *others("search", "features", "fc1"),
            *others("hash", "views_weight", 0.0, 0.5, 1.0),
            *(
                others("model", "planes", "channels", "three", "nine")
                if found.items.view == "cube"
                else others("items", "neighbours", 0, 1, 3)
            ),
            *others("loss", "name", "ordinal", "graded"),
            *others("properties", "names", ()),
            *others("properties", "weight", 1.0),
            {f"train.{length}": getattr(found.train, length) // 2},
            {"loss.fine": 0.0},
            {"loss.fine_spread": 0.0},
            *others("loss", "fine_properties", 0.0, 0.5),
            *others("train", "balance_power", 0.0, 1.0),
            {"train.weight_decay": 5e-4},
            {"train.clip_norm": 4.0},
            *others("train", "clean_share", 0.0, 0.3, 0.6, 1.0),
            {"train.flips": False, "train.quarter_turns": False, "train.shift_px": 0},
            {"train.init": "gaussian"},
            {"model.norm": "group"},
            {"model.dropout": 0.3},
            {"model.pooling": "flatten"},
        ),
    )
