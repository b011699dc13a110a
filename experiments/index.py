"""Encode the items and write the searchable archive (paper, section 3.3).

    python -m experiments.index --config=experiments/configs/phantom.py --workdir=runs/phantom

Writes <workdir>/index: embeddings.npz (FC1, H and FC3 of every item), the hyperplanes and scales
that make codes and features of them, and archive/, the index of the training and validation items.
"""

from experiments import common
from inres.pipeline.index import build_index

if __name__ == "__main__":
    common.launch(build_index)
