"""Train InRes-Net or AlexNet on the segmented items (paper, sections 3.2 to 3.4).

    python -m experiments.train --config=experiments/configs/phantom.py --workdir=runs/phantom

Writes <workdir>/train: inputs.npy (what the network sees), checkpoints, log.jsonl, TensorBoard
events and summary.json. An interrupted training continues from its last checkpoint, to the same
weights.
"""

from experiments import common
from inres.pipeline.train import train_network

if __name__ == "__main__":
    common.launch(train_network)
