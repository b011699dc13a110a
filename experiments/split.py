"""Split the items into training, validation and test, and look for leaks (paper, section 4.2).

    python -m experiments.split --config=experiments/configs/phantom.py --workdir=runs/phantom

Writes <workdir>/split: split.csv (the side of every item) and leaks.json (scans, patients and
near-identical images on two sides). A split that leaks is refused, unless it is the paper's split
of slices or its training items are to be dropped (--config.split.overlap=drop). Takes seconds; half
a minute for 100,000 images on two cores.
"""

from experiments import common
from inres.pipeline.split import split_items

if __name__ == "__main__":
    common.launch(split_items)
