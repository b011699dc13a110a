"""What the network sees of a nodule: one slice, several, planes of a cube, or the cube.

    python -m experiments.ablate --config=experiments/configs/ablate_input.py \\
        --workdir=runs/ablate_input

18 trainings. For your own data, images 32 mm wide with z_mm:
--config=experiments/configs/ablate_input.py:folder with --config.base.data.root=FOLDER and
--config.base.items.crop_mm=32.

Every variant is archived and queried by nodule, has 0.38 to 0.42 million parameters, and is shown
as many images in training (`train.images`): a slice or plane that is seen by itself is one, and so
are the channels of a stack, and a cube.
"""

from experiments.configs import load
from inres.studies.ablation import Ablation

IMAGES = 100_000
"""Images that each training shows, unless the base says how many."""

WARMUP_3D = 10.0
"""Epochs of warm-up of the 3-D network: on 685 nodules, with one epoch, it stayed at chance for two
of three seeds."""


def get_config(base: str = "phantom") -> Ablation:
    """Variants of `experiments/configs/<base>.py`; the first one is a single slice."""
    found = load(base)
    found.items.view, found.items.neighbours, found.items.unit = "crop", 0, "nodule"
    found.model.planes = "channels"
    found.train.zoom = 1.0  # cubes are not zoomed
    found.train.images, found.train.epochs = found.train.images or IMAGES, 0
    cube = {"items.view": "cube"}
    slow_start = {"train.warmup_epochs": WARMUP_3D}
    return Ablation(
        base_name=base,
        base=found,
        variants=(
            {},
            {"items.neighbours": 3},
            {"items.neighbours": 3, "model.planes": "each"},
            {**cube, "model.planes": "three"},
            {**cube, "model.planes": "nine"},
            {**cube, "model.name": "inres_net_3d", "model.stem": 20, **slow_start},
        ),
    )
