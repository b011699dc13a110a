"""Train the U-Net on pairs of slice and lung mask, and segment every item (paper, section 3.1).

    python -m experiments.segment --config=experiments/configs/phantom.py --workdir=runs/phantom

Writes <workdir>/segment: masks.rows, metrics.json (Dice and IoU on held-out slices), audit.csv,
checkpoints, logs and examples.png. The stage is empty where the data has no masks.
"""

from experiments import common
from inres.pipeline.segment import segment_items

if __name__ == "__main__":
    common.launch(segment_items)
